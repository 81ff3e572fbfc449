//! The existing plugin's link: who is let in, and what visitors get through it.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full};
use model::Secret;
use octo::printer::{Answer, AnswerEnd, Deflater, PrinterEvent, close, message};
use octo::wire::{Compression, WebSocketKind};
use testkit::{AppAccess, Client, Ending, Exchange, Protocol, TestService, wait_until};
use tokio_tungstenite::tungstenite::Message;

use crate::plugin_support::{CHALLENGE, Identity, Masking, Plugin, challenge, linked, service};

/// A visitor's request, on its way while the test plays the plugin.
fn visit(service: &TestService, app: &AppAccess, protocol: Protocol, path: &str) -> tokio::task::JoinHandle<Exchange> {
    let (client, host) = (Client::speaking(protocol, service.address()), app.host.clone());
    let (path, authorization) = (path.to_owned(), app.bearer_header());
    tokio::spawn(async move { client.get(&host, &path, &[("authorization", authorization.as_str())]).await })
}

async fn open(service: &TestService, app: &AppAccess, path: &str) -> Result<testkit::VisitorSocket, Box<Exchange>> {
    let authorization = app.bearer_header();
    let client = Client::speaking(Protocol::Http1, service.address());
    client.websocket(&app.host, path, &[("authorization", authorization.as_str())]).await
}

fn refused(opened: Result<testkit::VisitorSocket, Box<Exchange>>) -> u16 {
    opened.err().unwrap().status.as_u16()
}

