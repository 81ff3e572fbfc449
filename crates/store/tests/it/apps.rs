//! What apps have: tokens, webhooks, usage, and a registration.

use model::Secret;
use store::{AppIdentity, AppTokenLookup, ConnectionKind, DeathReason, RegisteredApp, StoreError};

use crate::support::*;

fn app() -> AppIdentity {
    AppIdentity { app_id: Some("gadget".to_owned()), name: name("Gadget") }
}

#[tokio::test]
async fn an_app_token_opens_its_connection_until_it_ends() {
    let Fresh { store, directory: _directory } = fresh().await;
    let ann = add_account(&store, "ann@example.org").await;
    let printer = link_printer(&store, &ann).await;
    let new = store.create_app_connection_of(&ann, &printer, &app(), Some(at(100)), at(0)).await.unwrap();
    store.grant_beta(&email("ann@example.org"), &feature("gadget-api"), at(0)).await.unwrap();
    let AppTokenLookup::Alive(found) = store.connection_by_app_token(&new.app_token, at(99)).await.unwrap() else {
        panic!("it is alive")
    };
    assert_eq!((&found.id, &found.label, &found.account), (&new.id, &new.label, &ann));
    assert_eq!((found.app_id.as_deref(), found.app_name.as_str()), (Some("gadget"), "Gadget"));
    assert_eq!((&found.printer.id, found.expires_at), (&printer, Some(at(100))));
    assert_eq!((found.beta, found.plan.supporter), (vec![feature("gadget-api")], true));
    let dead = store.connection_by_app_token(&new.app_token, at(100)).await.unwrap();
    assert!(matches!(dead, AppTokenLookup::Dead(DeathReason::Expired)), "{dead:?}");
    for unknown in [&Secret::generate(), &new.bearer, &new.basic_password] {
        let unknown = store.connection_by_app_token(unknown, at(1)).await.unwrap();
        assert!(matches!(unknown, AppTokenLookup::Unknown), "{unknown:?}");
    }

    let revoked = store.revoke_connection_of(&ann, &new.id, at(2)).await.unwrap();
    assert_eq!((revoked.kind, revoked.app_id.as_deref()), (ConnectionKind::App, Some("gadget")));
    let dead = store.connection_by_app_token(&new.app_token, at(3)).await.unwrap();
    assert!(matches!(dead, AppTokenLookup::Dead(DeathReason::Revoked)), "{dead:?}");
    let other = store.create_app_connection_of(&ann, &printer, &app(), None, at(3)).await.unwrap();
    store.unlink_printer(&ann, &printer, at(4)).await.unwrap();
    let dead = store.connection_by_app_token(&other.app_token, at(5)).await.unwrap();
    assert!(matches!(dead, AppTokenLookup::Dead(DeathReason::PrinterRemoved)), "{dead:?}");
}

#[tokio::test]
async fn connections_are_listed_with_what_went_through() {
    let Fresh { store, directory: _directory } = fresh().await;
    let ann = add_account(&store, "ann@example.org").await;
    let (left, right) = (link_printer(&store, &ann).await, link_printer(&store, &ann).await);
    let new = store.create_app_connection_of(&ann, &left, &app(), None, at(0)).await.unwrap();
    let shared = store.create_shared_connection_of(&ann, &right, None, None, at(1)).await.unwrap();
    let seq = store.latest_change().await.unwrap();
    let gone = "gone".parse().unwrap();
    store.add_usage(&[(new.id.clone(), 5, 7, at(20)), (gone, 1, 1, at(20))]).await.unwrap();
    store.add_usage(&[(new.id.clone(), 1, 1, at(10))]).await.unwrap();
    store.add_usage(&[]).await.unwrap();
    assert_eq!(store.latest_change().await.unwrap(), seq);
    let listed = store.connections_of(&ann, None).await.unwrap();
    assert_eq!(listed.iter().map(|row| &row.id).collect::<Vec<_>>(), [&new.id, &shared.id]);
    assert_eq!((listed[0].bytes_up, listed[0].bytes_down, listed[0].last_used_at), (6, 8, Some(at(20))));
    assert_eq!((listed[1].bytes_up, listed[1].last_used_at, &listed[1].app_id), (0, None, &None));
    let of_right = store.connections_of(&ann, Some(&right)).await.unwrap();
    assert_eq!(of_right.iter().map(|row| &row.id).collect::<Vec<_>>(), [&shared.id]);
    let odd = AppIdentity { app_id: Some("x".repeat(101)), name: name("Gadget") };
    expect_invalid(store.create_app_connection_of(&ann, &left, &odd, None, at(0)).await);
    expect_invalid(store.create_app_connection_of(&ann, &left, &app(), Some(at(0)), at(0)).await);
}

