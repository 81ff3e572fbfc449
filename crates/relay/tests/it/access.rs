//! Who gets in at an App Connection, and what of the key the printer sees.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use testkit::{
    AppAccess, Client, Exchange, Origin, Protocol, RawOrigin, Rig, Seen, basic_header, full, wait_for_answer,
};
use tokio_tungstenite::tungstenite::Message;

/// The status of all that the printer answers here, handshakes included.
const LET_IN: u16 = 404;
/// Wrong guesses from one address: T36 of the threat model.
const GUESSES: usize = 10_000;

#[tokio::test]
async fn basic_and_bearer_open_in_every_spelling() {
    let origin = printer().await;
    let rig = Rig::start(origin.address()).await;
    let pair = format!("{}:{}", rig.app.user, rig.app.password.expose());
    let bearer = rig.app.bearer.expose();
    for right in [
        format!("Bearer {bearer}"),
        format!("bearer {bearer}"),
        format!("BEARER   {bearer}"),
        format!("Basic {}", STANDARD.encode(&pair)),
        format!("basic {}", STANDARD.encode(&pair)),
        format!("Basic {}", STANDARD_NO_PAD.encode(&pair)),
        format!("Basic {}", URL_SAFE.encode(&pair)),
    ] {
        for protocol in Protocol::ALL {
            let headers = [("authorization", right.as_str())];
            let exchange = rig.client(protocol).get(&rig.app.host, "/", &headers).await;
            assert_eq!(exchange.status, LET_IN, "{right} in {protocol:?}");
            assert_eq!(handshake(&rig, protocol, "/", &headers).await.status, LET_IN, "{right} in {protocol:?}");
        }
    }
}

