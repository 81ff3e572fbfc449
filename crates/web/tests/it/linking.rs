//! Linking an agent by its code: what the agent asks, and what the person answers.

use std::time::Duration;

use axum::body::Body;
use http::{Method, StatusCode, header};
use model::Secret;
use serde_json::{Value, json};
use store::NewPairing;
use web::SiteSettings;

use crate::api::fixture::Answer;
use crate::world::{Browser, World, now};

const PAIRING: &str = "/api/agent/pairing";

/// An agent asks for a code, or after it.
async fn ask(browser: &mut Browser<'_>, method: Method, key: &str, body: &str) -> Answer {
    let request = browser.request(method, PAIRING).header(header::AUTHORIZATION, format!("Bearer {key}"));
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    browser.send(request).await
}

fn json(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

async fn new_code(world: &World, key: &Secret) -> String {
    let body = json!({"host": "raspberry", "software": "octoprint", "softwareVersion": "1.11", "lanIp": "10.0.0.7"});
    let answer = ask(&mut world.browser(), Method::POST, key.expose(), &body.to_string()).await;
    json(&answer)["code"].as_str().expect("a code").to_owned()
}

async fn state(world: &World, key: &Secret) -> Value {
    json(&ask(&mut world.browser(), Method::GET, key.expose(), "").await)
}

#[tokio::test]
async fn a_code_links_one_agent_to_one_account_once() {
    let world = World::new().await;
    let ann = world.account("ann@example.org", None).await;
    let eve = world.account("eve@example.org", None).await;
    let (mut ann_browser, mut eve_browser) = (world.signed_in(&ann).await.1, world.signed_in(&eve).await.1);
    let key = Secret::generate();
    let asked = ask(&mut world.browser(), Method::POST, key.expose(), r#"{"host": "raspberry", "new": 1}"#).await;
    let asked = json(&asked);
    let code = asked["code"].as_str().expect("a code");
    assert_eq!(code.len(), 8);
    assert!(code.bytes().all(|byte| b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789".contains(&byte)), "{code}");
    assert_eq!(asked["url"], "http://localhost:8080/link");
    assert_eq!(asked["urlWithCode"], format!("http://localhost:8080/link?code={code}"));
    assert_eq!((&asked["expiresInSeconds"], &asked["pollSeconds"]), (&json!(900), &json!(3)));
    assert_eq!(state(&world, &key).await, json!({"state": "pending"}));

    // Whoever opens the address sees what it belongs to, and has linked nothing yet.
    let page = ann_browser.get(&format!("/link?code={code}")).await;
    assert!(page.text().contains("raspberry") && page.text().contains("192.0.2.1"), "{}", page.text());
    assert_eq!(state(&world, &key).await, json!({"state": "pending"}));
    let unnamed = ann_browser.post("/link", &[("code", code), ("name", " "), ("answer", "link")]).await;
    assert!(unnamed.text().contains("role=\"alert\""));

    // As people type it.
    let typed = format!(" {}-{} ", code[..4].to_lowercase(), &code[4..]);
    let linked = ann_browser.post("/link", &[("code", &typed), ("name", "My printer"), ("answer", "link")]).await;
    let own = world.store.printers_of(&ann).await.expect("a list");
    assert_eq!((linked.status, own.len()), (StatusCode::SEE_OTHER, 1), "{}", linked.text());
    let id = own[0].summary.id.to_string();
    assert_eq!(linked.header("location"), format!("/view/{id}"));
    let expected = json!({"state": "linked", "printerId": id, "printerName": "My printer"});
    assert_eq!(state(&world, &key).await, expected);

    for browser in [&mut eve_browser, &mut ann_browser] {
        let again = browser.post("/link", &[("code", code), ("name", "Mine"), ("answer", "link")]).await;
        assert!(again.text().contains("That code is not known"), "{}", again.text());
        let denied = browser.post("/link", &[("code", code), ("name", ""), ("answer", "deny")]).await;
        assert_eq!(denied.header("location"), "/printers");
    }
    assert!(world.store.printers_of(&eve).await.expect("a list").is_empty());
    assert_eq!(world.store.printers_of(&ann).await.expect("a list").len(), 1);
    assert_eq!(state(&world, &key).await, expected, "what is linked is not refused afterwards");
    let page = eve_browser.get(&format!("/link?code={code}")).await.text();
    assert!(page.contains("That code is not known") && !page.contains("raspberry"));
}

#[tokio::test]
async fn a_refused_agent_is_told_and_a_new_code_voids_the_old() {
    let world = World::new().await;
    let ann = world.account("ann@example.org", None).await;
    let (_, mut browser) = world.signed_in(&ann).await;
    let key = Secret::generate();
    let code = new_code(&world, &key).await;
    browser.post("/link", &[("code", &code), ("answer", "deny")]).await;
    assert_eq!(state(&world, &key).await, json!({"state": "denied"}));
    let late = browser.post("/link", &[("code", &code), ("name", "Mine"), ("answer", "link")]).await;
    assert!(late.text().contains("That code is not known"));

    let first = new_code(&world, &key).await;
    let second = new_code(&world, &key).await;
    assert_ne!(first, second);
    let void = browser.post("/link", &[("code", &first), ("name", "Mine"), ("answer", "link")]).await;
    assert!(void.text().contains("That code is not known"));
    assert_eq!(state(&world, &key).await, json!({"state": "pending"}));
    assert!(world.store.printers_of(&ann).await.expect("a list").is_empty());
}

#[tokio::test]
async fn codes_expire() {
    let world = World::new().await;
    let ann = world.account("ann@example.org", None).await;
    let (_, mut browser) = world.signed_in(&ann).await;
    let key = Secret::generate();
    let pairing = NewPairing {
        printer: None,
        key: &key,
        host: "raspberry".to_owned(),
        software: String::new(),
        software_version: String::new(),
        agent_version: String::new(),
        lan_ip: String::new(),
        address: None,
    };
    let earlier = now() - Duration::from_secs(15 * 60 + 1);
    let code = world.store.start_pairing(pairing, earlier).await.expect("a code");
    let answer = ask(&mut world.browser(), Method::GET, key.expose(), "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let page = browser.get(&format!("/link?code={}", code.as_str())).await.text();
    assert!(page.contains("That code is not known") && !page.contains("raspberry"));
    let late = browser.post("/link", &[("code", code.as_str()), ("name", "Mine"), ("answer", "link")]).await;
    assert!(late.text().contains("That code is not known"));
    assert!(world.store.printers_of(&ann).await.expect("a list").is_empty());
}

#[tokio::test]
async fn two_who_claim_at_once_do_not_both_get_it() {
    let world = World::new().await;
    let accounts = [world.account("ann@example.org", None).await, world.account("eve@example.org", None).await];
    let (mut one, mut other) = (world.signed_in(&accounts[0]).await.1, world.signed_in(&accounts[1]).await.1);
    for _ in 0..3 {
        let code = new_code(&world, &Secret::generate()).await;
        let fields = [("code", code.as_str()), ("name", "Mine"), ("answer", "link")];
        let answers = tokio::join!(one.post("/link", &fields), other.post("/link", &fields));
        let n_linked = [answers.0, answers.1].iter().filter(|answer| answer.status == StatusCode::SEE_OTHER).count();
        assert_eq!(n_linked, 1);
    }
    let mut n_printers = 0;
    for account in &accounts {
        n_printers += world.store.printers_of(account).await.expect("a list").len();
    }
    assert_eq!(n_printers, 3);
}

#[tokio::test]
async fn what_is_no_agent_gets_no_code() {
    let world = World::new().await;
    let mut browser = world.browser();
    let long = "a".repeat(129);
    let quoted = format!("{}\"", "a".repeat(40));
    for key in ["", "short", &long, &quoted] {
        for method in [Method::POST, Method::GET] {
            assert_eq!(ask(&mut browser, method, key, "{}").await.status, StatusCode::UNAUTHORIZED, "{key:?}");
        }
    }
    let key = Secret::generate();
    let mut elsewhere = world.browser().coming_from([198, 51, 100, 7]);
    for (body, status) in [
        ("", StatusCode::BAD_REQUEST),
        ("[", StatusCode::BAD_REQUEST),
        (r#"{"host": 5}"#, StatusCode::BAD_REQUEST),
        (&" ".repeat(9000), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        assert_eq!(ask(&mut elsewhere, Method::POST, key.expose(), body).await.status, status, "{body:.20}");
    }
    assert_eq!(ask(&mut elsewhere, Method::GET, key.expose(), "").await.status, StatusCode::NOT_FOUND);

    let off = World::with(SiteSettings { pairing: false, ..SiteSettings::default() }, "http").await;
    let answer = ask(&mut off.browser(), Method::POST, key.expose(), "{}").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn codes_are_asked_for_and_tried_within_limits() {
    let world = World::new().await;
    let mut agent = world.browser();
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let answer = ask(&mut agent, Method::POST, Secret::generate().expose(), "{}").await;
        if answer.status != StatusCode::OK {
            assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| (1..=60).contains(&seconds)));
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 429, 429]);
    let mut elsewhere = world.browser().coming_from([198, 51, 100, 7]);
    assert_eq!(ask(&mut elsewhere, Method::POST, Secret::generate().expose(), "{}").await.status, StatusCode::OK);

    // Whoever types codes is bounded by account, whatever the address.
    let eve = world.account("eve@example.org", None).await;
    let ann = world.account("ann@example.org", None).await;
    let (_, mut guesser) = world.signed_in(&eve).await;
    for n in 0..10_u8 {
        guesser = guesser.coming_from([198, 51, 100, n]);
        assert_eq!(guesser.get("/link?code=AAAABBBB").await.status, StatusCode::OK);
    }
    for answer in [
        guesser.get("/link?code=AAAABBBB").await,
        guesser.post("/link", &[("code", "AAAABBBB"), ("name", "x"), ("answer", "link")]).await,
        guesser.post("/link", &[("code", "AAAABBBB"), ("answer", "deny")]).await,
    ] {
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(answer.header("retry-after").parse::<u32>().is_ok());
    }
    assert_eq!(guesser.get("/link").await.status, StatusCode::OK, "the empty form can still be seen");
    let (_, mut other) = world.signed_in(&ann).await;
    assert_eq!(other.get("/link?code=AAAABBBB").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_full_interface_is_opened_with_a_ticket_for_the_browser_that_asks() {
    let world = World::new().await;
    let ann = world.account("ann@example.org", None).await;
    let printer = world.printer("ann@example.org", "Anns Voron").await;
    let label = world.store.printer_of(&ann, &printer).await.expect("it is hers").owner_label;
    let (_, mut browser) = world.signed_in(&ann).await;
    // The printer's host gives the browser its secret before a ticket is issued.
    for query in ["", "&browser=", "&browser=zz", "&browser=0123"] {
        let sent = browser.get(&format!("/open/{label}?to=/files{query}")).await;
        let expected = format!("http://p-{label}.localhost:8080/.spoolway/enter?to=%2Ffiles");
        assert_eq!((sent.status, sent.header("location")), (StatusCode::SEE_OTHER, expected.as_str()), "{query}");
    }
    let hash = model::SecretHash::of("its secret").to_hex();
    let sent = browser.get(&format!("/open/{label}?to=/files&browser={hash}")).await;
    let location = sent.header("location");
    let ticket = location.split_once("&ticket=").expect("a ticket").1;
    assert!(ticket.len() >= 32 && location.starts_with("http://p-"), "{location}");
    let log = world.store.audit_log(&ann, None, 10).await.expect("a log");
    assert_eq!(log.len(), 1, "only the ticket is written down: {log:?}");
}
