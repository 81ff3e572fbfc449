//! Requests and WebSockets that pass.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use testkit::{Client, Origin, TestAgent, TestService, full, websocket};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_request_reaches_the_printer_and_its_response_the_visitor() {
    let service = TestService::start().await;
    let origin = Origin::start(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::builder().status(201).header("x-kept", "1").body(full(body)).unwrap()
    })
    .await;
    let printer = service.add_printer().await;
    let _agent = TestAgent::start(&service, &printer, origin.address()).await;
    let app = service.app_connection(&printer.id).await;

    let request = Request::put("/path?query=1")
        .header("host", &app.host)
        .header("authorization", app.bearer_header())
        .body(Full::new(Bytes::from_static(b"hello")))
        .unwrap();
    let exchange = Client::new(service.address()).exchange(request).await;
    assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (201, "hello"));
    assert_eq!(exchange.header("x-kept"), "1");
    let seen = origin.last_seen();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", "/path?query=1"));
    assert_eq!(seen.headers["host"], app.host.as_str());
    assert_eq!(seen.headers["x-real-ip"], "127.0.0.1");
    assert!(!seen.headers.contains_key("authorization"));
}

#[tokio::test]
async fn websocket_messages_pass_both_ways() {
    let service = TestService::start().await;
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = echo.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = echo.accept().await {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_close() || socket.send(message).await.is_err() {
                    break;
                }
            }
        }
    });
    let printer = service.add_printer().await;
    let _agent = TestAgent::start(&service, &printer, address).await;
    let shared = service.shared_connection(&printer.id, None).await;

    let mut socket = websocket(service.address(), &shared.host, "/ws", &[]).await.unwrap();
    for size in [0, 1, 125, 126, 70_000, 3_000_000] {
        let sent = Message::binary(vec![7u8; size]);
        socket.send(sent.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), sent);
    }
    socket.send(Message::Ping(Bytes::from_static(b"are you there"))).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"are you there")));
}
