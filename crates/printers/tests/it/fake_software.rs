//! OctoPrint and Moonraker as far as the observer asks, and servers that misbehave.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=\"odd one\"\r\n\r\n";

#[derive(Clone)]
pub(crate) enum Reply {
    Text(u16, String),
    Picture(Vec<u8>),
    /// These bytes and no more, whatever they are.
    Raw(Vec<u8>),
    /// A stream of so many pictures, and then silence.
    Stream(Vec<u8>),
    /// The same, and then the connection breaks off.
    BrokenStream(Vec<u8>),
    /// A stream of numbered pictures without end; counts the connections that are open.
    Moving(Arc<AtomicUsize>),
    Endless,
    Cut,
    Silent,
}

pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Head {
    pub(crate) fn has(&self, header: &str) -> bool {
        self.text.to_ascii_lowercase().contains(&header.to_ascii_lowercase())
    }
}

/// Serves one request a connection.
pub(crate) async fn http_server(answer: impl Fn(&Head, &str) -> Reply + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let Some((head, body)) = read_request(&mut stream).await else { return };
                reply(&mut stream, answer(&head, &body)).await;
            });
        }
    });
    address
}

pub(crate) async fn reply(stream: &mut TcpStream, reply: Reply) {
    match reply {
        Reply::Text(status, body) => {
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
        Reply::Picture(picture) => {
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", picture.len());
            let _ = stream.write_all(&[head.as_bytes(), &picture].concat()).await;
        }
        Reply::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Reply::Stream(bytes) => {
            let _ = stream.write_all(&[STREAM_HEAD, &bytes].concat()).await;
            std::future::pending::<()>().await;
        }
        Reply::BrokenStream(bytes) => {
            let _ = stream.write_all(&[STREAM_HEAD, &bytes].concat()).await;
        }
        Reply::Moving(open) => {
            open.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(STREAM_HEAD).await;
            for number in 0_u32.. {
                let part = [b"--odd one\r\n\r\n\xff\xd8\xff\xe1", &number.to_be_bytes()[..], b"\xff\xd9\r\n"].concat();
                if stream.write_all(&part).await.is_err() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            open.fetch_sub(1, Ordering::SeqCst);
        }
        Reply::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n\xff\xd8\xff").await;
            while stream.write_all(&[b' '; 10_000]).await.is_ok() {}
        }
        Reply::Cut => {}
        Reply::Silent => std::future::pending().await,
    }
}

pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(Head, String)> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(text).ok()?;
    let mut words = text.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let length = text.to_ascii_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some((Head { method, path, text }, String::from_utf8(body).ok()?))
}

pub(crate) struct FakeOctoPrint {
    pub(crate) url: String,
    flag: Arc<Mutex<&'static str>>,
    told: Arc<Mutex<Vec<String>>>,
}

impl FakeOctoPrint {
    pub(crate) async fn start(key: &'static str) -> Self {
        let flag = Arc::new(Mutex::new("ready"));
        let told = Arc::new(Mutex::new(Vec::new()));
        let (flags, tell) = (Arc::clone(&flag), Arc::clone(&told));
        let server = http_server(move |head, body| {
            if !head.has(&format!("x-api-key: {key}\r\n")) {
                return Reply::Text(403, r#"{"error":"You don't have the permission"}"#.to_owned());
            }
            let mut flag = flags.lock().unwrap();
            match (head.method.as_str(), head.path.as_str()) {
                ("GET", "/api/job") => Reply::Text(
                    200,
                    r#"{"job":{"file":{"name":"cube.gcode"}},"progress":{"completion":42.0,"printTime":10,
                        "printTimeLeft":20},"state":"X"}"#
                        .to_owned(),
                ),
                ("GET", "/api/printer?exclude=sd") => Reply::Text(
                    200,
                    format!(
                        r#"{{"temperature":{{"tool0":{{"actual":200.0,"target":200.0}}}},
                            "state":{{"text":"X","flags":{{"{flag}":true}}}}}}"#
                    ),
                ),
                ("GET", "/api/settings") => Reply::Text(
                    200,
                    r#"{"webcam":{"webcamEnabled":true,"streamUrl":"/webcam/?action=stream","snapshotUrl":""}}"#
                        .to_owned(),
                ),
                ("POST", "/api/job") if *flag == "ready" => Reply::Text(409, "{}".to_owned()),
                ("POST", "/api/job") => {
                    tell.lock().unwrap().push(body.to_owned());
                    *flag = "paused";
                    Reply::Text(204, String::new())
                }
                ("POST", "/api/plugin/appkeys") => {
                    tell.lock().unwrap().push(body.to_owned());
                    Reply::Text(200, r#"{"user_id":"me","app_id":"My App","api_key":"0123456789ABCDEF"}"#.to_owned())
                }
                _ => Reply::Text(404, String::new()),
            }
        });
        Self { url: format!("http://{}", server.await), flag, told }
    }

    pub(crate) fn set(&self, flag: &'static str) {
        *self.flag.lock().unwrap() = flag;
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

pub(crate) struct FakeMoonraker {
    pub(crate) url: String,
    push: broadcast::Sender<String>,
    told: Arc<Mutex<Vec<String>>>,
}

impl FakeMoonraker {
    pub(crate) async fn start(key: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (push, _) = broadcast::channel(64);
        let told = Arc::new(Mutex::new(Vec::new()));
        let (pushed, tell) = (push.clone(), Arc::clone(&told));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (pushed, tell) = (pushed.subscribe(), Arc::clone(&tell));
                tokio::spawn(async move { serve_moonraker(stream, key, pushed, tell).await });
            }
        });
        Self { url, push, told }
    }

    /// What it was told since the last time.
    pub(crate) fn take_told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    pub(crate) fn push(&self, message: &str) {
        self.push.send(message.to_owned()).unwrap();
    }
}

