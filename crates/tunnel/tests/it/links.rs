//! An agent over its whole life: first contact, loss, drain, refusals, the fallback, the end of ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use model::link::{AgentEvent, PrinterStatus, Refusal, RefusalReason};
use model::wire;
use tokio::sync::Notify;
use tunnel::accept::{Transport, refusal_response};
use tunnel::agent_loop::Notice;
use tunnel::agent_side::ServeEnd;
use tunnel::body::RecvBody;
use tunnel::dial::Upgrade;
use tunnel::service_side::{LAST_STREAM_ID, LinkEnd};

use crate::ends::{full, printer};
use crate::fake_service::{Agent, FakeService, Memory};

async fn fine(_: Request<RecvBody>) -> Response<crate::ends::TestBody> {
    Response::new(full("fine"))
}

#[tokio::test]
async fn an_agent_enrols_once_and_comes_back_as_the_same() {
    let mut service = FakeService::start().await;
    let mut agent = Agent::start(&service.url(), Memory::default(), printer(fine));
    let first = service.link().await;
    assert_eq!((first.hello.printer_id.clone(), first.hello.enrolment_token.as_deref()), (None, Some("token")));
    assert_eq!(first.hello.capabilities, ["testing"]);
    assert_eq!(first.transport, Transport::Raw);
    // It is told to the person only once the service says that visitors can come.
    first.tell_linked().await;
    match agent.notice().await {
        Notice::Connected { welcome, upgrade } => {
            assert_eq!((welcome.printer_id, upgrade), (service.printer_id.clone(), Upgrade::Raw));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(first.ask_printer("/").await.unwrap(), StatusCode::OK);

    first.client.close();
    assert!(matches!(agent.notice().await, Notice::Lost { .. }));
    let second = service.link().await;
    assert_eq!(
        (second.hello.printer_id.clone(), second.hello.enrolment_token.clone()),
        (Some(service.printer_id.clone()), None)
    );
    assert_eq!(second.key.expose(), first.key.expose());
    assert_eq!(second.ask_printer("/").await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn an_agent_reports_its_printer_and_knows_no_other_orders() {
    let mut service = FakeService::start().await;
    let agent = Agent::start(&service.url(), Memory::default(), printer(fine));
    let link = service.link().await;
    let (status, mut events) = link.ask_agent(Method::GET, wire::EVENTS_PATH, "").await;
    assert_eq!(status, StatusCode::OK);
    for reachable in [false, true, false] {
        if reachable || agent.status.borrow().reachable {
            agent.status.send_modify(|status| status.reachable = reachable);
        }
        let line = events.frame().await.unwrap().unwrap().into_data().unwrap();
        let event: AgentEvent = serde_json::from_slice(&line).unwrap();
        assert_eq!(event, AgentEvent::PrinterStatus(PrinterStatus { reachable, ..PrinterStatus::default() }));
        assert!(line.ends_with(b"\n"));
    }
    for (method, path, body, expected) in [
        (Method::GET, "/", "", 404),
        (Method::GET, "/drain", "", 404),
        (Method::POST, "/events", "", 404),
        (Method::POST, "/drain", "", 400),
        (Method::POST, "/drain", "{}", 400),
        (Method::POST, "/drain", "{\"spreadMs\": -1}", 400),
        (Method::GET, "/../events", "", 404),
    ] {
        let (status, _) = link.ask_agent(method.clone(), path, body).await;
        assert_eq!(status.as_u16(), expected, "{method} {path} {body}");
    }
    assert_eq!(link.ask_printer(wire::EVENTS_PATH).await.unwrap(), StatusCode::OK, "the printer's own path");
}

#[tokio::test]
async fn told_to_drain_an_agent_connects_anew_and_finishes_what_it_has() {
    let mut service = FakeService::start().await;
    let go_on = Arc::new(Notify::new());
    let waiting = Arc::clone(&go_on);
    let answer = move |request: Request<RecvBody>| {
        let waiting = Arc::clone(&waiting);
        async move {
            if request.uri().path() == "/slow" {
                waiting.notified().await;
            }
            Response::new(full("done"))
        }
    };
    let mut agent = Agent::start(&service.url(), Memory::default(), printer(answer));
    let mut old = service.link().await;
    let client = old.client.clone();
    let slow = tokio::spawn(async move {
        let request = Request::get("http://printer/slow").body(()).unwrap();
        let stream = client.open(request, true).await.unwrap();
        let status = stream.response.await.map(|response| response.status());
        drop(stream.guard);
        status
    });
    let order = "{\"spreadMs\": 50}";
    assert_eq!(old.ask_agent(Method::POST, wire::DRAIN_PATH, order).await.0, StatusCode::NO_CONTENT);
    match agent.notice().await {
        Notice::Draining { reconnect_in } => assert!(reconnect_in <= Duration::from_millis(50)),
        other => panic!("{other:?}"),
    }
    let new = service.link().await;
    assert_eq!(new.ask_printer("/").await.unwrap(), StatusCode::OK);
    old.client.close_when_idle();
    assert!(!slow.is_finished() && !old.end.is_finished());
    go_on.notify_one();
    assert_eq!(slow.await.unwrap().unwrap(), StatusCode::OK);
    assert_eq!((&mut old.end).await.unwrap(), LinkEnd::ClosedHere);
    assert!(!new.end.is_finished());
}

/// RFC 9113 §5.1.1 gives a connection 2^31 ids; here they end at 41.
#[tokio::test]
async fn a_link_without_ids_left_is_replaced_and_no_visitor_notices() {
    let mut service = FakeService::start_with(41, |_| None).await;
    let _agent = Agent::start(&service.url(), Memory::default(), printer(fine));
    let mut old = service.link().await;
    let mut requests = 0;
    // The service looks every five seconds; visitors go on all the while.
    let since = Instant::now();
    while *old.told.exhausted.lock() == 0 {
        assert_eq!(old.ask_printer("/").await.unwrap(), StatusCode::OK);
        requests += 1;
        assert!(since.elapsed() < Duration::from_secs(20), "nobody was told");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(requests > 20);
    let order = "{\"spreadMs\": 10}";
    assert_eq!(old.ask_agent(Method::POST, wire::DRAIN_PATH, order).await.0, StatusCode::NO_CONTENT);
    let connecting = service.link();
    let mut connecting = std::pin::pin!(connecting);
    let new = loop {
        tokio::select! {
            new = &mut connecting => break new,
            status = old.ask_printer("/") => assert_eq!(status.unwrap(), StatusCode::OK),
        }
    };
    old.client.close_when_idle();
    assert_eq!(new.ask_printer("/").await.unwrap(), StatusCode::OK);
    assert_eq!((&mut old.end).await.unwrap(), LinkEnd::ClosedHere);
    assert_eq!(*new.told.exhausted.lock(), 0);
}

fn refusal(reason: RefusalReason, retry_after_seconds: Option<u32>) -> Refusal {
    Refusal { reason, message: "the message".to_owned(), retry_after_seconds }
}

#[tokio::test]
async fn a_wrong_token_ends_the_agent_and_nothing_else_does() {
    let said = refusal(RefusalReason::InvalidToken, None);
    let answer = said.clone();
    let service = FakeService::start_with(LAST_STREAM_ID, move |_| Some(refusal_response(&answer).map(text))).await;
    let mut agent = Agent::start(&service.url(), Memory::default(), printer(fine));
    let ended = tokio::time::timeout(Duration::from_secs(20), &mut agent.running).await.unwrap().unwrap();
    assert_eq!(ended, Err(said));

    for (reason, retry, expected) in [
        (RefusalReason::Busy, Some(10), 5..=15),
        (RefusalReason::WrongKey, None, 60..=600),
        (RefusalReason::PrinterRemoved, None, 60..=600),
        (RefusalReason::AgentTooOld, None, 60..=600),
        (RefusalReason::Unavailable, None, 0..=1),
    ] {
        let answer = refusal(reason, retry);
        let service = FakeService::start_with(LAST_STREAM_ID, move |_| Some(refusal_response(&answer).map(text))).await;
        let mut agent = Agent::start(&service.url(), Memory::default(), printer(fine));
        match agent.notice().await {
            Notice::Refused { refusal, retry_in } => {
                assert_eq!(refusal.reason, reason);
                assert!(expected.contains(&retry_in.as_secs()), "{reason:?}: {retry_in:?}");
            }
            other => panic!("{other:?}"),
        }
        assert!(!agent.running.is_finished());
    }
}

fn text(text: String) -> http_body_util::Full<bytes::Bytes> {
    text.into()
}

#[tokio::test]
async fn an_identity_that_cannot_be_kept_is_not_served() {
    let mut service = FakeService::start().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let answer = move |_: Request<RecvBody>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Response::new(full("served")) }
    };
    let identity = Memory { is_full: true, ..Memory::default() };
    let mut agent = Agent::start(&service.url(), identity, printer(answer));
    let link = service.link().await;
    assert!(matches!(agent.notice().await, Notice::IdentityNotKept(_)));
    assert!(link.ask_printer("/").await.is_err());
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn where_the_upgrade_is_refused_a_websocket_carries_the_tunnel() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    // As a proxy does that knows no upgrades but WebSockets.
    let mut service = FakeService::start_with(LAST_STREAM_ID, move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        (request.headers()[header::UPGRADE] != "websocket")
            .then(|| Response::builder().status(400).body("<html>no</html>".into()).unwrap())
    })
    .await;
    let echo = |request: Request<RecvBody>| async move {
        Response::new(request.into_body().map_err(Into::into).boxed_unsync())
    };
    let mut agent = Agent::start(&service.url(), Memory::default(), printer(echo));
    let link = service.link().await;
    assert!(matches!(link.transport, Transport::WebSocket { .. }));
    link.tell_linked().await;
    assert!(matches!(agent.notice().await, Notice::Connected { upgrade: Upgrade::WebSocket, .. }));
    assert_eq!(tries.load(Ordering::Relaxed), 2);

    let request = Request::post("http://printer/").body(()).unwrap();
    let mut stream = link.client.open(request, false).await.unwrap();
    let sent = crate::ends::pattern(3_000_000);
    let body = sent.clone();
    let sending = tokio::spawn(async move { tunnel::body::send_body(full(body), &mut stream.body).await.is_ok() });
    let response = stream.response.await.unwrap();
    let received = RecvBody::new(response.into_body(), None).collect().await.unwrap().to_bytes();
    assert!(received == sent && sending.await.unwrap());

    // The way that works is tried first from then on.
    link.client.close();
    let again = service.link().await;
    assert!(matches!(again.transport, Transport::WebSocket { .. }));
    assert_eq!(tries.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_agent_that_is_ended_says_goodbye() {
    let mut service = FakeService::start().await;
    let mut agent = Agent::start(&service.url(), Memory::default(), printer(fine));
    let link = service.link().await;
    agent.shutdown.cancel();
    assert_eq!((&mut agent.running).await.unwrap(), Ok(()));
    assert_eq!(link.end.await.unwrap(), LinkEnd::Closed);
}

/// What a lost link is called decides nothing, but people read it.
#[tokio::test]
async fn a_lost_link_is_tried_again_at_once_and_then_less_often() {
    let mut service = FakeService::start().await;
    let mut agent = Agent::start(&service.url(), Memory::default(), printer(fine));
    let mut waits = Vec::new();
    for _ in 0..3 {
        let link = service.link().await;
        link.tell_linked().await;
        assert!(matches!(agent.notice().await, Notice::Connected { .. }));
        link.client.close();
        match agent.notice().await {
            Notice::Lost { end, retry_in } => {
                assert!(matches!(end, ServeEnd::Closed | ServeEnd::Broken(_)), "{end:?}");
                waits.push(retry_in);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(waits[0], Duration::ZERO);
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(1)), "{waits:?}");
}
