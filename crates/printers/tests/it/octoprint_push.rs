//! OctoPrint tells by itself what changes, and is asked where it does not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use model::Secret;
use model::printing::Phase;
use printers::observe::ObserverOptions;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::client::LONG;
use crate::command_api::Api;
use crate::fake_software::{Reply, read_request, reply};
use crate::observe::Watch;

/// An OctoPrint at rest, whose WebSocket says what it is told to.
struct FakePush {
    url: String,
    push: broadcast::Sender<Message>,
    said: Arc<Mutex<Vec<Value>>>,
    n_looks: Arc<AtomicUsize>,
    gives_sessions: Arc<AtomicBool>,
}

impl FakePush {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            push: broadcast::channel(16).0,
            said: Arc::default(),
            n_looks: Arc::default(),
            gives_sessions: Arc::new(AtomicBool::new(true)),
        };
        let (push, said) = (this.push.clone(), Arc::clone(&this.said));
        let (n_looks, gives_sessions) = (Arc::clone(&this.n_looks), Arc::clone(&this.gives_sessions));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (push, said) = (push.subscribe(), Arc::clone(&said));
                let (n_looks, gives_sessions) = (Arc::clone(&n_looks), Arc::clone(&gives_sessions));
                tokio::spawn(async move { serve(stream, push, &said, &n_looks, &gives_sessions).await });
            }
        });
        this
    }

    fn send(&self, message: &Value) {
        self.push.send(Message::text(message.to_string())).unwrap();
    }

    fn n_looks(&self) -> usize {
        self.n_looks.load(Ordering::SeqCst)
    }

    async fn until_signed_in(&self) {
        let signed_in = async {
            while !self.said.lock().unwrap().contains(&json!({"auth": "_api:a session"})) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, signed_in).await.unwrap();
    }
}

async fn serve(
    mut stream: TcpStream,
    mut push: broadcast::Receiver<Message>,
    said: &Mutex<Vec<Value>>,
    n_looks: &AtomicUsize,
    gives_sessions: &AtomicBool,
) {
    let mut start = [0; 11];
    if stream.peek(&mut start).await.is_err() {
        return;
    }
    if &start == b"GET /sockjs" {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        loop {
            tokio::select! {
                message = socket.next() => {
                    let Some(Ok(message)) = message else { return };
                    let Message::Text(text) = message else { continue };
                    said.lock().unwrap().push(serde_json::from_str(&text).unwrap());
                }
                message = push.recv() => {
                    let Ok(message) = message else { return };
                    if socket.send(message).await.is_err() { return }
                }
            }
        }
    }
    let Some((head, body)) = read_request(&mut stream).await else { return };
    let has_key = head.has("x-api-key: goodkey\r\n");
    let answer = match (head.method.as_str(), head.path.as_str()) {
        _ if !has_key => Reply::Text(403, "{}".to_owned()),
        ("POST", "/api/login") if gives_sessions.load(Ordering::SeqCst) => {
            assert_eq!(body, r#"{"passive":true}"#);
            Reply::Text(200, r#"{"name":"_api","session":"a session","groups":[]}"#.to_owned())
        }
        ("GET", "/api/job") => {
            n_looks.fetch_add(1, Ordering::SeqCst);
            Reply::Text(200, r#"{"job":{},"progress":{},"state":"Operational"}"#.to_owned())
        }
        ("GET", "/api/printer?exclude=sd") => Reply::Text(
            200,
            r#"{"temperature":{"tool0":{"actual":21,"target":0}},"state":{"flags":{"operational":true,"ready":true}}}"#
                .to_owned(),
        ),
        _ => Reply::Text(404, "{}".to_owned()),
    };
    reply(&mut stream, answer).await;
}

fn watch(printer: &FakePush) -> Watch {
    let options = ObserverOptions { api_key: Some(Secret::new("goodkey")), ..ObserverOptions::default() };
    Watch::start("octoprint", &printer.url, options)
}

/// A state as OctoPrint pushes it.
fn state(flag: &str, completion: f64, temps: Value) -> Value {
    json!({
        "state": {"text": "Printing", "error": "", "flags": {"operational": true, flag: true}},
        "job": {"file": {"name": "cube.gcode", "display": "Würfel.gcode", "path": "cube.gcode", "origin": "local"},
            "filament": {"tool0": {"length": 812.7}}, "estimatedPrintTime": 100.0, "user": null},
        "progress": {"completion": completion, "printTime": 10, "printTimeLeft": 50, "filepos": 7},
        "temps": temps, "offsets": {}, "currentZ": 0.2, "serverTime": 1.5, "logs": ["x"], "busyFiles": [],
    })
}

#[tokio::test]
async fn what_is_pushed_is_shown_and_nothing_is_asked_meanwhile() {
    let printer = FakePush::start().await;
    let watch = watch(&printer);
    watch.until("idle", |state| state.phase == Phase::Idle).await;
    printer.until_signed_in().await;
    assert!(printer.said.lock().unwrap().iter().any(|said| said["subscribe"]["state"]["logs"] == false));

    printer.send(&json!({"connected": {"version": "1.11.8"}}));
    printer.send(&json!({"plugin": {"plugin": "x", "data": {}}}));
    let temps = json!([
        {"time": 1, "tool0": {"actual": 25.0, "target": 210.0}, "bed": {"actual": 20.0, "target": 60.0}},
        {"time": 2, "tool0": {"actual": 209.5, "target": 210.0}, "bed": {"actual": 59.5, "target": 60.0}},
    ]);
    printer.send(&json!({"history": state("printing", 42.0, temps)}));
    let shown = watch.until("printing", |state| state.phase == Phase::Printing).await;
    assert_eq!(
        (shown.file.as_deref(), shown.progress, shown.seconds_left),
        (Some("Würfel.gcode"), Some(42.0), Some(50))
    );
    let names: Vec<_> = shown.temperatures.iter().map(|heater| (heater.name.as_str(), heater.actual)).collect();
    assert_eq!(names, [("hotend", 209.5), ("bed", 59.5)]);

    let n_looks = printer.n_looks();
    let api = Api::with(watch, printers::command_api::CommandApiOptions::default());
    printer.send(&json!({"current": state("paused", 43.0, json!([]))}));
    let paused = api.status_until("paused").await;
    assert_eq!(paused["CurrentPrint"]["Temps"]["HotendActual"], 209.5, "it is as it was last told");
    printer.send(&json!({"current": {"state": {"text": "Offline", "flags": {"operational": false}}}}));
    api.status_until(785).await;
    assert_eq!(printer.n_looks(), n_looks);
}

#[tokio::test]
async fn where_nothing_is_pushed_it_is_asked() {
    let printer = FakePush::start().await;
    let watch = watch(&printer);
    printer.until_signed_in().await;
    printer.send(&json!({"history": state("printing", 42.0, json!([]))}));
    watch.until("printing", |state| state.phase == Phase::Printing).await;
    // Its server restarts, or it goes on about something else.
    printer.gives_sessions.store(false, Ordering::SeqCst);
    let before = printer.n_looks();
    for nonsense in ["", "[]", "\"a\"", "{\"current\": 7}", "{\"history\": {\"state\": []}}", "o", "a[\"{}\"]"] {
        printer.push.send(Message::text(nonsense)).unwrap();
    }
    printer.push.send(Message::Close(None)).unwrap();
    watch.until("what the look shows", |state| state.phase == Phase::Idle).await;
    assert!(printer.n_looks() > before);
}