#[tokio::test]
async fn what_is_missing_unknown_unparsable_or_wrong_looks_the_same() {
    let origin = printer().await;
    let rig = Rig::start(origin.address()).await;
    let (user, password, bearer) = (&rig.app.user, rig.app.password.expose(), rig.app.bearer.expose());
    let other_case: String =
        bearer.chars().map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c }).collect();
    let mut bodies = Vec::new();
    for wrong in [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(format!("Bearer {other_case}")),
        Some(format!("Bearer {}", &bearer[1..])),
        Some(format!("Bearer {bearer}x")),
        Some(format!("Bearer {bearer}, Bearer {bearer}")),
        Some(format!("Token {bearer}")),
        Some(bearer.to_owned()),
        Some("Digest username=\"a\"".to_owned()),
        Some("Basic".to_owned()),
        Some("Basic !!!!".to_owned()),
        Some(format!("Basic {}", STANDARD.encode("no colon"))),
        Some(format!("Basic {}", STANDARD.encode([0xff, b':', 0xfe]))),
        Some(basic_header(user, "wrong")),
        Some(basic_header("wrong", password)),
        Some(basic_header("", password)),
        Some(basic_header(user, bearer)),
        Some(format!("Basic {user}:{password}")),
        Some(format!("Bearer {password}")),
    ] {
        let headers: Vec<_> = wrong.as_deref().map(|value| ("authorization", value)).into_iter().collect();
        for protocol in Protocol::ALL {
            let exchange = rig.client(protocol).get(&rig.app.host, "/", &headers).await;
            assert_eq!(exchange.status.as_u16(), 606, "{wrong:?} in {protocol:?}");
            bodies.push(without_request_id(&exchange));
            let refused = handshake(&rig, protocol, "/", &headers).await;
            assert_eq!(refused.status.as_u16(), 606, "{wrong:?} in {protocol:?}");
            bodies.push(without_request_id(&refused));
        }
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn two_authorizations_are_unparsable() {
    let origin = printer().await;
    let rig = Rig::start(origin.address()).await;
    let right = rig.app.bearer_header();
    for second in [right.as_str(), "Bearer wrong"] {
        for protocol in Protocol::ALL {
            for headers in [
                [("authorization", right.as_str()), ("authorization", second)],
                [("authorization", second), ("authorization", right.as_str())],
            ] {
                let exchange = rig.client(protocol).get(&rig.app.host, "/", &headers).await;
                assert_eq!(exchange.status.as_u16(), 606, "{headers:?} in {protocol:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_in_the_url_opens_handshakes_only_and_in_every_encoding() {
    let origin = printer().await;
    let rig = Rig::start(origin.address()).await;
    let pair = format!("{}:{}", rig.app.user, rig.app.password.expose());
    let bearer = rig.app.bearer.expose();
    let all_escaped: String = bearer.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for key in [
        bearer.to_owned(),
        all_escaped,
        STANDARD.encode(&pair),
        STANDARD.encode(&pair).replace('=', "%3D"),
        STANDARD_NO_PAD.encode(&pair),
        URL_SAFE.encode(&pair),
    ] {
        for protocol in Protocol::ALL {
            let path = format!("/ws?a=1&oe_api_key={key}&b=2");
            assert_eq!(handshake(&rig, protocol, &path, &[]).await.status, LET_IN, "{key} in {protocol:?}");
            assert_eq!(origin.last_seen().target, "/ws?a=1&b=2");
            let plain = rig.client(protocol).get(&rig.app.host, &path, &[]).await;
            assert_eq!(plain.status.as_u16(), 606, "{key} in {protocol:?}");
        }
    }
    for wrong in ["", "wrong", "%zz", "%ff", STANDARD.encode("a:b").as_str(), pair.as_str()] {
        let refused = handshake(&rig, Protocol::Http1, &format!("/ws?oe_api_key={wrong}"), &[]).await;
        assert_eq!(refused.status.as_u16(), 606, "{wrong}");
    }
    let only = handshake(&rig, Protocol::Http1, &format!("/ws?oe_api_key={bearer}"), &[]).await;
    assert_eq!((only.status.as_u16(), origin.last_seen().target.as_str()), (LET_IN, "/ws"));
}

#[tokio::test]
async fn of_two_credentials_on_a_handshake_both_must_be_right() {
    let origin = printer().await;
    let rig = Rig::start(origin.address()).await;
    let right_key = format!("/ws?oe_api_key={}", rig.app.bearer.expose());
    let (right, basic) = (rig.app.bearer_header(), rig.app.basic_header());
    for (path, authorization, expected) in [
        (right_key.as_str(), right.as_str(), LET_IN),
        (&right_key, &basic, LET_IN),
        (&right_key, "Bearer wrong", 606),
        (&right_key, "Unknown scheme", 606),
        ("/ws?oe_api_key=wrong", &right, 606),
        ("/ws?oe_api_key=", &right, 606),
    ] {
        for protocol in Protocol::ALL {
            let outcome = handshake(&rig, protocol, path, &[("authorization", authorization)]).await;
            assert_eq!(outcome.status.as_u16(), expected, "{path} with {authorization} in {protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_label_matches_in_any_case_with_any_port_and_a_trailing_dot() {
    let origin = printer().await;
    let rig = Rig::start(origin.address()).await;
    let authorization = rig.app.bearer_header();
    let (name, port) = rig.app.host.split_once(':').unwrap();
    let mixed: String = name.char_indices().map(|(n, c)| if n % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect();
    for host in [
        name.to_owned(),
        name.to_ascii_uppercase(),
        mixed,
        format!("{name}:{port}"),
        format!("{name}:1"),
        format!("{name}:443"),
        format!("{name}:"),
        format!("{name}."),
        format!("{}.:{port}", name.to_ascii_uppercase()),
    ] {
        for protocol in Protocol::ALL {
            let exchange = rig.client(protocol).get(&host, "/", &[("authorization", &authorization)]).await;
            assert_eq!(exchange.status, LET_IN, "{host} in {protocol:?}");
        }
    }
    let kind_counts = rig.app.host.replacen("app-", "shared-", 1);
    let exchange = rig.client(Protocol::Http1).get(&kind_counts, "/", &[("authorization", &authorization)]).await;
    assert_eq!(exchange.status.as_u16(), 603);
}

/// What opened the door stays at the door, wherever a browser or app repeats it.
#[tokio::test]
async fn the_printer_never_sees_a_key() {
    let origin = printer().await;
    let rig = Rig::start(origin.address()).await;
    let (bearer, basic) = (rig.app.bearer_header(), rig.app.basic_header());
    let key = rig.app.bearer.expose();
    let referer = format!("http://{}/page?oe_api_key={key}&a=1", rig.app.host);
    let cookie = format!("__spoolway_share=1.{key}; own=kept; __spoolway={key}");
    for protocol in Protocol::ALL {
        for authorization in [&bearer, &basic] {
            let headers = [("authorization", authorization.as_str()), ("referer", &referer), ("cookie", &cookie)];
            let exchange = rig.client(protocol).get(&rig.app.host, "/a?b=c", &headers).await;
            assert_eq!(exchange.status, LET_IN);
            let path = format!("/ws?oe_api_key={key}&spoolway-plain-status=1&z");
            assert_eq!(handshake(&rig, protocol, &path, &headers).await.status, LET_IN);
            assert_eq!(origin.last_seen().target, "/ws?z");
        }
    }
    for seen in origin.seen() {
        assert_absent(&seen, &[key, rig.app.password.expose(), &rig.app.user]);
        assert_eq!(seen.headers["referer"], format!("http://{}/page?a=1", rig.app.host));
        assert_eq!(seen.headers["cookie"], "own=kept");
        assert!(!seen.headers.contains_key("authorization"));
    }
}

/// The matrix of callers and states, for each kind of connection.
#[tokio::test]
async fn callers_and_states() {
    let origin = printer().await;
    let rig = Rig::start(origin.address()).await;
    let service = &rig.service;
    let stranger = service.app_connection(&service.add_printer().await.id).await;
    let soon = std::time::SystemTime::now() + std::time::Duration::from_millis(100);
    let expired = service.app_connection_until(&rig.printer.id, Some(soon)).await;
    let revoked = service.app_connection(&rig.printer.id).await;
    service.revoke(store::ConnectionKind::App, &revoked.id).await;
    let open = service.shared_connection(&rig.printer.id, None).await;
    let closed = service.shared_connection(&rig.printer.id, Some("a password")).await;
    let dead = service.shared_connection(&rig.printer.id, None).await;
    service.revoke(store::ConnectionKind::Shared, &dead.id).await;
    let with_password = basic_header("anybody", "a password");
    let callers = |app: &AppAccess| [app.bearer_header(), app.basic_header()];
    let [bearer, basic] = callers(&rig.app);
    let [stranger_bearer, stranger_basic] = callers(&stranger);
    wait_for_answer("the expiry", async || (std::time::SystemTime::now() > soon).then_some(())).await;

    let check = async |rows: &[(&str, &str, u16)], when: &str| {
        for (host, authorization, expected) in rows {
            let headers = [("authorization", *authorization)];
            let headers = if authorization.is_empty() { &headers[..0] } else { &headers };
            for protocol in Protocol::ALL {
                let context = format!("{host} with {authorization:?} in {protocol:?}, {when}");
                let exchange = rig.client(protocol).get(host, "/", headers).await;
                assert_eq!(exchange.status.as_u16(), *expected, "{context}");
                let refused = rig.client(protocol).websocket(host, "/", headers).await.err().unwrap();
                assert_eq!(refused.status.as_u16(), *expected, "a handshake at {context}");
            }
        }
    };
    let alive = [
        (rig.app.host.as_str(), "", 606),
        (&rig.app.host, &stranger_bearer, 606),
        (&rig.app.host, &stranger_basic, 606),
        (&rig.app.host, &bearer, LET_IN),
        (&rig.app.host, &basic, LET_IN),
        (&stranger.host, &bearer, 606),
        (&open.host, "", LET_IN),
        (&open.host, &stranger_bearer, LET_IN),
        (&closed.host, "", 606),
        (&closed.host, &bearer, 606),
        (&closed.host, &with_password, LET_IN),
    ];
    check(&alive, "alive").await;
    let (expired_bearer, revoked_bearer) = (expired.bearer_header(), revoked.bearer_header());
    let dead_ones = [
        (expired.host.as_str(), expired_bearer.as_str(), 604),
        (&expired.host, "", 604),
        (&revoked.host, &revoked_bearer, 604),
        (&revoked.host, "", 604),
        (&dead.host, "", 604),
    ];
    check(&dead_ones, "dead").await;

    rig.set_supporter(false).await;
    let without_plan = [
        (rig.app.host.as_str(), "", 606),
        (&rig.app.host, &stranger_bearer, 606),
        (&rig.app.host, &bearer, 605),
        (&open.host, "", 605),
        (&closed.host, "", 606),
        (&closed.host, &with_password, 605),
        (&revoked.host, &revoked_bearer, 604),
    ];
    eventually(&without_plan, service.address()).await;
    check(&without_plan, "without a plan").await;
    rig.set_supporter(true).await;
    eventually(&alive, service.address()).await;
    check(&alive, "with the plan back").await;

    service.store().remove_printer(&rig.printer.id, std::time::SystemTime::now()).await.unwrap();
    let gone = [
        (rig.app.host.as_str(), bearer.as_str(), 604),
        (&rig.app.host, "", 604),
        (&open.host, "", 604),
        (&closed.host, "", 604),
    ];
    eventually(&gone, service.address()).await;
    check(&gone, "after the printer was removed").await;
}

/// A guesser is slowed down, and nobody who shares the guesser's address is locked out or told anything that makes an
/// app forget its connection.
#[tokio::test]
async fn ten_thousand_wrong_guesses_do_not_disturb_the_right_one() {
    let origin = printer().await;
    let rig = Rig::start(origin.address()).await;
    let mut connection = rig.client(Protocol::Http2).connect("localhost").await.unwrap();
    let mut counts = std::collections::BTreeMap::<u16, usize>::new();
    let right = rig.app.bearer_header();
    for n in 0..GUESSES {
        let guess = format!("Bearer wrong{n}");
        let request = Request::get("/").header("host", &rig.app.host).header("authorization", &guess);
        let response = connection.send(request.body(Empty::new()).unwrap()).await.unwrap();
        let exchange = Exchange::read(response).await;
        *counts.entry(exchange.status.as_u16()).or_default() += 1;
        if exchange.status.as_u16() == 600 {
            assert!(exchange.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
        }
        if n % 100 == 0 {
            let request = Request::get("/").header("host", &rig.app.host).header("authorization", &right);
            let response = connection.send(request.body(Empty::new()).unwrap()).await.unwrap();
            assert_eq!(response.status(), LET_IN, "after {n} guesses");
        }
    }
    println!("answers to {GUESSES} wrong guesses: {counts:?}");
    assert!(counts.keys().all(|code| [600, 606].contains(code)), "{counts:?}");
    // A hundred at once and one more a second; the slowest machine takes minutes for that.
    assert!(counts[&606] >= 100 && counts[&606] < GUESSES / 10, "{counts:?}");
    assert_eq!(handshake(&rig, Protocol::Http1, "/", &[("authorization", &right)]).await.status, LET_IN);
    let unknown = format!("app-abcdefgh.{}", rig.service.relay().names().printers_domain);
    let unknown = rig.client(Protocol::Http1).get(&unknown, "/", &[]).await.status.as_u16();
    assert!([600, 603].contains(&unknown), "{unknown}");
}

/// An open Shared Connection asks for nothing, so what a visitor sends is for the printer.
#[tokio::test]
async fn an_open_shared_connection_passes_authorization_on() {
    let origin = RawOrigin::websocket(&[], |mut socket, headers| async move {
        let authorization = headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
        let _ = socket.send(Message::text(authorization)).await;
        while let Some(Ok(_)) = socket.next().await {}
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    let shared = rig.service.shared_connection(&rig.printer.id, None).await;
    for protocol in Protocol::ALL {
        for authorization in ["Bearer for-the-printer", "Basic dXNlcjpwYXNz", "ApiKey anything at all"] {
            let headers = [("authorization", authorization)];
            let mut socket = rig.client(protocol).websocket(&shared.host, "/ws", &headers).await.ok().unwrap();
            assert_eq!(socket.next_message().await, Message::text(authorization));
        }
    }
}

async fn printer() -> Origin {
    Origin::start(|_| async {
        let mut response = Response::new(full("hello"));
        *response.status_mut() = StatusCode::from_u16(LET_IN).unwrap();
        response
    })
    .await
}

/// The response to a handshake that the printer does not accept, or our refusal.
async fn handshake(rig: &Rig, protocol: Protocol, path: &str, headers: &[(&str, &str)]) -> Exchange {
    match rig.client(protocol).websocket(&rig.app.host, path, headers).await {
        Ok(_) => panic!("the WebSocket was accepted"),
        Err(exchange) => *exchange,
    }
}

/// Waits until every row is answered like that: changes take effect within a moment, connection by connection.
async fn eventually(rows: &[(&str, &str, u16)], address: std::net::SocketAddr) {
    let client = Client::new(address);
    for (host, authorization, code) in rows {
        let headers = [("authorization", *authorization)];
        let headers = if authorization.is_empty() { &headers[..0] } else { &headers };
        wait_for_answer("the change to take effect", async || {
            (client.get(host, "/", headers).await.status.as_u16() == *code).then_some(())
        })
        .await;
    }
}

fn without_request_id(exchange: &Exchange) -> (String, Vec<(String, String)>) {
    let mut body: serde_json::Value = serde_json::from_str(&exchange.text()).unwrap();
    body.as_object_mut().unwrap().remove("RequestId").unwrap();
    let headers = exchange.headers.iter().filter(|(name, _)| !["date", "connection"].contains(&name.as_str()));
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    (body.to_string(), headers)
}

fn assert_absent(seen: &Seen, secrets: &[&str]) {
    let head = format!("{} {:?}", seen.target, seen.headers);
    for secret in secrets {
        assert!(!head.contains(secret), "{head}");
    }
}
