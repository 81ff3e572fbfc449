//! What pages of others cannot make a browser do: every form of the site, sent from where the site's own pages are not.

use std::collections::BTreeSet;

use http::{HeaderValue, Method, StatusCode};

use crate::cases::{CASES, Case, Tenant, Who};
use crate::world::{Browser, World};

/// Who sends it, and what of it is wrong.
const WRONG: &[(&str, &[(&str, &str)])] = &[
    ("no token", &[]),
    ("the token of another browser", &[]),
    ("another origin", &[("origin", "https://evil.example")]),
    ("a printer's origin", &[("origin", "http://p-abc.localhost:8080"), ("sec-fetch-site", "same-site")]),
    ("another port", &[("origin", "http://localhost:8081")]),
    ("another scheme", &[("origin", "https://localhost:8080")]),
    ("an origin of a sandbox", &[("origin", "null")]),
    ("a page of the same site", &[("sec-fetch-site", "same-site")]),
    ("a page of another site", &[("sec-fetch-site", "cross-site")]),
    (
        "a page of another site that claims ours",
        &[("origin", "http://localhost:8080"), ("sec-fetch-site", "cross-site")],
    ),
];

/// Not what programs call: they have no cookies, and none that a browser sends counts there.
fn forms() -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(|case| case.0 == "POST" && case.2 != Who::Programs && !case.1.starts_with("/api/"))
}

#[tokio::test]
async fn a_form_of_another_page_changes_nothing() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    let (_, mut owner) = world.signed_in(&tenant.ann).await;
    let (_, mut other) = world.signed_in(&tenant.other).await;
    let (own_token, other_token) = (owner.form_token().await, other.form_token().await);
    let before = (tenant.snapshot(&world).await, tenant.service_snapshot(&world).await);
    for case in forms() {
        for (what, headers) in WRONG {
            let token = match *what {
                "no token" => None,
                "the token of another browser" => Some(other_token.as_str()),
                _ => Some(own_token.as_str()),
            };
            let status = send(&tenant, &mut owner, case, token, headers).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{case:?} with {what}");
        }
        let after = (tenant.snapshot(&world).await, tenant.service_snapshot(&world).await);
        assert!(before == after, "{case:?} changed something");
    }
    assert!(owner.is_signed_in().await, "nobody was signed out");
}

/// Signing somebody in to another's account is an attack too, so forms for strangers have tokens as well.
#[tokio::test]
async fn a_stranger_has_a_token_too() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    let (mut stranger, mut other) = (world.browser(), world.browser());
    let (own_token, other_token) = (stranger.form_token().await, other.form_token().await);
    assert_ne!(own_token, other_token);
    for case in forms().filter(|case| case.2 == Who::Everybody) {
        for (token, headers) in [
            (None, &[][..]),
            (Some(""), &[]),
            (Some(other_token.as_str()), &[]),
            (Some(own_token.as_str()), &[("sec-fetch-site", "cross-site")]),
        ] {
            let status = send(&tenant, &mut stranger, case, token, headers).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{case:?} with {token:?} and {headers:?}");
        }
    }
}

/// A cookie that a printer's page has planted before must not make a token that the printer knows.
#[tokio::test]
async fn a_token_of_before_the_sign_in_is_worth_nothing_after_it() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    let (_, mut browser) = world.signed_in(&tenant.ann).await;
    let mut before = world.browser();
    let old = before.form_token().await;
    browser.cookies.extend(before.cookies.clone());
    let request = browser.form("/settings/export", Some(&old), &[]);
    assert_eq!(browser.send(request).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_right_form_is_taken_with_and_without_what_browsers_add() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    let (_, mut owner) = world.signed_in(&tenant.ann).await;
    let token = owner.form_token().await;
    let case = forms().find(|case| case.1 == "/settings/export").expect("there is such a form");
    for headers in [
        &[][..],
        &[("origin", "http://localhost:8080")],
        &[("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-origin")],
    ] {
        assert_eq!(send(&tenant, &mut owner, case, Some(&token), headers).await, StatusCode::OK, "{headers:?}");
    }
}

/// Browsers send some media types across origins without asking first.
#[tokio::test]
async fn other_media_types_are_no_forms() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    let (_, mut owner) = world.signed_in(&tenant.ann).await;
    let token = owner.form_token().await;
    for media_type in ["", "text/plain", "multipart/form-data; boundary=x", "application/json"] {
        let mut request = owner.form("/settings/export", Some(&token), &[]);
        request.headers_mut().insert("content-type", HeaderValue::from_str(media_type).expect("a media type"));
        assert_eq!(owner.send(request).await.status, StatusCode::FORBIDDEN, "{media_type:?}");
    }
}

/// Nothing that changes something is done by a mere look at an address, which any page can make a browser take.
#[tokio::test]
async fn looking_changes_nothing() {
    let world = World::new().await;
    let tenant = Tenant::settle(&world).await;
    let (_, mut owner) = world.signed_in(&tenant.ann).await;
    let before = (tenant.snapshot(&world).await, tenant.service_snapshot(&world).await);
    let posted: BTreeSet<&str> = forms().map(|case| case.1).collect();
    for path in posted {
        let path = tenant.fill(path);
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
            let request = owner.request(method, &path).body(axum::body::Body::empty()).expect("a request");
            owner.send(request).await;
        }
    }
    assert!(before == (tenant.snapshot(&world).await, tenant.service_snapshot(&world).await));
    assert!(owner.is_signed_in().await);
}

async fn send(
    tenant: &Tenant,
    browser: &mut Browser<'_>,
    case: &Case,
    token: Option<&str>,
    headers: &[(&'static str, &'static str)],
) -> StatusCode {
    let mut request = tenant.request(browser, case, token);
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    browser.send(request).await.status
}
