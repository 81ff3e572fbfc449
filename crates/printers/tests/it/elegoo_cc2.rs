//! The Centauri Carbon 2, against a simulator of its broker.

use std::time::Duration;

use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use model::Secret;
use model::link::PrinterStatus;
use model::printing::Phase;
use mqtt_protocol_core::mqtt::result_code::ConnectReturnCode;
use printers::forward::{Forwarder, VisitorAddress};
use printers::observe::ObserverOptions;
use serde_json::{Value, json};
use tokio::time::timeout;
use tunnel::agent_side::{Answer, PrinterHandler};
use tunnel::body::RecvBody;

use crate::client::LONG;
use crate::command_api::Api;
use crate::fake_cc2::{FakeCc2, printing};
use crate::observe::tls;

async fn connected() -> (FakeCc2, Api) {
    let printer = FakeCc2::start().await;
    let api = printer.api();
    api.watch.until("printing", |state| state.phase == Phase::Printing).await;
    (printer, api)
}

#[tokio::test]
async fn is_registered_with_and_followed() {
    let (printer, api) = connected().await;
    assert_eq!(printer.broker.log()[0], "CONNECT elegoo");
    printer.push(&json!({"print_status": {"current_layer": 4, "progress": 50}, "extruder": {"temperature": 209.96}}));
    let state = api.watch.until("the push", |state| state.layer == Some(4)).await;
    assert_eq!(
        (state.progress, state.total_layers, state.file.as_deref()),
        (Some(50.0), Some(100), Some("cube.gcode"))
    );
    let status = api.result("status", json!({"IncludeMaterialSystem": true})).await;
    let job = &status["JobStatus"];
    assert_eq!((&job["State"], &job["CurrentPrint"]["CurrentLayer"]), (&json!("printing"), &json!(4)));
    assert_eq!(job["CurrentPrint"]["Temps"]["ChamberActual"], 33.0);
    assert_eq!(job["CurrentPrint"]["EstTotalFilWeightMg"], 0);
    assert_eq!(job["Lights"], json!([{"Name": "chamber", "On": true}]));
    assert_eq!(job["MaterialSystem"]["Tools"][0]["ActualCelsius"], 209.96);
    assert_eq!((&status["Features"], &status["PlatformVersion"]), (&json!(23), &json!("Centauri Carbon 2-1.0.3")));
    assert_eq!(status["ListWebcams"]["Webcams"][0]["Name"], "Camera");
    printer.push(&json!({"machine_status": {"exception_status": [1203]}}));
    let state = api.watch.until("an error", |state| state.phase == Phase::Error).await;
    assert_eq!(state.message.as_deref(), Some("The printer reports 1203"));
}

#[tokio::test]
async fn commands_are_its_methods() {
    let (printer, api) = connected().await;
    for (command, arguments, method, params) in [
        ("pause", json!({}), 1021, json!({})),
        ("cancel", json!({}), 1022, json!({})),
        ("home", json!({}), 1026, json!({"homed_axes": "xyz"})),
        ("move-axis", json!({"Axis": "X", "DistanceMm": -5.5}), 1027, json!({"axes": "x", "distance": -5.5})),
        ("set-temp", json!({"BedC": 60, "ToolC": 0}), 1028, json!({"heater_bed": 60.0, "extruder": 0.0})),
        ("set-temp", json!({"ToolC": 210, "ToolNumber": 0}), 1028, json!({"extruder": 210.0})),
        ("set-light", json!({"Name": "chamber", "On": true}), 1029, json!({"brightness": 255, "power": 1})),
        ("set-light", json!({"Name": "chamber", "On": false}), 1029, json!({"brightness": 0, "power": 0})),
    ] {
        assert_eq!(api.result(command, &arguments).await, json!({}), "{command}");
        assert_eq!(printer.called(method), Some(params), "{command}");
    }
    printer.push(&json!({"machine_status": {"sub_status": 2501}}));
    api.watch.until("paused", |state| state.phase == Phase::Paused).await;
    assert_eq!(api.code("pause", "").await, 786);
    assert_eq!(api.code("resume", "").await, 200);
    assert_eq!(printer.called(1023), Some(json!({})));
    printer.push(&json!({"machine_status": {"status": 1, "sub_status": 0}}));
    api.watch.until("idle", |state| state.phase == Phase::Idle).await;
    for command in ["pause", "resume", "cancel"] {
        assert_eq!(api.code(command, "").await, 786, "{command}");
    }
}

