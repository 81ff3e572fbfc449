//! Elegoo Centauri Carbon: what is made of its state, and the exact messages that it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::printing::{Phase, PrinterCommand};
use printers::command_api::CommandApiOptions;
use printers::observe::ObserverOptions;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::client::{LONG, eventually};
use crate::command_api::Api;
use crate::fake_elegoo_cc1::{FakeCentauri, Refusal};
use crate::fake_software::{Reply, http_server};
use crate::observe::Watch;

fn api(printer: &FakeCentauri) -> Api {
    let watch = Watch::start("elegoo-cc1", &printer.url, ObserverOptions::default());
    Api::with(watch, CommandApiOptions::default())
}

pub(crate) async fn idle() -> (FakeCentauri, Api) {
    let printer = FakeCentauri::start().await;
    let api = api(&printer);
    api.watch.until("idle", |state| state.phase == Phase::Idle).await;
    (printer, api)
}

async fn printing() -> (FakeCentauri, Api) {
    let (printer, api) = idle().await;
    printer.change(|machine| (machine.current, machine.print) = (1, 13));
    api.watch.until("printing", |state| state.phase == Phase::Printing).await;
    (printer, api)
}

#[tokio::test]
async fn a_print_is_followed() {
    let (printer, api) = printing().await;
    let state = api.watch.until("a file", |state| state.file.is_some()).await;
    assert_eq!((state.file.as_deref(), state.progress), (Some("Benchy"), Some(12.0)));
    assert_eq!((state.seconds_printing, state.seconds_left), (Some(65), Some(3535)));
    assert_eq!((state.layer, state.total_layers, state.light), (Some(3), Some(120), Some(false)));
    assert_eq!(state.commands, [PrinterCommand::Pause, PrinterCommand::Cancel, PrinterCommand::LightOn]);
    assert!(state.print_id.is_some());

    let weighs = async {
        loop {
            let status = api.result("status", json!({"IncludeMaterialSystem": true})).await;
            if status["JobStatus"]["CurrentPrint"]["EstTotalFilWeightMg"] == 12250 {
                return status;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let status = timeout(LONG, weighs).await.unwrap();
    assert_eq!((&status["Features"], &status["PlatformVersion"]), (&json!(5), &json!("Elegoo-Centauri")));
    let job = &status["JobStatus"];
    assert_eq!((&job["State"], &job["Lights"]), (&json!("printing"), &json!([{"Name": "chamber", "On": false}])));
    let print = &job["CurrentPrint"];
    assert_eq!((&print["CurrentLayer"], &print["TotalLayers"]), (&json!(3), &json!(120)));
    assert_eq!((&print["Temps"]["ChamberActual"], &print["Temps"]["HotendTarget"]), (&json!(31.5), &json!(215.0)));
    assert_eq!(job["MaterialSystem"]["Tools"][0]["Id"], "tool-0");
    assert_eq!(status["ListWebcams"]["Webcams"].as_array().unwrap().len(), 1);

    printer.change(|machine| machine.print = 9);
    api.watch.until("complete", |state| state.phase == Phase::Complete).await;
    // Everything went through one connection, and requests are spelled as the printer wants them.
    assert_eq!(printer.clients(), (1, 1));
    for request in printer.take_requests() {
        let data = request["Data"].as_object().unwrap();
        let mut keys: Vec<_> = data.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["Cmd", "Data", "From", "MainboardId", "RequestId", "TimeStamp"]);
        assert_eq!(data["RequestId"].as_str().unwrap().len(), 32);
    }
}

#[tokio::test]
async fn every_command_has_its_message() {
    let (printer, api) = printing().await;
    let none: Vec<(u64, Value)> = vec![];
    for (command, body, phase, message) in [
        ("pause", json!({}), Phase::Paused, (129, json!({}))),
        ("resume", json!({}), Phase::Printing, (131, json!({}))),
        ("cancel", json!({}), Phase::Cancelled, (130, json!({}))),
        ("home", json!({}), Phase::Cancelled, (402, json!({"Axis": "XYZ"}))),
    ] {
        assert_eq!(api.result(command, &body).await, json!({}), "{command}");
        assert_eq!(printer.take_told(), [message], "{command}");
        api.watch.until(command, |state| state.phase == phase).await;
    }
    for on in [true, false] {
        assert_eq!(api.result("set-light", json!({"Name": "chamber", "On": on})).await, json!({}));
        let light = json!({"LightStatus": {"SecondLight": on, "RgbLight": [0, 0, 0]}});
        assert_eq!(printer.take_told(), [(403, light)]);
        api.watch.until("light", |state| state.light == Some(on)).await;
    }
    // The service's own switch means the only light.
    assert_eq!(api.watch.status_of("POST", "/command/light_on").await, 204);
    assert_eq!(printer.take_told().len(), 1);

    for (command, body, code) in [
        ("set-light", json!({"Name": "roof", "On": true}), 400),
        ("set-light", json!({"Name": "chamber", "On": "yes"}), 400),
        ("move-axis", json!({"Axis": "Q", "DistanceMm": 1}), 400),
        ("move-axis", json!({"Axis": "X", "DistanceMm": 1}), 788),
        ("extrude", json!({"Extruder": 0, "DistanceMm": 1}), 788),
        ("set-temp", json!({"BedC": 60}), 788),
        ("start", json!({"Path": "gcode/a.gcode"}), 788),
        ("files/list", json!({}), 788),
        ("files/details", json!({"path": "gcode/a.gcode"}), 788),
        ("files/delete", json!({"path": "gcode/a.gcode"}), 788),
        ("files/upload?path=gcode/a.gcode", json!("G28"), 788),
        // It is cancelled.
        ("pause", json!({}), 786),
        ("resume", json!({}), 786),
        ("cancel", json!({}), 786),
    ] {
        assert_eq!(api.code(command, &body).await, code, "{command} {body}");
        assert_eq!(printer.take_told(), none, "{command}");
    }
    let download = api.post("files/download", json!({"path": "gcode/a.gcode"})).await;
    assert_eq!((download.status, download.code()), (400, 788));
}

#[tokio::test]
async fn native_messages_come_and_go_in_both_forms() {
    let (printer, api) = idle().await;
    let send = |request: Value| json!({"TransportType": "websocket", "Request": request, "TimeoutSec": 1});
    for request in [
        json!({"Cmd": 258, "Data": {"Url": "/local"}}),
        json!({"Method": 258, "Params": {"Url": "/local"}}),
        json!({"Data": {"Cmd": 258, "Data": {"Url": "/local"}}}),
    ] {
        let result = api.result("send-command", send(request.clone())).await;
        assert_eq!(
            (&result["IsError"], &result["ResponseReceived"], &result["Request"]),
            (&json!(false), &json!(true), &request)
        );
        let data = &result["Response"]["Data"];
        assert_eq!((&data["Cmd"], &data["Data"]["FileList"][0]["type"]), (&json!(258), &json!(1)));
        assert_eq!(printer.take_told(), [(258, json!({"Url": "/local"}))]);
    }
    printer.change(|machine| {
        machine.acks.insert(128, 2);
        machine.deaf_to.push(320);
    });
    let refused = api.result("send-command", send(json!({"Cmd": 128, "Data": {"Filename": "x"}}))).await;
    assert_eq!((&refused["IsError"], &refused["Response"]["Data"]["Data"]["Ack"]), (&json!(true), &json!(2)));
    // Nobody waits, and nobody answers.
    let mut unanswered = send(json!({"Cmd": 320}));
    assert_eq!(api.code("send-command", &unanswered).await, 752);
    unanswered["WaitForResponse"] = json!(false);
    let result = api.result("send-command", &unanswered).await;
    assert_eq!((&result["ResponseReceived"], &result["Response"]), (&json!(false), &Value::Null));
    for (body, code) in [
        (send(json!({})), 400),
        (send(json!({"Cmd": "258"})), 400),
        (send(json!({"Cmd": 258, "Data": [1]})), 400),
        (json!({"TransportType": "http", "Path": "/", "Request": {}}), 788),
        (json!({"TransportType": "mqtt", "Request": {"Cmd": 1}}), 788),
    ] {
        assert_eq!(api.code("send-command", &body).await, code, "{body}");
    }
}

#[tokio::test]
async fn refusals_and_silence_are_failures() {
    let (printer, api) = printing().await;
    printer.change(|machine| {
        for command in [129, 130, 402, 403] {
            machine.acks.insert(command, 1);
        }
    });
    for (command, body) in [
        ("pause", json!({})),
        ("cancel", json!({})),
        ("home", json!({})),
        ("set-light", json!({"Name": "chamber", "On": true})),
    ] {
        assert_eq!(api.code(command, &body).await, 752, "{command}");
    }
    // An answer to somebody else is none to us.
    printer.change(|machine| machine.deaf_to.push(403));
    let stranger = json!({"Topic": "sdcp/response/x", "Data": {"RequestID": "0".repeat(32), "Data": {"Ack": 0}}});
    let (code, ()) = tokio::join!(api.code("set-light", json!({"Name": "chamber", "On": true})), async {
        let is_asked = || async { printer.take_told().iter().any(|(command, _)| *command == 403) };
        eventually("the order to arrive", is_asked).await;
        printer.say(&stranger);
    });
    assert_eq!(code, 752);
}

#[tokio::test]
async fn a_printer_without_room_says_so_in_several_ways() {
    for refusal in [Refusal::Handshake, Refusal::Text, Refusal::Close] {
        let printer = FakeCentauri::start().await;
        printer.change(|machine| machine.refusal = Some(refusal));
        let api = api(&printer);
        let state = api.watch.until("a problem", |state| {
            state.problem.as_ref().is_some_and(|problem| problem.contains("as many clients as it can"))
        });
        state.await;
        for command in ["status", "pause", "resume", "cancel", "home"] {
            assert_eq!(api.code(command, "").await, 787, "{command} {refusal:?}");
        }
        assert_eq!(api.code("send-command", json!({"TransportType": "websocket", "Request": {"Cmd": 0}})).await, 787);
    }
}

#[tokio::test]
async fn a_printer_that_is_off_is_not_connected_and_comes_back() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("elegoo-cc1://{}", listener.local_addr().unwrap());
    drop(listener);
    let watch = Watch::start("elegoo-cc1", &url, ObserverOptions::default());
    let off = Api::with(watch, CommandApiOptions::default());
    off.watch.until("a problem", |state| state.problem.is_some()).await;
    for command in ["status", "pause", "home"] {
        assert_eq!(off.code(command, "").await, 785, "{command}");
    }

    let (printer, api) = printing().await;
    printer.break_off();
    api.watch.until("lost", |state| state.problem.is_some()).await;
    api.watch.until("found again", |state| state.phase == Phase::Printing).await;
    assert_eq!(printer.clients().1, 1);
}

#[tokio::test]
async fn nonsense_does_not_hurt_and_what_is_huge_is_cut_off() {
    let (printer, api) = printing().await;
    for nonsense in [
        "pong".to_owned(),
        "{\"Topic\":".to_owned(),
        "[]".to_owned(),
        r#"{"Topic":"sdcp/status/x","Status":{"PrintInfo":{"Status":"thirteen"},"CurrentStatus":{}}}"#.to_owned(),
        r#"{"Topic":"sdcp/attributes/x","Attributes":{"Capabilities":"all"}}"#.to_owned(),
        r#"{"Topic":"sdcp/response/x","Data":{"RequestID":[],"Data":{"Ack":"x"}}}"#.to_owned(),
        "[".repeat(100_000),
    ] {
        printer.say(nonsense);
    }
    printer.change(|machine| machine.print = 6);
    api.watch.until("paused", |state| state.phase == Phase::Paused).await;
    assert_eq!(printer.clients(), (1, 1));

    // More than any answer has: this firmware is not listened to any longer, until it is asked again.
    printer.say_much(100 * 1024 * 1024);
    api.watch.until("lost", |state| state.problem.is_some()).await;
    api.watch.until("found again", |state| state.phase == Phase::Paused).await;
}

#[tokio::test]
async fn the_camera_is_switched_on_and_shared() {
    let open = Arc::new(AtomicUsize::new(0));
    let (opened, asked) = (Arc::clone(&open), Arc::new(AtomicUsize::new(0)));
    let asking = Arc::clone(&asked);
    let video = http_server(move |head, _| {
        assert_eq!(head.path, "/video");
        asking.fetch_add(1, Ordering::SeqCst);
        Reply::Moving(Arc::clone(&opened))
    });
    let video = video.await;
    let (printer, api) = idle().await;
    printer.change(|machine| machine.video_url = json!(format!("{video}/video")));
    let (first, second) =
        tokio::join!(api.watch.ask("GET", "/camera/0/stream", ""), api.watch.ask("GET", "/camera/0/stream", ""));
    assert_eq!((first.0.as_u16(), second.0.as_u16()), (200, 200));
    assert_eq!(api.watch.status_of("GET", "/camera/0/snapshot").await, 200);
    assert_eq!(printer.take_told(), [(386, json!({"Enable": 1}))]);
    assert_eq!((asked.load(Ordering::SeqCst), open.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_camera_that_falls_asleep_is_switched_on_again() {
    let asked = AtomicUsize::new(0);
    let video = http_server(move |_, _| {
        let number = asked.fetch_add(1, Ordering::SeqCst) as u32 + 1;
        let picture = [b"\xff\xd8\xff\xe1", &number.to_be_bytes()[..], b"\xff\xd9"].concat();
        // One picture, and then nothing more.
        Reply::Stream([b"--odd one\r\n\r\n", &picture[..], b"\r\n"].concat())
    });
    let video = video.await;
    let (printer, api) = idle().await;
    printer.change(|machine| machine.video_url = json!(format!("http://{video}/video")));
    // The beginning of a stream is the first picture twice, so this goes on until the second has come.
    let (_, _, body) = api.watch.ask("GET", "/camera/0/stream", "").await;
    assert!(body.windows(4).any(|bytes| bytes == [0, 0, 0, 1]));
    let again = async {
        let mut told = printer.take_told();
        while told.len() < 2 {
            sleep(Duration::from_millis(50)).await;
            api.watch.ask("GET", "/camera/0/stream", "").await;
            told.extend(printer.take_told());
        }
        told
    };
    let told = timeout(LONG, again).await.unwrap();
    assert!(told.iter().all(|message| *message == (386, json!({"Enable": 1}))), "{told:?}");
}

#[tokio::test]
async fn a_lying_firmware_does_not_lead_the_agent_elsewhere() {
    let (printer, api) = idle().await;
    printer.change(|machine| machine.video_url = json!("http://169.254.169.254/latest/meta-data"));
    // It is looked for at the printer's own address, where nothing is.
    assert_eq!(api.watch.status_of("GET", "/camera/0/snapshot").await, 502);
    printer.change(|machine| machine.capabilities = json!(["PRINT_CONTROL"]));
    printer.say(json!({"Topic": "sdcp/attributes/x", "Attributes": {"Capabilities": ["PRINT_CONTROL"]}}));
    api.watch.until("no camera", |state| state.cameras.is_empty()).await;
}
