//! A Centauri Carbon as far as the agent asks, and as its firmware should not be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};

const BOARD: &str = "608715130105041800009c0000000000";

/// How it says that it has no room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    Handshake,
    Text,
    Close,
}

/// What it has to say.
pub(crate) struct Machine {
    /// The first of `CurrentStatus`.
    pub(crate) current: i64,
    /// `PrintInfo.Status`.
    pub(crate) print: i64,
    pub(crate) light: bool,
    pub(crate) refusal: Option<Refusal>,
    /// `Ack` of answers to these commands, in place of 0.
    pub(crate) acks: HashMap<u64, i64>,
    /// Commands that are never answered.
    pub(crate) deaf_to: Vec<u64>,
    /// Where it says that its camera is.
    pub(crate) video_url: Value,
    pub(crate) capabilities: Value,
}

#[derive(Clone)]
enum Send {
    Text(String),
    /// The beginning of a frame, and then the connection breaks off.
    HalfAFrame,
    /// These many bytes of text.
    Huge(usize),
}

struct Shared {
    machine: Machine,
    told: Vec<(u64, Value)>,
    spelling: Vec<Value>,
    clients: usize,
    most_clients: usize,
}

pub(crate) struct FakeCentauri {
    pub(crate) url: String,
    shared: Arc<Mutex<Shared>>,
    send: broadcast::Sender<Send>,
}

impl FakeCentauri {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("elegoo-cc1://{}", listener.local_addr().unwrap());
        let machine = Machine {
            current: 0,
            print: 0,
            light: false,
            refusal: None,
            acks: HashMap::new(),
            deaf_to: vec![],
            video_url: Value::Null,
            capabilities: json!(["FILE_TRANSFER", "PRINT_CONTROL", "VIDEO_STREAM"]),
        };
        let shared = Shared { machine, told: vec![], spelling: vec![], clients: 0, most_clients: 0 };
        let shared = Arc::new(Mutex::new(shared));
        let (send, _) = broadcast::channel(64);
        let (serving, sending) = (Arc::clone(&shared), send.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving), sending.subscribe()));
            }
        });
        Self { url, shared, send }
    }

    /// Changes it, and has it say so to everybody.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Machine)) {
        let mut shared = self.shared.lock().unwrap();
        change(&mut shared.machine);
        let _ = self.send.send(Send::Text(shared.machine.status()));
    }

    /// Has it say anything at all.
    pub(crate) fn say(&self, text: impl ToString) {
        let _ = self.send.send(Send::Text(text.to_string()));
    }

    pub(crate) fn break_off(&self) {
        let _ = self.send.send(Send::HalfAFrame);
    }

    pub(crate) fn say_much(&self, bytes: usize) {
        let _ = self.send.send(Send::Huge(bytes));
    }

    /// What it was told since the last time, besides questions.
    pub(crate) fn take_told(&self) -> Vec<(u64, Value)> {
        let told = std::mem::take(&mut self.shared.lock().unwrap().told);
        told.into_iter().filter(|(command, _)| !matches!(command, 0 | 1 | 260)).collect()
    }

    /// Requests, whole, as they were sent since the last time.
    pub(crate) fn take_requests(&self) -> Vec<Value> {
        std::mem::take(&mut self.shared.lock().unwrap().spelling)
    }

    /// How many clients there are, and how many there were at the most.
    pub(crate) fn clients(&self) -> (usize, usize) {
        let shared = self.shared.lock().unwrap();
        (shared.clients, shared.most_clients)
    }
}

impl Machine {
    fn status(&self) -> String {
        let status = json!({
            "CurrentStatus": [self.current], "TimeLapseStatus": 0, "PlatFormType": 0,
            "TempOfHotbed": 59.931, "TempOfNozzle": 215.339, "TempOfBox": 31.5,
            "TempTargetHotbed": 60, "TempTargetNozzle": 215, "TempTargetBox": 0,
            "CurrenCoord": "202.00,264.50,24.59", "CurrentFanSpeed": {"ModelFan": 0},
            "LightStatus": {"SecondLight": i32::from(self.light), "RgbLight": [0, 0, 0]},
            "PrintInfo": {"Status": self.print, "CurrentLayer": 3, "TotalLayer": 120, "CurrentTicks": 65,
                "TotalTicks": 3600, "Filename": "/local/Benchy.gcode", "TaskId": "task-1", "PrintSpeedPct": 100,
                "Progress": 12},
            "FieldOfTheNextFirmware": {"deep": [[[]]]},
        });
        json!({"Status": status, "MainboardID": BOARD, "TimeStamp": 1, "Topic": format!("sdcp/status/{BOARD}")})
            .to_string()
    }

