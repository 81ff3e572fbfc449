//! MQTT through the agent: many clients, one connection to the printer.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use model::printing::Phase;
use mqtt_protocol_core::mqtt::connection::role::Client;
use mqtt_protocol_core::mqtt::packet::v3_1_1::{Connect, Disconnect, Subscribe, Unsubscribe};
use mqtt_protocol_core::mqtt::packet::{Packet, Qos, SubEntry, SubOpts};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, SubackReturnCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tunnel::agent_side::PrinterStream;

use crate::client::LONG;
use crate::command_api::Api;
use crate::fake_broker::Peer;
use crate::fake_cc2::FakeCc2;

struct Socket(WebSocketStream<Box<dyn PrinterStream>>);

impl Socket {
    async fn open(api: &Api) -> Self {
        let (head, stream) = api.open("app control").unwrap();
        assert_eq!(head.headers()["sec-websocket-protocol"], "mqtt");
        Self(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn json(&mut self) -> Value {
        let message = timeout(LONG, self.0.next()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// The code and reason with which it is closed.
    async fn closed(mut self) -> (u16, String) {
        loop {
            match timeout(LONG, self.0.next()).await.expect("it is never closed") {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

struct App {
    socket: Socket,
    peer: Peer<Client>,
}

impl App {
    async fn start(api: &Api) -> Self {
        Self { socket: Socket::open(api).await, peer: Peer::new() }
    }

    /// One that is connected.
    async fn connected(api: &Api, name: &str) -> Self {
        let mut app = Self::start(api).await;
        assert_eq!(app.connect(connect(name)).await, ConnectReturnCode::Accepted);
        app
    }

    async fn connect(&mut self, connect: Connect) -> ConnectReturnCode {
        self.peer.send(connect);
        let Packet::V3_1_1Connack(answer) = self.next().await else { panic!("no CONNACK") };
        answer.return_code()
    }

    async fn flush(&mut self) {
        let bytes = std::mem::take(&mut self.peer.out);
        if !bytes.is_empty() {
            self.socket.0.send(Message::binary(bytes)).await.unwrap();
        }
    }

    async fn next(&mut self) -> Packet {
        loop {
            self.flush().await;
            if let Some(packet) = self.peer.packets.pop_front() {
                return packet;
            }
            match timeout(LONG, self.socket.0.next()).await.expect("nothing comes") {
                Some(Ok(Message::Binary(bytes))) => self.peer.feed(&bytes),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn subscribe(&mut self, filter: &str, qos: Qos) -> SubackReturnCode {
        let entry = SubEntry::new(filter, SubOpts::new().set_qos(qos)).unwrap();
        let id = self.peer.packet_id();
        self.peer.send(Subscribe::builder().packet_id(id).entries(vec![entry]).build().unwrap());
        let Packet::V3_1_1Suback(answer) = self.next().await else { panic!("no SUBACK") };
        answer.return_codes()[0]
    }

    async fn unsubscribe(&mut self, filter: &str) {
        let id = self.peer.packet_id();
        self.peer.send(Unsubscribe::builder().packet_id(id).entries([filter]).unwrap().build().unwrap());
        assert!(matches!(self.next().await, Packet::V3_1_1Unsuback(_)));
    }

    /// The next message: topic, payload, QoS, and whether it was kept.
    async fn message(&mut self) -> (String, String, u8, bool) {
        loop {
            if let Packet::V3_1_1Publish(publish) = self.next().await {
                self.flush().await;
                let payload = String::from_utf8(publish.payload().as_slice().to_vec()).unwrap();
                return (publish.topic_name().to_owned(), payload, publish.qos() as u8, publish.retain());
            }
        }
    }
}

fn connect(name: &str) -> Connect {
    Connect::builder().client_id(name).unwrap().clean_session(true).keep_alive(30).build().unwrap()
}

async fn printer() -> (FakeCc2, Api) {
    let printer = FakeCc2::start().await;
    let api = printer.api();
    api.watch.until("printing", |state| state.phase == Phase::Printing).await;
    (printer, api)
}

#[tokio::test]
async fn all_clients_share_one_connection() {
    let (printer, api) = printer().await;
    let (mut one, mut two) = (App::connected(&api, "one").await, App::connected(&api, "two").await);
    assert_eq!(one.subscribe("t/+", Qos::AtMostOnce).await, SubackReturnCode::SuccessMaximumQos0);
    assert_eq!(two.subscribe("t/+", Qos::AtMostOnce).await, SubackReturnCode::SuccessMaximumQos0);
    one.peer.publish("t/a", b"hello", Qos::AtMostOnce, false);
    one.flush().await;
    let expected = ("t/a".to_owned(), "hello".to_owned(), 0, false);
    assert_eq!((one.message().await, two.message().await), (expected.clone(), expected));
    one.unsubscribe("t/+").await;
    two.peer.publish("t/b", b"more", Qos::AtMostOnce, false);
    assert_eq!(two.message().await.1, "more");
    let log = printer.broker.log();
    assert_eq!(log.iter().filter(|line| *line == "SUBSCRIBE t/+ 0").count(), 1, "{log:#?}");
    assert!(!log.iter().any(|line| line.starts_with("UNSUBSCRIBE t/")), "{log:#?}");
    drop(two);
    printer.broker.until("UNSUBSCRIBE t/+").await;
    assert_eq!(printer.broker.n_connections(), 1);
}

#[tokio::test]
async fn each_quality_of_service_is_kept() {
    let (printer, api) = printer().await;
    let mut app = App::connected(&api, "app").await;
    assert_eq!(app.subscribe("t/#", Qos::ExactlyOnce).await, SubackReturnCode::SuccessMaximumQos2);
    for (number, qos) in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].into_iter().enumerate() {
        app.peer.publish("t/q", format!("up {number}").as_bytes(), qos, false);
        let (_, payload, got, _) = app.message().await;
        assert_eq!((payload, usize::from(got)), (format!("up {number}"), number));
        printer.broker.until(&format!("PUBLISH t/q {number} up {number}")).await;
    }
    // Two hundred that have to be acknowledged, more than may be on their way at once.
    for number in 0..200 {
        printer.broker.publish("t/many", number.to_string().as_bytes(), Qos::AtLeastOnce);
    }
    for number in 0..200 {
        assert_eq!(app.message().await.1, number.to_string());
    }
    printer.broker.deny("secret/#");
    assert_eq!(app.subscribe("secret/#", Qos::AtMostOnce).await, SubackReturnCode::Failure);
    assert_eq!(app.subscribe("bad#", Qos::AtMostOnce).await, SubackReturnCode::Failure);
    let mut late = App::connected(&api, "late").await;
    assert_eq!(late.subscribe("t/#", Qos::AtMostOnce).await, SubackReturnCode::SuccessMaximumQos0);
    printer.broker.publish("t/both", b"x", Qos::AtLeastOnce);
    assert_eq!((app.message().await.2, late.message().await.2), (1, 0));
}

#[tokio::test]
async fn what_the_printer_keeps_is_for_late_ones_too() {
    let (printer, api) = printer().await;
    printer.broker.retain("kept/a", b"first");
    let mut early = App::connected(&api, "early").await;
    early.subscribe("kept/#", Qos::AtMostOnce).await;
    let kept = |payload: &str| ("kept/a".to_owned(), payload.to_owned(), 0, true);
    assert_eq!(early.message().await, kept("first"));
    let mut late = App::connected(&api, "late").await;
    late.subscribe("kept/#", Qos::AtMostOnce).await;
    assert_eq!(late.message().await, kept("first"));
    printer.broker.publish("kept/a", b"second", Qos::AtMostOnce);
    assert_eq!(late.message().await, ("kept/a".to_owned(), "second".to_owned(), 0, false));
    let mut last = App::connected(&api, "last").await;
    last.subscribe("kept/#", Qos::AtMostOnce).await;
    assert_eq!(last.message().await, kept("second"));
}

#[tokio::test]
async fn a_will_is_published_unless_the_client_says_goodbye() {
    let (printer, api) = printer().await;
    let with_will = |name: &str, payload: &'static str| {
        let connect = Connect::builder().client_id(name).unwrap().clean_session(true).keep_alive(30);
        connect
            .will_message("will/topic", payload.as_bytes().to_vec(), Qos::AtLeastOnce, false)
            .unwrap()
            .build()
            .unwrap()
    };
    let mut polite = App::start(&api).await;
    polite.connect(with_will("polite", "never")).await;
    polite.peer.send(Disconnect::builder().build().unwrap());
    polite.flush().await;
    assert_eq!(polite.socket.closed().await.0, 1000);
    let mut vanished = App::start(&api).await;
    vanished.connect(with_will("vanished", "gone")).await;
    drop(vanished);
    printer.broker.until("PUBLISH will/topic 1 gone").await;
    let mut older = App::start(&api).await;
    older.connect(with_will("app", "displaced")).await;
    let _younger = App::connected(&api, "app").await;
    let (code, reason) = older.socket.closed().await;
    assert!(code == 1008 && reason.contains("same name"), "{code} {reason}");
    printer.broker.until("PUBLISH will/topic 1 displaced").await;
    assert!(!printer.broker.log().iter().any(|line| line.contains("never")));
}

#[tokio::test]
async fn what_is_refused_is_said() {
    let (printer, api) = printer().await;
    // Levels 3 and 5.
    for hello in [
        &[0x10, 14, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2, 0, 30, 0, 0][..],
        &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 30, 0, 0, 0][..],
    ] {
        let mut socket = Socket::open(&api).await;
        socket.0.send(Message::binary(hello.to_vec())).await.unwrap();
        let answer = timeout(LONG, socket.0.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.into_data()[..], [0x20, 2, 0, 1]);
        assert_eq!(socket.closed().await.0, 1002);
    }
    let keeps = |name: &str| Connect::builder().client_id(name).unwrap().clean_session(false).build();
    let mut kept = App::start(&api).await;
    assert_eq!(kept.connect(keeps("app").unwrap()).await, ConnectReturnCode::ServerUnavailable);
    assert_eq!(kept.socket.closed().await.0, 1008);
    let mut nameless = Socket::open(&api).await;
    nameless.0.send(Message::binary(vec![0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 30, 0, 0])).await.unwrap();
    let answer = timeout(LONG, nameless.0.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_data()[..], [0x20, 2, 0, 2]);
    assert_eq!(nameless.closed().await.0, 1008);
    let mut silent = App::start(&api).await;
    let short = Connect::builder().client_id("short").unwrap().clean_session(true).keep_alive(1).build().unwrap();
    assert_eq!(silent.connect(short).await, ConnectReturnCode::Accepted);
    let (code, reason) = silent.socket.closed().await;
    assert!(code == 1008 && reason.contains("nothing was heard"), "{code} {reason}");
    // A packet of 1 MiB and one byte is refused by its length alone; one that fits passes.
    let mut large = App::connected(&api, "large").await;
    large.socket.0.send(Message::binary(vec![0x30, 0xfd, 0xff, 0x3f])).await.unwrap();
    assert_eq!(large.socket.closed().await.0, 1009);
    let mut fits = App::connected(&api, "fits").await;
    fits.peer.publish("t/large", &vec![b'x'; 1024 * 1024 - 100], Qos::AtLeastOnce, false);
    fits.flush().await;
    printer.broker.until("PUBLISH t/large").await;
    for (hello, code) in [("hello", 1002), ("{", 1008), (r#"{"Type":"dance","Topic":"a"}"#, 1008)] {
        let mut socket = Socket::open(&api).await;
        socket.say(hello).await;
        assert_eq!(socket.closed().await.0, code, "{hello}");
    }
    for mut rude in [App::connected(&api, "rude").await, App::start(&api).await] {
        // A second CONNECT, and a first packet that is none.
        rude.socket.0.send(Message::binary(vec![0x10, 2, 0xc0, 0])).await.unwrap();
        assert_eq!(rude.socket.closed().await.0, 1002);
    }
}

#[tokio::test]
async fn a_printer_that_is_lost_is_lost_to_all() {
    let (printer, api) = printer().await;
    let mut app = App::connected(&api, "app").await;
    app.subscribe("t", Qos::AtMostOnce).await;
    let mut old = Socket::open(&api).await;
    old.say(r#"{"Type":"subscribe","Topic":"t"}"#).await;
    assert_eq!(old.json().await["Type"], "subscribe_ack");
    printer.broker.refuse(Some(ConnectReturnCode::NotAuthorized));
    printer.broker.hang_up();
    for socket in [app.socket, old] {
        let (code, reason) = socket.closed().await;
        assert!(code == 4602 && reason.starts_with("printer_timeout: "), "{code} {reason}");
    }
    api.watch.until("rejected", |state| state.problem.as_ref().is_some_and(|text| text.contains("access code"))).await;
    let mut refused = App::start(&api).await;
    assert_eq!(refused.connect(connect("app")).await, ConnectReturnCode::ServerUnavailable);
    let (code, reason) = refused.socket.closed().await;
    assert!(code == 4612 && reason.contains("access code") && reason.len() <= 123, "{code} {reason}");
    let mut old = Socket::open(&api).await;
    old.say(r#"{"Type":"subscribe","Topic":"t"}"#).await;
    assert_eq!(old.closed().await.0, 4612);
}

#[tokio::test]
async fn the_json_protocol_is_for_older_apps() {
    let (printer, api) = printer().await;
    let mut app = Socket::open(&api).await;
    app.say(r#" {"Type":"subscribe","Topic":"t/#","Id":5}"#).await;
    let ack = app.json().await;
    assert_eq!((&ack["Type"], &ack["AckResult"], &ack["Id"]), (&json!("subscribe_ack"), &json!(0), &json!(5)));
    let done = app.json().await;
    assert_eq!((&done["Type"], &done["ReasonCodeList"]), (&json!("on_subscribe"), &json!([0])));
    let payload = STANDARD.encode("hello");
    app.say(&json!({"Type": "publish", "Topic": "t/a", "Payload": payload, "Id": 6}).to_string()).await;
    let (first, second) = (app.json().await, app.json().await);
    let (ack, message) = if first["Type"] == "publish_ack" { (first, second) } else { (second, first) };
    assert_eq!((&ack["AckResult"], &ack["Id"]), (&json!(0), &json!(6)));
    assert_eq!((&message["Type"], &message["Topic"]), (&json!("on_message"), &json!("t/a")));
    assert_eq!(message["Payload"], payload);
    app.say(r#"{"Type":"publish","Topic":"elsewhere","Payload":"","NoAck":true}"#).await;
    printer.broker.deny("secret");
    app.say(r#"{"Type":"subscribe","Topic":"secret","Id":7}"#).await;
    let ack = app.json().await;
    assert_eq!((&ack["Type"], &ack["AckResult"], &ack["Id"]), (&json!("subscribe_ack"), &json!(1), &json!(7)));
    assert_eq!(app.json().await["ReasonCodeList"], json!([128]));
    app.say(r#"{"Type":"unsubscribe","Topic":"t/#"}"#).await;
    assert_eq!(
        (app.json().await["AckResult"].clone(), app.json().await["Type"].clone()),
        (json!(0), json!("on_unsubscribe"))
    );
    printer.broker.until("UNSUBSCRIBE t/#").await;
}

#[tokio::test]
async fn it_is_for_few_and_for_those_who_may() {
    let (_printer, api) = printer().await;
    for (caller, code) in [("app", 403), ("shared control", 403), ("shared", 403), ("", 403)] {
        let refused = api.open(caller).err().unwrap();
        assert_eq!(refused.status().as_u16(), code, "{caller}");
    }
    let answer = api.send("GET", "proxy/mqtt", "app control", "").await;
    assert_eq!((answer.status, answer.code()), (200, 400));
    let mut all = Vec::new();
    for number in 0..25 {
        all.push(App::connected(&api, &format!("app {number}")).await);
    }
    assert_eq!(api.open("app control").err().unwrap().status().as_u16(), 400);
    all.pop();
    let room = async {
        while api.open("owner control full").is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(LONG, room).await.is_ok());
    let without = Api::start("octoprint", "http://127.0.0.1:9");
    let refused = without.open("app control").err().unwrap();
    assert_eq!(refused.status().as_u16(), 400);
}