async fn serve_moonraker(
    mut stream: TcpStream,
    key: Option<&str>,
    mut pushed: broadcast::Receiver<String>,
    told: Arc<Mutex<Vec<String>>>,
) {
    // Its WebSocket is at one path; everything else is about files.
    let mut start = [0; 14];
    if stream.peek(&mut start).await.is_err() {
        return;
    }
    if &start != b"GET /websocket" {
        if let Some((head, body)) = read_request(&mut stream).await {
            let answer = answer_file(&head);
            if head.method != "GET" {
                told.lock().unwrap().push(format!(
                    "{} {}{}{body}",
                    head.method,
                    head.path,
                    if body.is_empty() { "" } else { " " }
                ));
            }
            reply(&mut stream, answer).await;
        }
        return;
    }
    let mut shown = None;
    #[expect(clippy::result_large_err, reason = "the library's callback has this type")]
    let look = |request: &http::Request<()>, response| {
        shown = request.headers().get("x-api-key").map(|value| value.to_str().unwrap().to_owned());
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, look).await else { return };
    loop {
        tokio::select! {
            message = socket.next() => {
                let Some(Ok(message)) = message else { return };
                let Message::Text(text) = message else { continue };
                let question: serde_json::Value = serde_json::from_str(&text).unwrap();
                let (id, method) = (&question["id"], question["method"].as_str().unwrap());
                let answer = if key.is_some() && shown.as_deref() != key {
                    r#""error":{"code":-32602,"message":"Unauthorized"}"#.to_owned()
                } else if method == "server.never" {
                    continue;
                } else if question["params"]["filename"] == "refused.gcode" {
                    told.lock().unwrap().push(format!("{method} {}", question["params"]));
                    r#""error":{"code":400,"message":"SD busy"}"#.to_owned()
                } else {
                    if is_order(method) {
                        told.lock().unwrap().push(format!("{method} {}", question["params"]));
                    }
                    format!(r#""result":{}"#, result(method))
                };
                let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#);
                if socket.send(Message::text(answer)).await.is_err() { return }
            }
            message = pushed.recv() => {
                let Ok(message) = message else { return };
                if socket.send(Message::text(message)).await.is_err() { return }
            }
        }
    }
}

fn answer_file(head: &Head) -> Reply {
    let ok = |text: &str| Reply::Text(200, text.to_owned());
    match (head.method.as_str(), head.path.as_str()) {
        ("GET", "/server/files/list?root=gcodes") => {
            ok(r#"{"result":[{"path":"f/a.gcode","size":5,"modified":1.5,"permissions":"rw"}]}"#)
        }
        ("GET", path) if path.starts_with("/server/files/list?root=") => ok(r#"{"result":[]}"#),
        ("GET", "/server/files/logs/klippy.log") => ok("a log\n"),
        ("POST", "/server/files/upload") => {
            Reply::Text(201, r#"{"item":{"path":"sub/x-2.cfg","root":"config"},"action":"create_file"}"#.to_owned())
        }
        ("DELETE", _) => ok(r#"{"result":{"item":{}}}"#),
        _ => Reply::Text(404, r#"{"error":{"code":404,"message":"Not Found"}}"#.to_owned()),
    }
}

/// Whether it changes anything.
fn is_order(method: &str) -> bool {
    method.starts_with("printer.print.") || method == "printer.gcode.script" || method.ends_with("post_device")
}

fn result(method: &str) -> &'static str {
    match method {
        "printer.objects.list" => {
            r#"{"objects":["gcode","print_stats","extruder","heater_bed","output_pin caselight"]}"#
        }
        "printer.objects.subscribe" => {
            r#"{"eventtime":1.0,"status":{"print_stats":{"state":"standby","filename":""},
                "extruder":{"temperature":21.0,"target":0.0},"output_pin caselight":{"value":0.0}}}"#
        }
        "server.webcams.list" => {
            r#"{"webcams":[{"name":"front","stream_url":"/webcam/?action=stream","snapshot_url":"","rotation":180,
                "flip_horizontal":true},{"name":"off","enabled":false,"stream_url":"/x"},
                {"name":"elsewhere","stream_url":"http://192.0.2.1/"},5]}"#
        }
        "server.files.metadata" => r#"{"layer_count":48,"estimated_time":120.0}"#,
        "server.info" => r#"{"moonraker_version":"v0.9.3-fake","klippy_state":"ready"}"#,
        "machine.device_power.devices" => {
            r#"{"devices":[{"device":"printer","status":"on"},{"device":"shelf light","status":"on"}]}"#
        }
        _ if is_order(method) => r#""ok""#,
        _ => "null",
    }
}