    /// Carries a command out; what is said to it.
    fn answer(&mut self, command: u64, data: &Value, id: &str) -> Vec<String> {
        if self.deaf_to.contains(&command) {
            return vec![];
        }
        let mut ack = json!({"Ack": self.acks.get(&command).copied().unwrap_or(0)});
        let mut more = vec![];
        match command {
            _ if ack["Ack"] != 0 => {}
            0 => more.push(self.status()),
            1 => {
                let attributes = json!({"Name": "Centauri Carbon", "FirmwareVersion": "V1.1.29", "MainboardID": BOARD,
                    "Capabilities": self.capabilities});
                more.push(json!({"Attributes": attributes, "Topic": format!("sdcp/attributes/{BOARD}")}).to_string());
            }
            129 => self.print = 6,
            130 => self.print = 14,
            131 => self.print = 13,
            258 => ack["FileList"] = json!([{"name": "/local/Benchy.gcode", "type": 1}]),
            260 => ack["FileInfo"] = json!({"EstTime": 3600, "EstWeight": 12.25}),
            386 => ack["VideoUrl"] = self.video_url.clone(),
            403 => self.light = data["LightStatus"]["SecondLight"].as_bool().unwrap(),
            _ => {}
        }
        if matches!(command, 129..=131 | 403) {
            more.push(self.status());
        }
        let answer = json!({"Id": "x", "Data": {"Cmd": command, "Data": ack, "RequestID": id, "MainboardID": BOARD,
            "TimeStamp": 1}, "Topic": format!("sdcp/response/{BOARD}")});
        more.insert(0, answer.to_string());
        more
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Mutex<Shared>>, mut send: broadcast::Receiver<Send>) {
    let refusal = shared.lock().unwrap().machine.refusal;
    if refusal == Some(Refusal::Handshake) {
        let mut head = [0; 2000];
        let _ = stream.read(&mut head).await;
        let answer = "HTTP/1.1 500 X\r\nContent-Length: 17\r\n\r\nToo many client!\n";
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
    let Ok(mut socket) = accept_async(stream).await else { return };
    match refusal {
        Some(Refusal::Text) => {
            let _ = socket.send(Message::text("too many client")).await;
            return;
        }
        Some(Refusal::Close) => {
            let frame = CloseFrame { code: 1013.into(), reason: "too many clients".into() };
            let _ = socket.close(Some(frame)).await;
            let _ = socket.next().await;
            return;
        }
        _ => {}
    }
    {
        let mut shared = shared.lock().unwrap();
        shared.clients += 1;
        shared.most_clients = shared.most_clients.max(shared.clients);
    }
    talk(&mut socket, &shared, &mut send).await;
    shared.lock().unwrap().clients -= 1;
}

async fn talk(
    socket: &mut WebSocketStream<TcpStream>,
    shared: &Mutex<Shared>,
    send: &mut broadcast::Receiver<Send>,
) -> Option<()> {
    loop {
        tokio::select! {
            message = socket.next() => {
                let Message::Text(text) = message?.ok()? else { continue };
                if text.as_str() == "ping" {
                    socket.send(Message::text("pong")).await.ok()?;
                    continue;
                }
                let request: Value = serde_json::from_str(text.as_str()).unwrap();
                let (command, data) = (request["Data"]["Cmd"].as_u64().unwrap(), request["Data"]["Data"].clone());
                let id = request["Data"]["RequestId"].as_str().unwrap().to_owned();
                let answers = {
                    let mut shared = shared.lock().unwrap();
                    shared.told.push((command, data.clone()));
                    shared.spelling.push(request);
                    shared.machine.answer(command, &data, &id)
                };
                for answer in answers {
                    socket.send(Message::text(answer)).await.ok()?;
                }
            }
            send = send.recv() => match send.ok()? {
                Send::Text(text) => socket.send(Message::text(text)).await.ok()?,
                Send::Huge(bytes) => socket.send(Message::text("x".repeat(bytes))).await.ok()?,
                Send::HalfAFrame => {
                    // A text frame of 100 bytes, of which ten come.
                    socket.get_mut().write_all(b"\x81\x64{\"Topic\": ").await.ok()?;
                    return None;
                }
            },
        }
    }
}
