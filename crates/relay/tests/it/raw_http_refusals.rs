//! What follows a request that was answered before it was read to its end: never taken for another request.

use std::time::SystemTime;

use http::{Method, Response};
use http_body_util::BodyExt;
use model::{Label, Limits};
use store::ConnectionKind;
use testkit::{AppAccess, Origin, Rig, TestAgent, TestService, dead_address, full, raw_dialogue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw_http::{Stage, Taken};

/// A request that is refused before its body is looked at.
struct Refusal {
    what: &'static str,
    status: u16,
    method: Method,
    target: &'static str,
    host: String,
    fields: String,
}

/// Ways to send a body in which a request is hidden. The refusal comes before the body is read; then either all of it
/// is thrown away, or the connection ends.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// As long as announced.
    Whole,
    /// Longer than what is read in one go.
    Large,
    /// Announced longer than it is: what follows belongs to it.
    CutShort,
    /// In chunks.
    Chunked,
    /// Held back until the service asks for it, and then not sent.
    Expected,
    /// None at all, but the wish to speak something else.
    Upgrade(&'static str),
}

const BODIES: [Body; 8] = [
    Body::Whole,
    Body::Large,
    Body::CutShort,
    Body::Chunked,
    Body::Expected,
    Body::Upgrade("websocket"),
    Body::Upgrade("spoolway-tunnel"),
    Body::Upgrade("telepathy/1.0"),
];

impl Body {
    fn request(self, refusal: &Refusal, smuggled: &str) -> Vec<u8> {
        let Refusal { method, target, host, fields, .. } = refusal;
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}");
        let text = match self {
            Self::Whole => format!("{head}Content-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
            Self::Large => {
                let body = smuggled.repeat(300_000 / smuggled.len());
                format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
            }
            Self::CutShort => format!("{head}Content-Length: {}\r\n\r\n{smuggled}", smuggled.len() + 1_000_000),
            Self::Chunked => {
                format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len())
            }
            Self::Expected => format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", smuggled.len()),
            Self::Upgrade(protocol) => format!("{head}Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"),
        };
        text.into_bytes()
    }
}

/// The connections behind which each refusal lies.
async fn refusals(service: &TestService) -> (Vec<Refusal>, Vec<TestAgent>) {
    let limited = Limits { max_upload_bytes: Some(1), max_download_bytes: Some(1), ..Limits::default() };
    let (small, small_app) = Rig::printer_on(service, limited).await;
    service.store().set_plan("none", SystemTime::now(), |plan| plan.supporter = false).await.unwrap();
    let without_plan = service.add_printer_on(Some("none")).await;
    let offline = service.add_printer().await;
    let dead = service.add_printer().await;
    let agents = vec![
        TestAgent::start(service, &small, dead_address().await).await,
        TestAgent::start(service, &dead, dead_address().await).await,
    ];
    let printers = &service.relay().names().printers_domain;
    let with_password = service.shared_connection(&offline.id, Some("password")).await;
    let authorized = |app: &AppAccess| format!("Authorization: {}\r\n", app.bearer_header());
    let app = |what, status, app: &AppAccess| Refusal {
        what,
        status,
        method: Method::PUT,
        target: "/refused",
        host: app.host.clone(),
        fields: authorized(app),
    };
    let revoked = service.app_connection(&offline.id).await;
    service.revoke(ConnectionKind::App, &revoked.id).await;
    let elsewhere = |what, status, method, target, host: String, fields: &str| Refusal {
        what,
        status,
        method,
        target,
        host,
        fields: fields.to_owned(),
    };
    let refusals = vec![
        app("no link", 601, &service.app_connection(&offline.id).await),
        app("dead printer", 602, &service.app_connection(&dead.id).await),
        elsewhere("no such label", 603, Method::PUT, "/", format!("app-{}.{printers}", Label::generate()), ""),
        elsewhere("owner's view", 603, Method::PUT, "/", format!("p-{}.{printers}", Label::generate()), ""),
        app("revoked", 604, &revoked),
        app("plan without apps", 605, &service.app_connection(&without_plan.id).await),
        elsewhere("no credentials", 606, Method::PUT, "/", small_app.host.clone(), ""),
        elsewhere("wrong credentials", 606, Method::PUT, "/", small_app.host.clone(), "Authorization: Bearer x\r\n"),
        elsewhere("no password", 606, Method::PUT, "/", with_password.host.clone(), ""),
        app("too large an upload", 608, &small_app),
        elsewhere("foreign host", 421, Method::PUT, "/", "evil.example".to_owned(), ""),
        elsewhere("no host", 400, Method::PUT, "/", "a b".to_owned(), ""),
        elsewhere("no path", 400, Method::PUT, "path", small_app.host.clone(), ""),
        elsewhere("trace", 405, Method::TRACE, "/", small_app.host.clone(), ""),
        elsewhere("unknown page", 404, Method::PUT, "/nowhere", service.domain(), ""),
        elsewhere("health", 405, Method::PUT, "/healthz", service.domain(), ""),
        elsewhere("agent's door", 400, Method::PUT, "/api/agent/tunnel", service.domain(), ""),
        elsewhere(
            "preflight",
            204,
            Method::OPTIONS,
            "/",
            small_app.host.clone(),
            "Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n",
        ),
        elsewhere("everything", 204, Method::OPTIONS, "*", small_app.host.clone(), ""),
        elsewhere("password page", 405, Method::PUT, "/.spoolway/password", with_password.host.clone(), ""),
        elsewhere(
            "password form from elsewhere",
            403,
            Method::POST,
            "/.spoolway/password",
            with_password.host.clone(),
            "Origin: https://evil.example\r\n",
        ),
        elsewhere("password redirect", 303, Method::GET, "/page", with_password.host.clone(), "Accept: text/html\r\n"),
    ];
    (refusals, agents)
}

