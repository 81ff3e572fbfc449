//! Its broker, which hangs up on whomever it does not know.

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::connection::role::Server;
use mqtt_protocol_core::mqtt::packet::Packet;
use mqtt_protocol_core::mqtt::packet::v3_1_1::{Connack, Publish, Suback};
use mqtt_protocol_core::mqtt::prelude::GenericPacketTrait;
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, SubackReturnCode};
use mqtt_protocol_core::mqtt::{Connection, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{CODE, Order, SERIAL, Shared};

pub(super) async fn serve(shared: Shared, mut stream: TlsStream<TcpStream>) -> Option<()> {
    let mut orders = shared.orders.subscribe();
    let mut connection = Connection::<Server>::new(Version::V3_1_1);
    connection.set_auto_ping_response(true);
    let mut chunk = vec![0; 64 * 1024];
    let mut is_subscribed = false;
    loop {
        let mut out = Vec::new();
        let mut send = |events: Vec<Event>| {
            for event in events {
                if let Event::RequestSendPacket { packet, .. } = event {
                    out.extend(packet.to_continuous_buffer());
                }
            }
        };
        tokio::select! {
            read = stream.read(&mut chunk) => {
                let length = read.ok().filter(|length| *length > 0)?;
                let mut cursor = Cursor::new(&chunk[..length]);
                while cursor.position() < length as u64 {
                    for event in connection.recv(&mut cursor) {
                        match event {
                            Event::NotifyPacketReceived(packet) => {
                                let answer = answer(&shared, &packet, &mut is_subscribed)?;
                                if let Some(answer) = answer {
                                    send(connection.send(answer));
                                }
                            }
                            event => send(vec![event]),
                        }
                    }
                }
            }
            order = orders.recv() => match order.ok()? {
                Order::Report(payload) if is_subscribed => {
                    let publish = Publish::builder().topic_name(format!("device/{SERIAL}/report")).unwrap();
                    send(connection.send(publish.payload(&payload[..]).build().unwrap().into()));
                }
                Order::Report(_) => {}
                Order::Raw(bytes) => out.extend(bytes),
                Order::HangUp => return None,
            },
        }
        stream.write_all(&out).await.ok()?;
        stream.flush().await.ok()?;
    }
}

/// Nothing at all means to hang up.
fn answer(shared: &Shared, packet: &Packet, is_subscribed: &mut bool) -> Option<Option<Packet>> {
    match packet {
        Packet::V3_1_1Connect(connect) => {
            let is_known = connect.user_name() == Some("bblp") && connect.password() == Some(CODE.as_bytes());
            let connack = Connack::builder().session_present(false).return_code(ConnectReturnCode::Accepted);
            is_known.then(|| Some(connack.build().unwrap().into()))
        }
        Packet::V3_1_1Subscribe(subscribe) => {
            let is_own =
                subscribe.entries().iter().all(|entry| entry.topic_filter() == format!("device/{SERIAL}/report"));
            *is_subscribed = is_own;
            let suback = Suback::builder().packet_id(subscribe.packet_id());
            let suback = suback.return_codes(vec![SubackReturnCode::SuccessMaximumQos0]).build().unwrap();
            is_own.then(|| Some(suback.into()))
        }
        Packet::V3_1_1Publish(publish) => {
            assert_eq!(publish.topic_name(), format!("device/{SERIAL}/request"));
            obey(shared, &serde_json::from_slice(publish.payload().as_slice()).unwrap());
            Some(None)
        }
        _ => Some(None),
    }
}

fn obey(shared: &Shared, message: &Value) {
    let say = |message: Value| drop(shared.orders.send(Order::Report(message.to_string().into_bytes())));
    let (subject, order) = message.as_object().unwrap().iter().next().unwrap();
    let command = order["command"].as_str().unwrap_or_default();
    let (obeys, answer) = shared.printer(|printer| (printer.obeys, printer.answer));
    if matches!(command, "get_version" | "pushall") {
        shared.printer(|printer| *printer.asked.entry(command.to_owned()).or_default() += 1);
    } else {
        shared.printer(|printer| printer.told.push(message.clone()));
    }
    match command {
        "get_version" => {
            say(json!({"info": {"command": "get_version", "sequence_id": order["sequence_id"], "module": [
            {"name": "ota", "sw_ver": "01.07.00.00"}, {"name": "mc", "sn": SERIAL, "product_name": "Bambu Lab P1S"}]}}))
        }
        "pushall" => say(json!({"print": shared.printer(|printer| printer.state.clone())})),
        "pause" if obeys => shared.report(json!({"gcode_state": "PAUSE", "stg_cur": 16, "print_error": 0x0300_8001})),
        "resume" if obeys => shared.report(json!({"gcode_state": "RUNNING", "stg_cur": 0, "print_error": 0})),
        "stop" if obeys => shared.report(json!({"gcode_state": "FAILED", "stg_cur": 255, "print_error": 0x0300_400C})),
        "ledctrl" if obeys => {
            shared.report(json!({"lights_report": [{"node": "chamber_light", "mode": order["led_mode"]}]}));
        }
        "pause" | "resume" | "stop" | "ledctrl" => {}
        _ => {
            if let Some((result, reason)) = answer {
                let mut order = order.clone();
                order["result"] = json!(result);
                order["reason"] = json!(reason);
                say(json!({subject: order}));
            }
        }
    }
}