async fn websocket(plugin: &mut Plugin) -> u32 {
    match plugin.event().await {
        PrinterEvent::WebSocket(stream, _) => stream,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_get_the_printers_responses_however_frames_are_masked() {
    let service = service().await;
    let (identity, app) = linked(&service).await;
    for masking in [Masking::Zero, Masking::None, Masking::Random] {
        let mut plugin = Plugin::accepted(&service, &identity).await;
        plugin.masking = masking;
        for protocol in Protocol::ALL {
            let visit = visit(&service, &app, protocol, "/api/version?x=1");
            let request = plugin.request().await;
            assert_eq!(request.context.path.as_deref(), Some("/api/version?x=1"));
            assert_eq!(request.context.octo_host.as_deref(), Some(app.host.as_str()));
            assert_eq!(request.header("cookie"), Some(""));
            assert_eq!(request.header("authorization"), None, "it opened the door, and stays there");
            let mut answer = Answer::new(200, &[("Set-Cookie", "a=1; Path=/, b=2"), ("x-y", "z")], b"");
            answer.pieces = vec![(b"hello ".repeat(50), Compression::Zlib), (b"world".to_vec(), Compression::None)];
            answer.announced = Some(305);
            plugin.answer(request.stream, &answer).await;
            let exchange = visit.await.unwrap();
            assert_eq!((exchange.status.as_u16(), exchange.header("content-length")), (200, "305"));
            assert_eq!(exchange.headers.get_all("set-cookie").iter().count(), 2);
            assert_eq!(exchange.body.unwrap(), answer.body());
        }
        // Pings are answered whatever else goes on.
        plugin.send_frame(0x89, b"").await;
        assert_eq!(plugin.frame().await, Some((0x8a, Bytes::new())));
    }
}

#[tokio::test]
async fn bodies_go_to_the_printer_whole_and_heads_come_back_without_one() {
    let service = service().await;
    let (identity, app) = linked(&service).await;
    let mut plugin = Plugin::accepted(&service, &identity).await;
    let body: Vec<u8> = (0..3_000_000).map(|n| (n % 251) as u8).collect();
    for protocol in Protocol::ALL {
        let client = Client::speaking(protocol, service.address());
        let upload = app.request(Method::POST, "/api/files/local").body(Full::new(Bytes::from(body.clone()))).unwrap();
        let uploading = tokio::spawn(async move { client.exchange(upload).await });
        let request = plugin.request().await;
        assert_eq!(request.context.method.as_deref(), Some("POST"));
        assert!(request.body == body);
        plugin.answer(request.stream, &Answer::new(201, &[], b"stored")).await;
        let exchange = uploading.await.unwrap();
        assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (201, "stored"));

        let client = Client::speaking(protocol, service.address());
        let head = app.request(Method::HEAD, "/x").body(Full::new(Bytes::new())).unwrap();
        let asking = tokio::spawn(async move { client.exchange(head).await });
        let request = plugin.request().await;
        plugin.answer(request.stream, &Answer::new(200, &[], b"the plugin's cache sends a body")).await;
        let exchange = asking.await.unwrap();
        assert_eq!((exchange.status.as_u16(), exchange.header("content-length")), (200, "31"));
        assert!(exchange.body.unwrap().is_empty());
    }
}

#[tokio::test]
async fn failures_of_the_plugin_become_the_codes_that_apps_know() {
    let service = service().await;
    let (identity, app) = linked(&service).await;
    let mut plugin = Plugin::accepted(&service, &identity).await;
    for protocol in Protocol::ALL {
        for (is_unreachable, code) in [(true, 602), (false, 612)] {
            let visit = visit(&service, &app, protocol, "/");
            let request = plugin.request().await;
            plugin.send(&close(request.stream, is_unreachable)).await;
            plugin.printer.forget(request.stream);
            let exchange = visit.await.unwrap();
            assert_eq!(
                (exchange.status.as_u16(), exchange.header("x-spoolway-error")),
                (code, code.to_string().as_str())
            );
        }
        // A status or a header that cannot be carried, and a body that is longer than announced.
        for answer in [
            Answer::new(601, &[], b"x"),
            Answer::new(200, &[("x", "a\r\nSet-Cookie: b")], b"x"),
            Answer { announced: Some(1), ..Answer::new(200, &[], b"xx") },
        ] {
            let visit = visit(&service, &app, protocol, "/");
            let request = plugin.request().await;
            for message in answer.messages(request.stream, &[]) {
                plugin.send(&message).await;
            }
            assert!(matches!(plugin.event().await, PrinterEvent::Closed(stream) if stream == request.stream));
            assert_eq!(visit.await.unwrap().status.as_u16(), 612);
        }
        // A body that is shorter than announced never ends as if it were whole.
        let visit = visit(&service, &app, protocol, "/");
        let request = plugin.request().await;
        let short = Answer { announced: Some(10), end: AnswerEnd::Empty, ..Answer::new(200, &[], b"short") };
        plugin.answer(request.stream, &short).await;
        assert!(visit.await.unwrap().body.is_err());
    }
    // The session is lost: before a head, and after one.
    let (before, after) = (visit(&service, &app, Protocol::Http1, "/a"), visit(&service, &app, Protocol::Http2, "/b"));
    let requests = [plugin.request().await, plugin.request().await];
    let is_after = |request: &octo::printer::PrinterRequest| request.context.path.as_deref() == Some("/b");
    let begun = requests.iter().find(|request| is_after(request)).unwrap();
    let head = Answer { announced: None, end: AnswerEnd::Never, ..Answer::new(200, &[], b"begun") };
    plugin.answer(begun.stream, &head).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(plugin);
    assert_eq!(before.await.unwrap().status.as_u16(), 601);
    assert!(after.await.unwrap().body.is_err());
}

#[tokio::test]
async fn a_visitor_who_leaves_ends_the_stream() {
    let service = service().await;
    let (identity, app) = linked(&service).await;
    let mut plugin = Plugin::accepted(&service, &identity).await;
    let visit = visit(&service, &app, Protocol::Http1, "/");
    let request = plugin.request().await;
    visit.abort();
    assert!(matches!(plugin.event().await, PrinterEvent::Closed(stream) if stream == request.stream));
}

#[tokio::test]
async fn websockets_carry_whole_messages_both_ways() {
    let service = service().await;
    let (identity, app) = linked(&service).await;
    let mut plugin = Plugin::accepted(&service, &identity).await;
    let mut socket = open(&service, &app, "/sockjs/websocket").await.unwrap();
    let stream = websocket(&mut plugin).await;
    let large = vec![b'x'; 300_000];
    for sent in [Message::text("hello"), Message::binary(large.clone()), Message::text("")] {
        futures_util::SinkExt::send(&mut socket.messages, sent.clone()).await.unwrap();
        let kind = if sent.is_text() { WebSocketKind::Text } else { WebSocketKind::Binary };
        assert_eq!(plugin.event().await, PrinterEvent::Message(stream, kind, sent.into_data()));
    }
    let mut deflater = Deflater::default();
    for (kind, data) in
        [(WebSocketKind::Text, &b"status "[..]), (WebSocketKind::Binary, &large), (WebSocketKind::Text, b"")]
    {
        for compression in [Compression::None, Compression::Zlib] {
            plugin.send(&message(stream, kind, data, compression, &mut deflater)).await;
            let received = socket.next_message().await;
            assert_eq!((received.is_text(), &received.into_data()[..]), (kind == WebSocketKind::Text, data));
        }
    }
    // The visitor's close frame reaches the printer, whose answer ends the stream.
    socket.messages.close(None).await.unwrap();
    assert!(matches!(plugin.event().await, PrinterEvent::Message(_, WebSocketKind::Close, _)));
    plugin.send(&close(stream, false)).await;
    assert_eq!(socket.ending().await, Ending::closed(1000, ""));

    let socket = open(&service, &app, "/sockjs/websocket").await.unwrap();
    let stream = websocket(&mut plugin).await;
    plugin.send(&message(stream, WebSocketKind::Text, b"hi", Compression::None, &mut deflater)).await;
    plugin.send(&message(stream, WebSocketKind::Unknown(5), b"no", Compression::None, &mut deflater)).await;
    assert_eq!(socket.ending().await, Ending::closed(4612, "plugin_error"));
    assert!(matches!(plugin.event().await, PrinterEvent::Closed(_)));

    let socket = open(&service, &app, "/sockjs/websocket").await.unwrap();
    websocket(&mut plugin).await;
    drop(plugin);
    assert_eq!(socket.ending().await, Ending::closed(4601, "printer_offline"));
}

#[tokio::test]
async fn a_websocket_that_fails_again_and_again_is_refused_for_a_while() {
    let service = service().await;
    let (identity, app) = linked(&service).await;
    let mut plugin = Plugin::accepted(&service, &identity).await;
    for is_unreachable in [true, false, true] {
        let socket = open(&service, &app, "/ws").await.unwrap();
        let stream = websocket(&mut plugin).await;
        plugin.send(&close(stream, is_unreachable)).await;
        plugin.printer.forget(stream);
        assert_eq!(socket.ending().await, Ending::closed(4602, "printer_timeout"));
    }
    assert_eq!(refused(open(&service, &app, "/ws").await), 602);
    // The app that repeats it as a plain request reads the same code.
    assert_eq!(visit(&service, &app, Protocol::Http1, "/ws").await.unwrap().status.as_u16(), 602);
    let _other = open(&service, &app, "/other").await.unwrap();
    websocket(&mut plugin).await;
}

#[tokio::test]
async fn only_the_key_that_the_printer_is_linked_with_is_let_in() {
    let service = service().await;
    let (identity, app) = linked(&service).await;
    let mut first = Plugin::accepted(&service, &identity).await;
    let mut copy = Plugin::connect(&service).await;
    let other = Identity { key: Secret::new("z".repeat(80)), ..identity.clone() };
    copy.introduce(&other, &challenge(CHALLENGE.as_bytes()), Compression::Zlib).await;
    assert!(copy.try_event().await.is_err_and(|reset| reset.0.contains("another key")));
    let visit = visit(&service, &app, Protocol::Http1, "/");
    let request = first.request().await;
    first.answer(request.stream, &Answer::new(200, &[], b"still here")).await;
    assert_eq!(visit.await.unwrap().text(), "still here");
}

#[tokio::test]
async fn the_newest_session_of_a_plugin_is_the_one_that_counts() {
    let service = service().await;
    let (identity, app) = linked(&service).await;
    let mut old = Plugin::accepted(&service, &identity).await;
    let running = visit(&service, &app, Protocol::Http1, "/running");
    let request = old.request().await;
    let mut new = Plugin::accepted(&service, &identity).await;
    wait_until("the new session", || service.relay().printers_here().contains(&identity.printer)).await;
    let next = visit(&service, &app, Protocol::Http1, "/next");
    let on_new = new.request().await;
    new.answer(on_new.stream, &Answer::new(200, &[], b"new")).await;
    assert_eq!(next.await.unwrap().text(), "new");
    old.answer(request.stream, &Answer::new(200, &[], b"old")).await;
    assert_eq!(running.await.unwrap().text(), "old", "what was under way may finish");
    assert!(old.try_event().await.is_err(), "then the old session ends");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let service = service().await;
    let (identity, _) = linked(&service).await;
    let good = challenge(CHALLENGE.as_bytes());
    let refusal = async |challenge: &[u8], best| {
        let mut plugin = Plugin::connect(&service).await;
        plugin.introduce(&identity, challenge, best).await;
        let Err(reset) = plugin.try_event().await else { panic!("it is refused") };
        assert!(plugin.try_event().await.is_err(), "the connection ends");
        reset.0
    };
    assert!(refusal(&good, Compression::Zstandard).await.contains("dictionary"));
    // Damaged, for another plaintext, for no plaintext at all: one answer.
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    let wrong = [refusal(&damaged, Compression::Zlib).await, refusal(&challenge(b"short"), Compression::Zlib).await];
    assert!(wrong[0].contains("public key") && wrong[0] == wrong[1], "{wrong:?}");
    // Five in a minute are enough, and then even a right one gets the same.
    for _ in 0..3 {
        refusal(&damaged, Compression::Zlib).await;
    }
    assert_eq!(refusal(&good, Compression::Zlib).await, wrong[0]);
}

#[tokio::test]
async fn an_owner_links_a_plugin_by_the_code_on_the_printers_own_screen() {
    let service = service().await;
    let identity = Identity::generate();
    let mut plugin = Plugin::connect(&service).await;
    plugin.introduce(&identity, &challenge(CHALLENGE.as_bytes()), Compression::Zlib).await;
    assert_eq!(plugin.ack().await.connected_accounts, Some(Vec::new()));
    let PrinterEvent::Notification(notification) = plugin.event().await else { panic!("a notification") };
    assert!(!notification.show_only_if_loaded_from_oe && notification.title.is_some_and(|title| !title.is_empty()));
    let link = notification.action_link.unwrap();
    let code = link.rsplit_once("code=").unwrap().1;
    assert!(service.relay().printers_here().is_empty(), "nobody reaches it yet");

    let owner = service.add_printer().await;
    let now = std::time::SystemTime::now();
    let claimed = service.store().claim_pairing(code, &owner.account, &"Left".parse().unwrap(), now).await.unwrap();
    assert_eq!(claimed, Some(identity.printer.clone()));
    let told = plugin.ack().await;
    assert_eq!(told.connected_accounts, Some(vec![owner.owner.to_string()]));
    let app = service.app_connection(&identity.printer).await;
    let visit = visit(&service, &app, Protocol::Http1, "/");
    let request = plugin.request().await;
    plugin.answer(request.stream, &Answer::new(200, &[], b"linked")).await;
    assert_eq!(visit.await.unwrap().text(), "linked");

    // Removed, its session ends.
    service.store().unlink_printer(&owner.account, &identity.printer, now).await.unwrap();
    assert!(plugin.try_event().await.is_err());
}

#[tokio::test]
async fn a_slow_visitor_holds_nobody_up_and_misses_nothing() {
    const LENGTH: usize = 40 * 1024 * 1024;
    let service = service().await;
    let (identity, app) = linked(&service).await;
    let mut plugin = Plugin::accepted(&service, &identity).await;
    let client = Client::speaking(Protocol::Http1, service.address());
    let head = app.request(Method::GET, "/large").body(Full::new(Bytes::new())).unwrap();
    let asking = tokio::spawn(async move { client.send(head).await.unwrap() });
    let request = plugin.request().await;
    let body: Vec<u8> = (0..LENGTH).map(|n| (n / 1000 % 251) as u8).collect();
    let mut answer = Answer::new(200, &[], &body);
    answer.pieces = body.chunks(1 << 20).map(|piece| (piece.to_vec(), Compression::None)).collect();
    // The visitor reads nothing; the plugin sends all of it, and other visitors are served.
    plugin.answer(request.stream, &answer).await;
    let slow = asking.await.unwrap();
    let quick = visit(&service, &app, Protocol::Http2, "/quick");
    let request = plugin.request().await;
    plugin.answer(request.stream, &Answer::new(200, &[], b"quick")).await;
    assert_eq!(quick.await.unwrap().text(), "quick");
    let received = slow.into_body().collect().await.unwrap().to_bytes();
    assert!(received == body);
}