#[tokio::test]
async fn what_it_cannot_do_it_says() {
    let (printer, api) = connected().await;
    for (command, arguments, code) in [
        ("set-temp", json!({"ChamberC": 40}), 788),
        ("set-temp", json!({"ToolC": 200, "ToolNumber": 1}), 400),
        ("set-light", json!({"Name": "nozzle", "On": true}), 400),
        ("extrude", json!({"Extruder": 0, "DistanceMm": 5}), 788),
        ("start", json!({"Path": "gcode/cube.gcode"}), 788),
        ("files/list", json!({}), 788),
        ("send-command", json!({"TransportType": "http", "Request": {}, "Path": "/"}), 788),
        ("send-command", json!({"TransportType": "mqtt", "Request": {"Method": "x"}}), 400),
        ("send-command", json!({"TransportType": "mqtt", "Request": {"Method": 1, "Params": 7}}), 400),
    ] {
        assert_eq!(api.code(command, &arguments).await, code, "{command} {arguments}");
    }
    *printer.behaviour.error_code.lock().unwrap() = 109;
    assert_eq!(api.code("home", "").await, 752);
    let native = json!({"TransportType": "mqtt", "Request": {"Method": 1044, "Params": {"path": "/"}}});
    let answer = api.result("send-command", &native).await;
    assert_eq!((&answer["IsError"], &answer["ResponseReceived"]), (&json!(true), &json!(true)));
    assert_eq!(answer["Response"]["Payload"]["result"]["error_code"], 109);
    assert_eq!(printer.called(1044), Some(json!({"path": "/"})));
    *printer.behaviour.is_silent.lock().unwrap() = true;
    let waits = json!({"TransportType": "mqtt", "Request": {"Method": 1044}, "TimeoutSec": 1});
    assert_eq!(api.code("send-command", &waits).await, 752);
    let told = json!({"TransportType": "mqtt", "Request": {"Method": 1045}, "WaitForResponse": false});
    assert_eq!(api.result("send-command", &told).await["Response"], Value::Null);
    printer.until_called(1045).await;
    assert_eq!(printer.called(1045), Some(json!({})));
}

