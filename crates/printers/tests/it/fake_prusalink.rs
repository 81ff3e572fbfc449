//! PrusaLink as far as the agent asks: with keys, with users, and with answers that no printer should give.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::fake_software::{Head, Reply, http_server};

pub(crate) const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\nprinter";
pub(crate) const USER: &str = "maker";
pub(crate) const PASSWORD: &str = "good password";

/// Whom it lets in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lock {
    /// Who shows this key.
    Key(&'static str),
    /// [`USER`], by the challenge of the firmware: without `qop`, as before RFC 2617.
    Firmware,
    /// [`USER`], by that of the program for the Raspberry Pi; with each of these algorithms.
    Users(&'static [&'static str]),
}

/// What it has to say.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) printer: &'static str,
    /// The job's state; `None` is 204.
    pub(crate) job: Option<&'static str>,
    pub(crate) has_camera: bool,
    /// The status of answers to orders.
    pub(crate) orders: u16,
    /// In place of every answer below a path.
    pub(crate) instead: Option<(&'static str, Reply)>,
}

struct Shared {
    lock: Lock,
    machine: Machine,
    told: Vec<String>,
    /// How many requests one nonce is good for.
    uses: u32,
    nonce: u32,
    last_count: u32,
    challenges: u32,
}

pub(crate) struct FakePrusaLink {
    pub(crate) url: String,
    shared: Arc<Mutex<Shared>>,
}

impl FakePrusaLink {
    pub(crate) async fn start(lock: Lock) -> Self {
        let machine = Machine { printer: "IDLE", job: None, has_camera: true, orders: 204, instead: None };
        let shared = Shared { lock, machine, told: vec![], uses: u32::MAX, nonce: 1, last_count: 0, challenges: 0 };
        let shared = Arc::new(Mutex::new(shared));
        let serving = Arc::clone(&shared);
        let address = http_server(move |head, body| serving.lock().unwrap().answer(head, body)).await;
        Self { url: format!("http://{address}"), shared }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Machine)) {
        change(&mut self.shared.lock().unwrap().machine);
    }

    pub(crate) fn limit_nonces(&self, uses: u32) {
        self.shared.lock().unwrap().uses = uses;
    }

    /// The orders that it was given since the last time.
    pub(crate) fn take_told(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().told)
    }

    pub(crate) fn challenges(&self) -> u32 {
        self.shared.lock().unwrap().challenges
    }
}