#[tokio::test]
async fn what_follows_an_early_refusal_is_never_read_as_part_of_it() {
    let stage = Stage::set().await;
    let (refusals, _agents) = refusals(&stage.service).await;
    let open = &stage.shared.host;
    let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {open}\r\n\r\n");
    let second = format!("GET /second HTTP/1.1\r\nHost: {open}\r\nConnection: close\r\n\r\n");
    let mut problems = Vec::new();
    for refusal in &refusals {
        for body in BODIES {
            // An announced length that is over the limit is a refusal of its own, and only that case's.
            let has_body = !matches!(body, Body::Upgrade(_));
            if refusal.status == 608 && !has_body {
                continue;
            }
            let mut bytes = body.request(refusal, &smuggled);
            bytes.extend_from_slice(second.as_bytes());
            let dialogue = raw_dialogue(stage.service.address(), &bytes).await;
            let taken = std::mem::take(&mut *stage.taken.lock());
            let mut fine = dialogue.rest.is_empty() && dialogue.responses.iter().all(|response| response.is_whole);
            fine &= dialogue.responses.first().is_some_and(|first| first.status == refusal.status);
            // RFC 9110 §15.5.6.
            fine &= refusal.status != 405
                || dialogue.responses.first().is_some_and(|first| first.headers.contains_key("allow"));
            fine &= match dialogue.responses.get(1) {
                None => taken.is_empty(),
                // Behind an upgrade, bytes may have been meant for another protocol.
                Some(_) if !has_body || matches!(body, Body::CutShort | Body::Expected) => false,
                Some(answer) => answer.body == b"printer /second" && taken == [Taken::new("GET", "/second", b"")],
            };
            if !fine || dialogue.responses.len() > 2 {
                let statuses = dialogue.statuses();
                problems.push(format!("{}, {body:?}: {statuses:?}, printer saw {taken:?}", refusal.what));
            }
        }
    }
    assert!(problems.is_empty(), "{} went wrong:\n{}", problems.len(), problems.join("\n"));
    stage.check_that_all_is_well().await;
}

/// Early bytes are the door of CVE-2026-2833: a proxy that passes them on before the switch lets a visitor write a
/// request of its own to the printer.
#[tokio::test]
async fn nothing_reaches_the_printer_before_it_has_switched_protocols() {
    let service = TestService::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let printer = service.add_printer().await;
    let _agent = TestAgent::start(&service, &printer, listener.local_addr().unwrap()).await;
    let shared = service.shared_connection(&printer.id, None).await;

    let smuggled = format!("GET /smuggled HTTP/1.1\r\nHost: {}\r\n\r\n", shared.host);
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        shared.host
    );
    for refusal in ["HTTP/1.1 403 Forbidden\r\n", "HTTP/1.1 200 OK\r\n"] {
        let bytes = format!("{handshake}{smuggled}");
        let visitor = tokio::spawn({
            let address = service.address();
            async move { raw_dialogue(address, bytes.as_bytes()).await }
        });
        let (mut at_printer, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"\r\n\r\n") {
            at_printer.read_buf(&mut received).await.unwrap();
        }
        at_printer.write_all(format!("{refusal}Content-Length: 2\r\n\r\nno").as_bytes()).await.unwrap();
        let dialogue = visitor.await.unwrap();
        assert_eq!(dialogue.responses.len(), 1, "{dialogue:?}");
        assert_eq!(dialogue.responses[0].body, b"no");
        // The agent closes a connection whose handshake was refused; all that it ever carried is the handshake.
        at_printer.read_to_end(&mut received).await.unwrap();
        let received = String::from_utf8(received).unwrap();
        assert_eq!(received.matches("HTTP/1.1").count(), 1, "{received}");
    }
}

/// A visitor who sends on after a refusal must still be able to read it: a reset would take it away.
#[tokio::test]
async fn a_refusal_is_read_by_a_visitor_who_is_still_sending() {
    let origin = Origin::start(|request| async move {
        let _ = request.into_body().collect().await;
        Response::new(full("taken"))
    })
    .await;
    let limits = Limits { max_upload_bytes: Some(10), ..Limits::default() };
    let rig = Rig::limited(origin.address(), limits).await;
    let mut visitor = testkit::connect_raw(rig.service.address()).await;
    let head = format!(
        "PUT /file HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Length: 4000000\r\n\r\n",
        rig.app.host,
        rig.app.bearer_header()
    );
    visitor.write_all(head.as_bytes()).await.unwrap();
    let mut response = [0; 12];
    visitor.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"HTTP/1.1 608");
    // The first of these would be answered by a reset, the second fail, if the connection were closed at once.
    for _ in 0..10 {
        visitor.write_all(&[b'x'; 10_000]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let rest = testkit::read_to_close(&mut visitor).await;
    assert!(rest.ends_with(b"}"), "the refusal is not whole: {}", rest.escape_ascii());
    assert!(origin.seen().is_empty());
}
