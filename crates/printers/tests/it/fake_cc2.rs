//! A Centauri Carbon 2: what it says over its broker.

use std::sync::{Arc, Mutex};

use printers::command_api::CommandApiOptions;
use printers::observe::ObserverOptions;
use serde_json::{Value, json};

use crate::command_api::Api;
use crate::fake_broker::FakeBroker;
use crate::observe::Watch;

pub(crate) const SERIAL: &str = "CC2SERIAL";

/// How it behaves.
pub(crate) struct Behaviour {
    /// What it says to a registration; nothing if `None`.
    pub(crate) registration: Mutex<Option<String>>,
    /// The code in its answers to orders.
    pub(crate) error_code: Mutex<i64>,
    /// Whether it answers orders at all.
    pub(crate) is_silent: Mutex<bool>,
    pub(crate) status: Mutex<Value>,
}

pub(crate) struct FakeCc2 {
    pub(crate) broker: FakeBroker,
    pub(crate) behaviour: Arc<Behaviour>,
}

pub(crate) fn printing() -> Value {
    json!({
        "error_code": 0,
        "machine_status": {"status": 2, "sub_status": 0, "exception_status": [], "progress": 40, "future": {"x": []}},
        "print_status": {"filename": "cube.gcode", "uuid": "u", "current_layer": 3, "total_layer": 100,
            "print_duration": 60, "total_duration": 90, "remaining_time_sec": 120, "progress": 41},
        "extruder": {"temperature": 210, "target": 210}, "heater_bed": {"temperature": 60, "target": 60},
        "chamber": {"temperature": 33}, "led": {"status": 1}, "unknown": {"deep": {"er": 1}},
    })
}

impl FakeCc2 {
    pub(crate) async fn start() -> Self {
        let behaviour = Arc::new(Behaviour {
            registration: Mutex::new(Some("ok".to_owned())),
            error_code: Mutex::default(),
            is_silent: Mutex::default(),
            status: Mutex::new(printing()),
        });
        let own = Arc::clone(&behaviour);
        let respond = move |topic: &str, payload: &[u8]| own.respond(topic, payload);
        Self { broker: FakeBroker::start(Some("123456"), respond).await, behaviour }
    }

    /// Its last print is over, as it tells whoever asks from here on.
    pub(crate) fn rest(&self) {
        self.behaviour.status.lock().unwrap()["machine_status"] = json!({"status": 1, "sub_status": 0});
    }

    pub(crate) fn api(&self) -> Api {
        self.api_with(ObserverOptions::default())
    }

    pub(crate) fn api_with(&self, options: ObserverOptions) -> Api {
        let url = format!("elegoo-cc2://{}", self.broker.address);
        let options = ObserverOptions { serial: Some(SERIAL.to_owned()), ..options };
        Api::with(Watch::start("elegoo-cc2", &url, options), CommandApiOptions::default())
    }

    /// Pushes a change.
    pub(crate) fn push(&self, result: &Value) {
        let push = json!({"id": 0, "method": 6000, "result": result});
        self.broker.publish(
            &format!("elegoo/{SERIAL}/api_status"),
            push.to_string().as_bytes(),
            mqtt_protocol_core::mqtt::packet::Qos::AtMostOnce,
        );
    }

    /// The parameters with which a method was called last.
    pub(crate) fn called(&self, method: u64) -> Option<Value> {
        last_call(&self.broker.log(), method)
    }

    pub(crate) async fn until_called(&self, method: u64) {
        self.broker.until_log(&method.to_string(), |log| last_call(log, method).is_some()).await;
    }
}

fn last_call(log: &[String], method: u64) -> Option<Value> {
    let calls = log.iter().rev().filter(|line| line.contains("/api_request "));
    let mut calls = calls.filter_map(|line| serde_json::from_str::<Value>(&line[line.find('{')?..]).ok());
    calls.find(|call| call["method"] == method).map(|call| call["params"].clone())
}

impl Behaviour {
    fn respond(&self, topic: &str, payload: &[u8]) -> Vec<(String, Vec<u8>)> {
        let Ok(message) = serde_json::from_slice::<Value>(payload) else { return vec![] };
        let say = |topic: String, value: Value| vec![(topic, value.to_string().into_bytes())];
        if topic == format!("elegoo/{SERIAL}/api_register") {
            let Some(error) = self.registration.lock().unwrap().clone() else { return vec![] };
            let client = message["client_id"].as_str().unwrap();
            let answer = json!({"client_id": client, "error": error, "since": "2026"});
            return say(
                format!("elegoo/{SERIAL}/{}/register_response", message["request_id"].as_str().unwrap()),
                answer,
            );
        }
        let Some(own) = topic.strip_suffix("/api_request") else { return vec![] };
        let response = format!("{own}/api_response");
        if message["type"] == "PING" {
            return say(response, json!({"type": "PONG"}));
        }
        let result = match message["method"].as_u64() {
            Some(1001) => json!({"error_code": 0, "machine_model": "Centauri Carbon 2", "firmware_version": "1.0.3"}),
            Some(1002) => self.status.lock().unwrap().clone(),
            _ if *self.is_silent.lock().unwrap() => return vec![],
            _ => json!({"error_code": *self.error_code.lock().unwrap()}),
        };
        say(response, json!({"id": message["id"], "method": message["method"], "result": result}))
    }
}