#[tokio::test]
async fn the_owner_gives_an_app_full_control_and_takes_it_back() {
    let Fresh { store, directory: _directory } = fresh().await;
    let ann = add_account(&store, "ann@example.org").await;
    let printer = link_printer(&store, &ann).await;
    let new = store.create_app_connection_of(&ann, &printer, &app(), None, at(0)).await.unwrap();
    let has = async || {
        let listed = store.connections_of(&ann, None).await.unwrap()[0].has_full_control;
        assert_eq!(alive(&store, ConnectionKind::App, &new.label).await.has_full_control, listed);
        listed
    };
    assert!(!has().await, "it has to be given");
    let seq = store.latest_change().await.unwrap();
    assert!(!store.set_full_control_of(&ann, &new.id, true, at(1)).await.unwrap().has_full_control, "as it was");
    assert!(has().await && store.latest_change().await.unwrap() > seq, "the relay learns of it");
    store.set_full_control_of(&ann, &new.id, false, at(2)).await.unwrap();
    assert!(!has().await);
    let shared = store.create_shared_connection_of(&ann, &printer, None, None, at(3)).await.unwrap();
    let refused = store.set_full_control_of(&ann, &shared.id, true, at(4)).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    let bob = add_account(&store, "bob@example.org").await;
    let refused = store.set_full_control_of(&bob, &new.id, true, at(5)).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_connection_has_one_webhook_for_half_a_year() {
    let Fresh { store, directory: _directory } = fresh().await;
    let ann = add_account(&store, "ann@example.org").await;
    let printer = link_printer(&store, &ann).await;
    let new = store.create_app_connection_of(&ann, &printer, &app(), None, at(0)).await.unwrap();
    let shared = store.create_shared_connection_of(&ann, &printer, None, None, at(0)).await.unwrap();
    let url = "https://hooks.example/?key=hidden";
    assert_eq!(store.webhook(&new.id, at(0)).await.unwrap(), None);
    store.set_webhook(&new.id, url, &[1, 16], at(0)).await.unwrap();
    let webhook = store.webhook(&new.id, at(1)).await.unwrap().unwrap();
    assert_eq!((webhook.url.as_str(), webhook.filter.as_slice()), (url, [1, 16].as_slice()));
    assert_eq!(webhook.expires_at, at(180 * DAY));
    assert!(!format!("{webhook:?}").contains("hidden"));
    assert_eq!(store.webhooks_of_printer(&printer, at(1)).await.unwrap(), [(new.id.clone(), webhook)]);
    // Each call replaces and renews.
    store.set_webhook(&new.id, "https://other.example/", &[], at(DAY)).await.unwrap();
    let webhook = store.webhook(&new.id, at(180 * DAY)).await.unwrap().unwrap();
    assert_eq!((webhook.url.as_str(), webhook.filter.len()), ("https://other.example/", 0));
    assert_eq!(store.webhook(&new.id, at(181 * DAY)).await.unwrap(), None);
    assert!(store.webhooks_of_printer(&printer, at(181 * DAY)).await.unwrap().is_empty());
    assert!(store.delete_webhook(&new.id).await.unwrap());
    assert!(!store.delete_webhook(&new.id).await.unwrap());

    expect_not_found(store.set_webhook(&shared.id, url, &[], at(0)).await);
    expect_not_found(store.set_webhook(&"nobody".parse().unwrap(), url, &[], at(0)).await);
    expect_invalid(store.set_webhook(&new.id, &"x".repeat(5000), &[], at(0)).await);
    expect_invalid(store.set_webhook(&new.id, url, &[0; 101], at(0)).await);
    // It goes with its connection, and with time.
    store.set_webhook(&new.id, url, &[], at(0)).await.unwrap();
    assert_eq!(store.prune(at(180 * DAY)).await.unwrap().n_webhooks, 1);
    store.set_webhook(&new.id, url, &[], at(0)).await.unwrap();
    store.revoke_connection_of(&ann, &new.id, at(1)).await.unwrap();
    assert_eq!(store.webhook(&new.id, at(1)).await.unwrap(), None);
}

#[tokio::test]
async fn apps_are_registered_and_forgotten() {
    let Fresh { store, directory: _directory } = fresh().await;
    let gadget = RegisteredApp {
        id: "com.example.gadget-1_0".to_owned(),
        name: name("Gadget"),
        return_patterns: vec!["gadget://done".to_owned(), "https://gadget.example/*".to_owned()],
        created_at: at(0),
    };
    assert_eq!(store.app(&gadget.id).await.unwrap(), None);
    store.put_app(gadget.clone()).await.unwrap();
    assert_eq!(store.app(&gadget.id).await.unwrap(), Some(gadget.clone()));
    let renamed =
        RegisteredApp { name: name("Widget"), return_patterns: Vec::new(), created_at: at(9), ..gadget.clone() };
    store.put_app(renamed).await.unwrap();
    let listed = store.apps().await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].created_at), (1, "Widget", at(0)));
    assert!(listed[0].return_patterns.is_empty());
    for id in ["", "a/b", &"x".repeat(101)] {
        expect_invalid(store.put_app(RegisteredApp { id: id.to_owned(), ..gadget.clone() }).await);
    }
    for pattern in ["", "a\nb"] {
        let return_patterns = vec![pattern.to_owned()];
        expect_invalid(store.put_app(RegisteredApp { return_patterns, ..gadget.clone() }).await);
    }
    store.remove_app(&gadget.id).await.unwrap();
    expect_not_found(store.remove_app(&gadget.id).await);
}