impl Shared {
    fn answer(&mut self, head: &Head, body: &str) -> Reply {
        if head.path == "/server/info" {
            return Reply::Text(404, "<html>".to_owned());
        }
        if let Err(refusal) = self.admit(head) {
            return refusal;
        }
        let machine = &self.machine;
        if let Some((path, reply)) = &machine.instead
            && head.path.starts_with(path)
        {
            return reply.clone();
        }
        let ok = |value: Value| Reply::Text(200, value.to_string());
        match (head.method.as_str(), head.path.as_str()) {
            ("GET", "/api/version") => {
                ok(json!({"api": "2.0.0", "server": "2.1.2", "text": "PrusaLink 0.8.1", "capabilities": {"x": true}}))
            }
            ("GET", "/api/v1/info") => {
                ok(json!({"name": "MK4", "hostname": "mk4", "active_camera": machine.has_camera}))
            }
            ("GET", "/api/v1/status") => {
                let mut status = json!({"storage": {"name": "usb"}, "new": [1], "printer": {"state": machine.printer,
                    "temp_nozzle": 214.96, "target_nozzle": 215.0, "temp_bed": 60, "target_bed": 60.5, "axis_z": 1.2,
                    "status_printer": {"ok": false, "message": "Crash detected"}}});
                if machine.job.is_some() {
                    status["job"] = json!({"id": 297, "progress": 42.0, "time_printing": 60, "time_remaining": 300});
                }
                ok(status)
            }
            ("GET", "/api/v1/job") => match machine.job {
                None => Reply::Raw(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec()),
                Some(state) => ok(json!({"id": 297, "state": state, "progress": 42.0, "file": {"display_name":
                    "Benchy.bgcode", "name": "BENCHY~1.BGC", "size": 5, "meta": {"filament used [mm]": 4123.4,
                    "filament used [g]": 12.25, "other": {}}}})),
            },
            ("GET", "/api/v1/cameras/snap") => Reply::Picture(PICTURE.to_vec()),
            (method, path) if path.starts_with("/api/v1/job/") || path.starts_with("/api/v1/files/") => {
                self.told.push(format!("{method} {path}{body}"));
                if path.contains("missing") {
                    return Reply::Text(404, String::new());
                }
                Reply::Text(machine.orders, String::new())
            }
            _ => Reply::Text(404, r#"{"message":"404: Not Found"}"#.to_owned()),
        }
    }

    /// Whether the caller is let in; else how to become so.
    fn admit(&mut self, head: &Head) -> Result<(), Reply> {
        let algorithms = match self.lock {
            Lock::Key(key) if head.has(&format!("x-api-key: {key}\r\n")) => return Ok(()),
            Lock::Key(_) => return Err(challenge(&["ApiKey realm=\"Printer API\"".to_owned()])),
            Lock::Firmware => &["MD5"][..],
            Lock::Users(algorithms) => algorithms,
        };
        let shown = parameters(&head.text);
        let has_nonce = shown.get("nonce") == Some(&format!("n{}", self.nonce));
        let mut is_stale = false;
        if has_nonce && self.is_right(head, &shown) {
            self.uses -= 1;
            if self.uses > 0 {
                return Ok(());
            }
            is_stale = true;
        }
        if !has_nonce || is_stale {
            (self.nonce, self.last_count) = (self.nonce + 1, 0);
            self.uses = if is_stale { 3 } else { self.uses };
        }
        self.challenges += 1;
        let nonce = self.nonce;
        let texts: Vec<String> = match self.lock {
            Lock::Firmware => vec![format!("Digest realm=\"Printer API\", nonce=\"n{nonce}\", stale={is_stale}")],
            _ => algorithms
                .iter()
                .map(|algorithm| {
                    format!(
                        "Digest realm=\"Administrator\", qop=\"auth\", nonce=\"n{nonce}\", opaque=\"o\", \
                         algorithm={algorithm}, stale={is_stale}"
                    )
                })
                .collect(),
        };
        Err(challenge(&texts))
    }

    fn is_right(&mut self, head: &Head, shown: &HashMap<String, String>) -> bool {
        let of = |name: &str| shown.get(name).map_or("", String::as_str);
        let algorithm = shown.get("algorithm").map_or("MD5", String::as_str);
        let hash = |text: String| match algorithm {
            "SHA-256" => hex(&Sha256::digest(text)),
            _ => hex(&Md5::digest(text)),
        };
        let user = hash(format!("{USER}:{}:{PASSWORD}", of("realm")));
        let request = hash(format!("{}:{}", head.method, head.path));
        let is_named = of("username") == USER && of("uri") == head.path;
        if self.lock == Lock::Firmware {
            return is_named && of("response") == hash(format!("{user}:{}:{request}", of("nonce")));
        }
        let count = u32::from_str_radix(of("nc"), 16).unwrap_or(0);
        let expected = hash(format!("{user}:{}:{}:{}:{}:{request}", of("nonce"), of("nc"), of("cnonce"), of("qop")));
        // Somebody who has listened sends the same count again.
        let is_right = is_named && of("response") == expected && of("opaque") == "o" && count > self.last_count;
        if is_right {
            self.last_count = count;
        }
        is_right
    }
}

fn challenge(texts: &[String]) -> Reply {
    let headers: String = texts.iter().map(|text| format!("WWW-Authenticate: {text}\r\n")).collect();
    let body = "401: Unauthorized";
    let head = format!("HTTP/1.1 401 X\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    Reply::Raw((head + body).into_bytes())
}

/// What stands in `Authorization: Digest`.
fn parameters(head: &str) -> HashMap<String, String> {
    let line = head.split("\r\n").find_map(|line| line.strip_prefix("authorization: Digest "));
    let pairs = line.unwrap_or_default().split(", ").filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
