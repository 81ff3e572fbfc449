//! Who may ask for what: every route of the source, from everybody who may not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use http::StatusCode;
use model::AccountId;

use crate::api::fixture::Answer;
use crate::cases::{CASES, Case, Tenant, Who, route_of, routes_of_the_source};
use crate::world::{Browser, World, now};

/// For what is written while an answer is on its way, on a machine that may be busy.
const LONG: Duration = Duration::from_secs(20);

/// A route that is new has to say here who may use it.
#[test]
fn every_route_has_a_case_and_every_case_a_route() {
    let (routes, n_unnamed) = routes_of_the_source();
    let cases: BTreeSet<_> = CASES.iter().map(route_of).collect();
    let missing: Vec<_> = routes.difference(&cases).collect();
    assert!(missing.is_empty(), "routes without a case: {missing:?}");
    let stale: Vec<_> = cases.difference(&routes).collect();
    assert!(stale.is_empty(), "cases without a route: {stale:?}");
    assert_eq!(cases.len(), CASES.len(), "a case is there twice");
    assert_eq!(n_unnamed, 2, "only the files that are the same for everybody get their paths at run time");
}

#[tokio::test]
async fn who_is_not_signed_in_gets_nothing_of_anybodys() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    check(&tenant, Caller::Browser(world.browser()), "signed out", refused_to_strangers).await;
}

#[tokio::test]
async fn a_session_that_has_ended_is_worth_nothing() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    for ended in ["signed out elsewhere", "expired", "deleted"] {
        let account = world.account(&format!("{}@example.org", ended.replace(' ', "-")), None).await;
        let (session, browser) = world.signed_in(&account).await;
        match ended {
            "expired" => world.store.end_sessions_but(&account, None, now()).await.expect("an account"),
            "deleted" => world.store.delete_account_by_id(&account, now()).await.expect("an account"),
            _ => world.store.end_session(&account, &session, now()).await.expect("a session"),
        }
        check(&tenant, Caller::Browser(browser), ended, refused_to_strangers).await;
    }
}

#[tokio::test]
async fn another_tenant_gets_nothing_of_the_first() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    check(&tenant, Caller::Account(&world, &tenant.other), "another tenant", |case, answer| match case.2 {
        Who::Everybody | Who::SignedIn => !answer.status.is_server_error() || answer.status.as_u16() >= 600,
        Who::Programs => is_programs_refusal(answer),
        // An invitation for somebody else is as one that has expired.
        Who::Holder if case.1.starts_with("/printers/join") => answer.status == StatusCode::BAD_REQUEST,
        _ => answer.status == StatusCode::NOT_FOUND,
    })
    .await;
}

#[tokio::test]
async fn a_viewer_looks_and_does_no_more() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    check(&tenant, Caller::Account(&world, &tenant.viewer), "viewer", |case, answer| match case.2 {
        Who::Everybody | Who::SignedIn => !answer.status.is_server_error() || answer.status.as_u16() >= 600,
        Who::Viewer => answer.status == StatusCode::OK,
        Who::Operator | Who::Owner => answer.status == StatusCode::FORBIDDEN,
        Who::Programs => is_programs_refusal(answer),
        Who::Holder if case.1.starts_with("/printers/join") => answer.status == StatusCode::BAD_REQUEST,
        Who::Holder | Who::Administrator => answer.status == StatusCode::NOT_FOUND,
    })
    .await;
}

/// Whoever was invited can leave again.
#[tokio::test]
async fn a_viewer_sees_and_ends_the_own_membership() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    let (_, mut viewer) = world.signed_in(&tenant.viewer).await;
    let page = viewer.get(&tenant.fill("/printers/{id}/settings")).await.text();
    assert!(page.contains("Leave") && page.contains("vera@example.org"), "{page}");
    assert!(!page.contains("olga@example.org"), "who else is invited is the owner's business");
    let path = tenant.fill("/printers/{id}/members/remove");
    let left = viewer.post(&path, &[("account", tenant.viewer.as_str())]).await;
    assert_eq!((left.status, left.header("location")), (StatusCode::SEE_OTHER, "/printers"));
    let path = tenant.fill("/view/{id}");
    assert_eq!(viewer.get(&path).await.status, StatusCode::NOT_FOUND);
}