#[tokio::test]
async fn refusals_have_their_codes() {
    for (registration, code) in [("error: too many clients", 787), ("auth failed", 789), ("whatever", 785)] {
        let printer = FakeCc2::start().await;
        *printer.behaviour.registration.lock().unwrap() = Some(registration.to_owned());
        let api = printer.api();
        let asked = async {
            while api.code("status", "").await != code {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(LONG, asked).await.is_ok(), "{registration}");
    }
    let printer = FakeCc2::start().await;
    let wrong = ObserverOptions { access_code: Some(Secret::new("nonsense")), ..ObserverOptions::default() };
    let api = printer.api_with(wrong);
    let state =
        api.watch.until("a problem", |state| state.problem.as_ref().is_some_and(|text| text.contains("code"))).await;
    assert!(!state.problem.unwrap_or_default().contains("nonsense"));
    assert_eq!(api.code("status", "").await, 789);
    assert_eq!(api.code("pause", "").await, 789);
    let full = FakeCc2::start().await;
    full.broker.refuse(Some(ConnectReturnCode::ServerUnavailable));
    let api = full.api();
    api.watch.until("full", |state| state.problem.as_ref().is_some_and(|text| text.contains("another"))).await;
    assert_eq!(api.code("status", "").await, 787);
    full.broker.refuse(None);
    api.watch.until("room", |state| state.phase == Phase::Printing).await;
}

#[tokio::test]
async fn it_comes_back_after_whatever_it_does() {
    let (printer, api) = connected().await;
    let faults: [&dyn Fn(); 3] = [
        &|| printer.broker.hang_up(),
        // The beginning of a message that never ends, and then the end of the connection.
        &|| {
            printer.broker.babble(&[0x30, 0x80, 0x01, 0x00]);
            printer.broker.hang_up();
        },
        // A packet of 256 MB.
        &|| printer.broker.babble(&[0x30, 0xff, 0xff, 0xff, 0x7f]),
    ];
    for (index, fault) in faults.iter().enumerate() {
        fault();
        printer.broker.until_times("CONNECT", index + 2).await;
        api.watch.until("printing again", |state| state.phase == Phase::Printing).await;
    }
    for nonsense in ["", "{", "[]", "null", "\u{0}", r#"{"method":6000}"#, r#"{"method":6000,"result":[1]}"#] {
        let topic = format!("elegoo/{}/api_status", crate::fake_cc2::SERIAL);
        printer.broker.publish(&topic, nonsense.as_bytes(), mqtt_protocol_core::mqtt::packet::Qos::AtMostOnce);
    }
    printer.push(&json!({"print_status": {"current_layer": 77}}));
    api.watch.until("the next push", |state| state.layer == Some(77)).await;
}

#[tokio::test]
async fn a_printer_that_is_not_there_is_told_to_be_so() {
    let printer = FakeCc2::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = ObserverOptions { serial: Some("x".to_owned()), ..ObserverOptions::default() };
    let watch = crate::observe::Watch::start("elegoo-cc2", &format!("elegoo-cc2://{free}"), options);
    let state = watch
        .until("a problem", |state| state.problem.as_ref().is_some_and(|text| text.contains("nothing listens")))
        .await;
    assert_eq!(state.phase, Phase::Unknown);
    // Its first state is not made up of what it pushes before it was asked.
    *printer.behaviour.status.lock().unwrap() = json!({"error_code": 7});
    let api = printer.api();
    printer.broker.until_times("SUBSCRIBE", 3).await;
    printer.push(&json!({"machine_status": {"status": 1}}));
    assert_eq!(api.code("status", "").await, 785);
    assert_eq!(printing()["machine_status"]["status"], 2);
}

#[tokio::test]
async fn its_own_connection_tells_whether_it_answers() {
    let printer = FakeCc2::start().await;
    let api = printer.api();
    let (publish, mut status) = tokio::sync::watch::channel(PrinterStatus::default());
    let observer = api.watch.observer.clone();
    let telling = tokio::spawn(async move { observer.tell_status("elegoo-cc2", &publish).await });
    let status_is = async |status: &mut tokio::sync::watch::Receiver<PrinterStatus>, reachable: bool| {
        let found =
            timeout(LONG, status.wait_for(|status| status.reachable == reachable && !status.software.is_empty()));
        found.await.unwrap().unwrap().clone()
    };
    let up = status_is(&mut status, true).await;
    assert_eq!((up.software.as_str(), up.problem.as_str()), ("elegoo-cc2", ""));
    printer.broker.refuse(Some(ConnectReturnCode::UnacceptableProtocolVersion));
    printer.broker.hang_up();
    assert!(status_is(&mut status, false).await.problem.contains("broke off"));
    assert_eq!(printer.broker.n_connections(), 1);
    drop(status);
    printer.broker.refuse(None);
    api.watch.until("back", |state| state.phase == Phase::Printing).await;
    assert!(timeout(LONG, telling).await.is_ok(), "it goes on though nobody listens");
}

#[tokio::test]
async fn a_printer_without_a_web_interface_says_so() {
    let forwarder = Forwarder::new(&"bambu://127.0.0.1".parse().unwrap(), &tls(), VisitorAddress::Forward).unwrap();
    for is_websocket in [false, true] {
        let mut request = Request::new(RecvBody::empty());
        if is_websocket {
            request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        }
        let Answer::Response(response) = forwarder.call(request).await else { panic!("it is no WebSocket") };
        assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (404, &HTML));
        let page = response.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&page).contains("has no web interface"));
    }
}

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
