use std::time::Duration;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use printers::virtual_printer::{PrintSpeed, VirtualPrinter, VirtualPrinterOptions};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{LONG, get, open, send};

#[tokio::test]
async fn a_websocket_follows_a_print() {
    let printer = VirtualPrinter::start(options()).await.unwrap();
    let mut socket = connect(&printer).await;
    assert_eq!(next_state(&mut socket).await["state"], "idle");

    send(printer.address(), Request::put("/api/files/a.gcode"), "G28\n".repeat(1500)).await;
    assert_eq!(next_state(&mut socket).await["storage"]["files"], 1);
    send(printer.address(), Request::post("/api/job"), r#"{"command":"start","file":"a.gcode"}"#).await;
    let begun = Instant::now();
    let mut states = vec![];
    loop {
        let state = next_state(&mut socket).await;
        let phase = state["state"].as_str().unwrap().to_owned();
        states.push(state);
        if phase == "finished" {
            break;
        }
    }
    // A print of a second and a half, looked at four times a second. Lower bounds would depend on the machine.
    let limit = begun.elapsed().as_millis() / 250 + 2;
    assert!(states.len() > 1 && (states.len() as u128) <= limit, "{} states, limit {limit}", states.len());
    let progress: Vec<f64> = states.iter().map(|state| state["job"]["progress"].as_f64().unwrap()).collect();
    assert!(progress.is_sorted(), "{progress:?}");
    assert!(states.windows(2).all(|pair| pair[0] != pair[1]), "only changes are pushed");
}

#[tokio::test]
async fn pings_and_closes_are_answered() {
    let printer = VirtualPrinter::start(options()).await.unwrap();
    let mut socket = connect(&printer).await;
    next_state(&mut socket).await;
    socket.send(Message::Ping("anybody there".into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(Message::Pong("anybody there".into())));
    // Whatever else is said is heard and left alone.
    socket.send(Message::Text("hello".into())).await.unwrap();
    socket.send(Message::Binary(vec![0; 60_000].into())).await.unwrap();
    let reason = CloseFrame { code: CloseCode::Normal, reason: "enough".into() };
    socket.close(Some(reason.clone())).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(Message::Close(Some(reason))));
    assert_eq!(next(&mut socket).await, None);
}

#[tokio::test]
async fn a_client_that_says_too_much_is_cut() {
    let printer = VirtualPrinter::start(options()).await.unwrap();
    let mut socket = connect(&printer).await;
    next_state(&mut socket).await;
    socket.send(Message::Binary(vec![0; 1_000_000].into())).await.ok();
    let ended = timeout(LONG, async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                return;
            }
        }
    });
    ended.await.unwrap();
    assert_eq!(get(printer.address(), "/api/printer").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_handshake_is_told_so() {
    let printer = VirtualPrinter::start(options()).await.unwrap();
    let plain = get(printer.address(), "/websocket").await;
    assert_eq!((plain.status, plain.header("sec-websocket-version")), (StatusCode::UPGRADE_REQUIRED, "13"));
    let old = Request::get("/websocket")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "8");
    assert_eq!(send(printer.address(), old, "").await.status, StatusCode::UPGRADE_REQUIRED);
}

#[tokio::test]
async fn server_sent_events_follow_as_well() {
    let printer = VirtualPrinter::start(options()).await.unwrap();
    let mut response = open(printer.address(), Request::get("/events"), "").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut seen = BytesMut::new();
    let mut uploaded = false;
    while !String::from_utf8_lossy(&seen).contains("\"files\":1") {
        let frame = timeout(LONG, response.frame()).await.unwrap().unwrap().unwrap();
        seen.extend_from_slice(&frame.into_data().unwrap());
        if !uploaded {
            uploaded = true;
            send(printer.address(), Request::put("/api/files/a.gcode"), "G28\n").await;
        }
    }
    let text = String::from_utf8(seen.to_vec()).unwrap();
    let events: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    assert_eq!(events[0]["storage"]["files"], 0);
    assert_eq!(events.len(), 2);
}

fn options() -> VirtualPrinterOptions {
    VirtualPrinterOptions { speed: PrintSpeed::LinesPerSecond(1000), ..Default::default() }
}

async fn connect(printer: &VirtualPrinter) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(printer.address()).await.unwrap();
    let url = format!("ws://{}/websocket", printer.address());
    tokio_tungstenite::client_async(url, stream).await.unwrap().0
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<Message> {
    match timeout(LONG, socket.next()).await.unwrap() {
        Some(Ok(message)) => Some(message),
        None | Some(Err(Error::ConnectionClosed)) => None,
        Some(Err(error)) => panic!("{error}"),
    }
}

async fn next_state(socket: &mut WebSocketStream<TcpStream>) -> Value {
    let deadline = Duration::from_secs(10);
    let message = timeout(deadline, next(socket)).await.unwrap().unwrap();
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}