/// The cases above prove nothing if what they ask for does not exist.
#[tokio::test]
async fn the_owner_gets_all_of_it() {
    for case in CASES.iter().filter(|case| !matches!(case.2, Who::Everybody | Who::Programs)) {
        let world = World::new().await;
        let tenant = Tenant::settle(&world).await;
        let (_, mut browser) = world.signed_in(&tenant.ann).await;
        let token = browser.form_token().await;
        let answer = browser.send(tenant.request(&browser, case, Some(&token))).await;
        let expected = match case.1 {
            // It is for somebody else.
            "/printers/join?token={join}" | "/printers/join" => StatusCode::BAD_REQUEST,
            // An authenticator's answer would be needed, a pending secret, or another service.
            "/settings/passkeys/finish" | "/settings/totp/confirm" | "/settings/totp/recovery" => {
                StatusCode::BAD_REQUEST
            }
            "/settings/provider/link" | "/appportal/logo/x" => StatusCode::NOT_FOUND,
            // She is the only administrator.
            "/settings/delete" => StatusCode::BAD_REQUEST,
            _ if answer.status == StatusCode::SEE_OTHER => StatusCode::SEE_OTHER,
            _ => StatusCode::OK,
        };
        assert_eq!(answer.status, expected, "{case:?}: {}", answer.text());
        assert!(!answer.header("location").starts_with("/sign-in"), "{case:?}");
    }
}

fn refused_to_strangers(case: &Case, answer: &Answer) -> bool {
    match case.2 {
        Who::Everybody => !answer.status.is_server_error() || answer.status.as_u16() >= 600,
        Who::Programs => is_programs_refusal(answer),
        _ => leads_to_sign_in(answer) || answer.status == StatusCode::UNAUTHORIZED,
    }
}

fn leads_to_sign_in(answer: &Answer) -> bool {
    answer.status == StatusCode::SEE_OTHER && answer.header("location").starts_with("/sign-in?to=%2F")
}

fn is_programs_refusal(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 400 | 401 | 403 | 600..)
}

async fn check(tenant: &Tenant, caller: Caller<'_>, who: &str, is_right: fn(&Case, &Answer) -> bool) {
    let world = caller.world();
    let mut before = tenant.snapshot(world).await;
    for case in CASES {
        // The setup link does make an administrator of whoever has it.
        if case.3.contains("{setup}") {
            continue;
        }
        let mut browser = caller.browser().await;
        let token = browser.form_token().await;
        let answer = browser.send(tenant.request(&browser, case, Some(&token))).await;
        assert!(is_right(case, &answer), "{who}: {case:?} is answered {}: {}", answer.status, answer.text());
        let body = answer.text();
        // The form for signing in repeats what was typed; a failed try is in its owner's log, a moment later.
        let is_sign_in = case.1 == "/sign-in" && case.0 == "POST";
        let mut after = tenant.snapshot(world).await;
        let deadline = Instant::now() + LONG;
        while is_sign_in && after == before {
            assert!(Instant::now() < deadline, "{who}: a failed sign-in is not in its owner's log");
            tokio::time::sleep(Duration::from_millis(10)).await;
            after = tenant.snapshot(world).await;
        }
        let is_link_of_everybody = case.1.starts_with("/live/") || case.1.starts_with("/l/");
        let hidden = tenant.secrets.iter().chain(tenant.shown_to_viewers.iter().filter(|_| who != "viewer"));
        // Nor is it told to anybody what they have said themselves.
        let said = tenant.fill(case.1);
        for secret in hidden.filter(|secret| !is_link_of_everybody && !is_sign_in && !said.contains(*secret)) {
            assert!(!body.contains(secret.as_str()), "{who}: {case:?} shows {secret}");
        }
        assert!(is_sign_in || before == after, "{who}: {case:?} changed something");
        before = after;
    }
}

/// Who asks.
enum Caller<'a> {
    /// The same browser each time.
    Browser(Browser<'a>),
    /// Somebody with a session for each case, because some of them end it.
    Account(&'a World, &'a AccountId),
}

impl<'a> Caller<'a> {
    fn world(&self) -> &'a World {
        match self {
            Self::Browser(browser) => browser.world,
            Self::Account(world, _) => world,
        }
    }

    async fn browser(&self) -> Browser<'a> {
        match self {
            Self::Browser(browser) => browser.clone(),
            Self::Account(world, account) => world.signed_in(account).await.1,
        }
    }
}
