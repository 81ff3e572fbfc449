//! What an owner reads of what was done to the account and its printers.

use std::time::Duration;

use http::StatusCode;
use model::AccountId;
use store::{AuditEntry, AuditKind, LiveEnd, Role};

use crate::world::{World, address, now};

async fn log(world: &World, account: &AccountId) -> Vec<AuditEntry> {
    let mut log = world.store.audit_log(account, None, 100).await.expect("a log");
    log.reverse();
    log
}

fn kinds(log: &[AuditEntry]) -> Vec<AuditKind> {
    log.iter().map(|entry| entry.kind).collect()
}

#[tokio::test]
async fn grants_and_revocations_are_written_down_with_what_they_are_about() {
    let world = World::new().await;
    let ann = world.account("ann@example.org", None).await;
    let printer = world.printer("ann@example.org", "Anns Voron").await;
    let (_, mut browser) = world.signed_in(&ann).await;
    let id = printer.to_string();
    let made = browser.post("/shares/apps", &[("printer", &id), ("name", "Home Assistant"), ("days", "")]).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    browser.post("/shares/shared", &[("printer", &id), ("password", ""), ("days", "7")]).await;
    browser.post("/shares/live", &[("printer", &id), ("until", "24")]).await;
    browser.post(&format!("/printers/{printer}/token"), &[]).await;
    for connection in world.store.connections_of(&ann, None).await.expect("a list") {
        browser.post(&format!("/shares/connections/{}/revoke", connection.id), &[]).await;
    }
    for link in world.store.live_links_of(&ann, None).await.expect("a list") {
        browser.post(&format!("/shares/live/{}/revoke", link.id), &[]).await;
    }
    let log = log(&world, &ann).await;
    use AuditKind as Kind;
    let granted = [Kind::AppConnected, Kind::ShareCreated, Kind::LiveLinkCreated, Kind::EnrolmentIssued];
    assert_eq!(kinds(&log)[..4], granted);
    let mut ended = kinds(&log)[4..].to_vec();
    ended.sort_by_key(|kind| kind.name());
    assert_eq!(ended, [Kind::AppRevoked, Kind::LiveLinkEnded, Kind::ShareRevoked]);
    for entry in &log {
        assert_eq!(entry.printer.as_ref(), Some(&printer), "{entry:?}");
        assert!(entry.address.is_some(), "{entry:?}");
    }
    let app = log.iter().find(|entry| entry.kind == Kind::AppRevoked).expect("it is there");
    assert_eq!(app.subject, "Home Assistant: Anns Voron");
    let page = browser.get("/settings/log").await.text();
    assert!(page.contains("App disconnected") && page.contains("Home Assistant"), "{page}");
}

#[tokio::test]
async fn full_control_is_given_and_taken_back_on_the_page_of_shares() {
    let world = World::new().await;
    let ann = world.account("ann@example.org", None).await;
    let printer = world.printer("ann@example.org", "Anns Voron").await;
    let (_, mut browser) = world.signed_in(&ann).await;
    browser.post("/shares/apps", &[("printer", printer.as_str()), ("name", "Script"), ("days", "")]).await;
    let id = world.store.connections_of(&ann, None).await.expect("a list")[0].id.clone();
    let badge = "Full control</span>";
    assert!(!browser.get("/shares").await.text().contains(badge));
    for (allow, is_shown) in [("yes", true), ("no", false)] {
        browser.post(&format!("/shares/connections/{id}/full-control"), &[("allow", allow)]).await;
        assert_eq!(browser.get("/shares").await.text().contains(badge), is_shown, "{allow}");
    }
    let log = log(&world, &ann).await;
    use AuditKind as Kind;
    assert_eq!(kinds(&log), [Kind::AppConnected, Kind::FullControlGiven, Kind::FullControlTaken]);
    assert_eq!(log[1].subject, "Script: Anns Voron");
}

#[tokio::test]
async fn members_who_come_and_go_are_in_the_owners_log_and_in_their_own() {
    let world = World::new().await;
    let ann = world.account("ann@example.org", None).await;
    let bob = world.account("bob@example.org", None).await;
    let printer = world.printer("ann@example.org", "Anns Voron").await;
    let (_, mut owner) = world.signed_in(&ann).await;
    let (_, mut guest) = world.signed_in(&bob).await;
    let join = async |role: Role| {
        world
            .store
            .invite_member(&ann, &printer, &address("bob@example.org"), role, now())
            .await
            .expect("an invitation")
    };
    use AuditKind as Kind;

    let token = join(Role::Operator).await;
    guest.post("/printers/join", &[("token", token.expose())]).await;
    guest.post(&format!("/printers/{printer}/members/remove"), &[("account", bob.as_str())]).await;
    for account in [&ann, &bob] {
        let log = log(&world, account).await;
        assert_eq!(kinds(&log), [Kind::MemberJoined, Kind::MemberLeft]);
        assert!(log.iter().all(|entry| entry.subject.contains("bob@example.org")), "{log:?}");
    }

    let token = join(Role::Viewer).await;
    guest.post("/printers/join", &[("token", token.expose())]).await;
    owner.post(&format!("/printers/{printer}/members/remove"), &[("account", bob.as_str())]).await;
    let removed = log(&world, &ann).await.pop().expect("an entry");
    assert_eq!((removed.kind, removed.subject.as_str()), (Kind::MemberRemoved, "Anns Voron: bob@example.org"));

    // A printer that is handed over is gone from its owner, who reads of it all the same.
    let token = join(Role::Owner).await;
    guest.post("/printers/join", &[("token", token.expose())]).await;
    let handed_over = log(&world, &ann).await.pop().expect("an entry");
    assert_eq!((handed_over.kind, handed_over.subject.as_str()), (Kind::MemberJoined, "bob@example.org is owner now"));
}

#[tokio::test]
async fn the_opening_of_a_live_link_is_news_once_for_each_visitor() {
    let world = World::new().await;
    let ann = world.account("ann@example.org", None).await;
    let printer = world.printer("ann@example.org", "Anns Voron").await;
    let end = LiveEnd::At(now() + Duration::from_secs(3600));
    let id = world.store.create_live_link(&ann, &printer, end, None, now()).await.expect("a link");
    let mut other = world.browser();
    other.address = [198, 51, 100, 7].into();
    for browser in [world.browser(), world.browser(), other] {
        assert_eq!(browser.clone().get(&format!("/live/{id}")).await.status, StatusCode::OK);
    }
    // It is written beside the answer.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while log(&world, &ann).await.len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "it is written down");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let entries = log(&world, &ann).await;
    assert_eq!(kinds(&entries), [AuditKind::ShareOpened; 2]);
    let addresses: Vec<String> = entries.iter().filter_map(|entry| entry.address).map(|a| a.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.1", "198.51.100.7"]);
    assert!(entries.iter().all(|entry| !entry.subject.contains(id.as_str())), "the address is the key");
    let (_, mut owner) = world.signed_in(&ann).await;
    let shares = owner.get("/shares").await.text();
    assert!(shares.contains("watched <time"), "{shares}");
}
