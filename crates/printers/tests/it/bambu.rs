//! Bambu Lab's printers: what the agent asks and tells them, and what it makes of what they say.

use std::time::Duration;

use model::Secret;
use model::printing::Phase;
use printers::command_api::CommandApiOptions;
use printers::observe::ObserverOptions;
use serde_json::{Value, json};

use crate::client::eventually;
use crate::command_api::Api;
use crate::fake_bambu::{CODE, FakeBambu, printing};
use crate::observe::Watch;

pub(crate) fn api(printer: &FakeBambu, options: ObserverOptions) -> Api {
    Api::with(Watch::start("bambu", &printer.url, options), CommandApiOptions::default())
}

pub(crate) async fn connected() -> (FakeBambu, Api) {
    let printer = FakeBambu::start().await;
    let api = api(&printer, printer.options());
    api.watch.until("idle", |state| state.phase == Phase::Idle).await;
    (printer, api)
}

#[tokio::test]
async fn status_is_told_in_the_words_of_the_interface() {
    let (printer, api) = connected().await;
    eventually("the version", || async { api.result("status", "").await["PlatformVersion"] == "01.07.00.00-P1S" })
        .await;
    let idle = api.result("status", "").await;
    assert_eq!(idle["Features"], 33);
    assert_eq!((&idle["JobStatus"]["State"], &idle["JobStatus"]["SubState"]), (&json!("idle"), &Value::Null));
    assert_eq!(idle["JobStatus"]["Lights"], json!([{"Name": "chamber", "On": false}]));
    assert_eq!(idle["JobStatus"]["CurrentPrint"]["FileName"], "");

    printer.report(json!({"gcode_state": "PREPARE", "subtask_name": "Benchy.3mf", "stg_cur": 2}));
    let warming = api.watch.until("warming up", |state| state.phase == Phase::WarmingUp).await;
    assert_eq!((warming.seconds_printing, warming.file.as_deref()), (Some(0), Some("Benchy")));
    printer.report(printing());
    let state = api.watch.until("printing", |state| state.phase == Phase::Printing).await;
    assert_eq!(state.print_id, warming.print_id);
    let job = api.result("status", r#"{"IncludeMaterialSystem":"1"}"#).await["JobStatus"].clone();
    let mut print = job["CurrentPrint"].clone();
    // They go on by themselves.
    let (took, left) = (print["DurationSec"].take(), print["TimeLeftSec"].take());
    assert!(took.as_u64().unwrap() < 20 && (5380..=5400).contains(&left.as_u64().unwrap()), "{took} {left}");
    let expected = json!({
        "Progress": 42.0, "DurationSec": null, "TimeLeftSec": null, "FileName": "Benchy", "EstTotalFilUsedMm": 0,
        "CurrentLayer": 17, "TotalLayers": 240,
        "Temps": {"BedActual": 24.0, "BedTarget": 0.0, "HotendActual": 25.0, "HotendTarget": 220.0},
    });
    assert_eq!((&job["State"], &print), (&json!("printing"), &expected));
    let external = json!({"Id": "bambu-external-spool", "Index": 0, "Name": "External spool", "PrintMappingValue": -1,
        "Material": {"Type": "PLA", "ColorHex": "FFFFFF"}});
    assert_eq!(job["MaterialSystem"]["Sources"], json!([external]));

    for (changes, state, sub_state, error) in [
        (json!({"stg_cur": 7}), "warmingup", json!("Heating the hot end"), Value::Null),
        (json!({"stg_cur": 0}), "printing", Value::Null, Value::Null),
        (
            json!({"gcode_state": "PAUSE", "stg_cur": 16, "print_error": 0x0300_8001}),
            "paused",
            json!("Paused by a person"),
            Value::Null,
        ),
        (
            json!({"print_error": 0x0700_8011, "stg_cur": 6}),
            "error",
            json!("Paused: out of filament"),
            json!("Filament Run Out"),
        ),
        (json!({"gcode_state": "FINISH", "print_error": 0, "stg_cur": 255}), "complete", Value::Null, Value::Null),
        (json!({"gcode_state": "FAILED", "print_error": 0x0300_400C}), "cancelled", Value::Null, Value::Null),
    ] {
        printer.report(changes.clone());
        eventually(state, || async {
            let told = api.result("status", "").await["JobStatus"].clone();
            told["State"] == state && told["SubState"] == sub_state && told["Error"] == error
        })
        .await;
    }
    assert_eq!((printer.asked("get_version"), printer.asked("pushall"), printer.take_told()), (1, 1, vec![]));
}

#[tokio::test]
async fn orders_are_given_word_for_word() {
    let (printer, api) = connected().await;
    let print = |command: &str| json!({"print": {"sequence_id": "0", "command": command}});
    let light = |mode: &str| {
        json!({"system": {"sequence_id": "0", "command": "ledctrl", "led_node": "chamber_light",
        "led_mode": mode, "led_on_time": 500, "led_off_time": 500, "loop_times": 0, "interval_time": 0}})
    };
    let running = json!({"gcode_state": "RUNNING", "print_error": 0, "total_layer_num": 5});
    let paused = json!({"gcode_state": "PAUSE", "print_error": 0});
    let fault = json!({"gcode_state": "PAUSE", "print_error": 0x0700_8011});
    let idle = json!({"gcode_state": "IDLE", "print_error": 0});
    for (state, phase, command, body, code, expected) in [
        (&idle, "idle", "pause", "{}", 786, None),
        (&idle, "idle", "resume", "{}", 786, None),
        (&idle, "idle", "cancel", "{}", 786, None),
        (&running, "printing", "resume", "{}", 786, None),
        (&running, "printing", "pause", "{}", 200, Some(print("pause"))),
        (&paused, "paused", "pause", "{}", 786, None),
        (&paused, "paused", "resume", "{}", 200, Some(print("resume"))),
        (&paused, "paused", "cancel", "{}", 200, Some(print("stop"))),
        (&running, "printing", "cancel", "{}", 200, Some(print("stop"))),
        // A fault that waits for somebody is no end.
        (&fault, "error", "resume", "{}", 200, Some(print("resume"))),
        (&fault, "error", "pause", "{}", 786, None),
        (&fault, "error", "cancel", "{}", 200, Some(print("stop"))),
        (&idle, "idle", "set-light", r#"{"Name":"chamber","On":true}"#, 200, Some(light("on"))),
        (&idle, "idle", "set-light", r#"{"Name":"chamber","On":false}"#, 200, Some(light("off"))),
        (&idle, "idle", "set-light", r#"{"Name":"Kitchen","On":false}"#, 400, None),
        (&idle, "idle", "set-light", r#"{"Name":"chamber","On":1}"#, 400, None),
        (&idle, "idle", "move-axis", r#"{"Axis":"X","DistanceMm":1}"#, 788, None),
        (&idle, "idle", "home", "", 788, None),
        (&idle, "idle", "extrude", r#"{"Extruder":0,"DistanceMm":1}"#, 788, None),
        (&idle, "idle", "set-temp", r#"{"BedC":60}"#, 788, None),
        (&idle, "idle", "start", r#"{"Path":"gcode"}"#, 400, None),
        (&idle, "idle", "start", r#"{"Path":"logs/a.3mf"}"#, 400, None),
        (&idle, "idle", "start", r#"{"Path":"gcode/a.3mf","Plate":0}"#, 400, None),
        (&running, "printing", "start", r#"{"Path":"gcode/a.3mf"}"#, 786, None),
        (&fault, "error", "start", r#"{"Path":"gcode/a.3mf"}"#, 786, None),
    ] {
        printer.report(state.clone());
        eventually(phase, || async { api.result("status", "").await["JobStatus"]["State"] == phase }).await;
        let answer = api.post(command, body).await.json();
        assert_eq!(answer["Status"], code, "{command} while {phase}: {answer}");
        if code == 200 {
            assert_eq!(answer["Result"], json!({}));
        }
        assert_eq!(printer.take_told(), expected.into_iter().collect::<Vec<_>>(), "{command} while {phase}");
    }
}

#[tokio::test]
async fn prints_are_started_with_all_extras() {
    let (printer, api) = connected().await;
    let body = json!({"Path": "gcode/f/a b.gcode.3mf", "Plate": 2, "UseAms": false, "AmsMapping": [0, 3], "Timelapse": "yes",
        "BedLeveling": true, "VibrationCali": "0", "LayerInspect": false});
    let result = api.result("start", &body).await;
    let order = json!({"sequence_id": "1000000000", "command": "project_file", "param": "Metadata/plate_2.gcode",
        "url": "ftp:///f/a%20b.gcode.3mf", "subtask_name": "a b", "use_ams": false, "flow_cali": true,
        "ams_mapping": [0, 3], "timelapse": true, "bed_levelling": true, "vibration_cali": false, "layer_inspect": false});
    let mut answer = order.clone();
    (answer["result"], answer["reason"]) = (json!("success"), json!(""));
    assert_eq!(
        result,
        json!({"VirtualPath": "gcode/f/a b.gcode.3mf", "PlatformPath": "/f/a b.gcode.3mf",
        "PrinterResponse": answer})
    );
    assert_eq!(printer.take_told(), [json!({"print": order})]);
    assert_eq!(api.code("start", json!({"file": "gcode/x.gcode", "Plate": "unread"})).await, 200);
    let order = json!({"sequence_id": "1000000001", "command": "gcode_file", "param": "x.gcode"});
    assert_eq!(printer.take_told(), [json!({"print": order})]);

    printer.change(|printer| printer.answer = Some(("failed", "mqtt message verify failed")));
    let answer = api.post("start", json!({"Path": "gcode/x.3mf"})).await.json();
    assert_eq!(answer["Status"], 752);
    assert!(answer["Error"].as_str().unwrap().contains("verify failed"), "{answer}");
}

#[tokio::test]
async fn firmware_that_does_not_obey_is_found_out() {
    let (printer, api) = connected().await;
    printer.report(printing());
    api.watch.until("printing", |state| state.phase == Phase::Printing).await;
    printer.change(|printer| printer.obeys = false);
    let (paused, lit) = tokio::join!(api.post("pause", "{}"), api.post("set-light", r#"{"Name":"chamber","On":true}"#));
    for answer in [paused.json(), lit.json()] {
        assert_eq!(answer["Status"], 752, "{answer}");
        assert!(answer["Error"].as_str().unwrap().contains("developer mode"), "{answer}");
    }
    // The same for what the service asks: it is told, and so is the visitor.
    assert_eq!(printer.take_told().len(), 2);
    // A connection that breaks is no disobedience.
    let (answer, ()) = tokio::join!(api.post("cancel", "{}"), async {
        eventually("told", || async { !printer.take_told().is_empty() }).await;
        printer.hang_up();
    });
    assert_eq!(answer.code(), 785, "{:?}", answer.body);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so() {
    let printer = FakeBambu::start().await;
    let options = |code: &str, serial: &str| ObserverOptions {
        access_code: Some(Secret::new(code)),
        serial: Some(serial.to_owned()),
        ..printer.options()
    };
    let nothing = ObserverOptions { access_code: None, ..printer.options() };
    for (options, expected) in [
        (options("wrong", "01P00A000000001"), "does not accept the access code"),
        (options(CODE, "01P00A000000002"), "does not accept the access code"),
        (options(CODE, "01P/+/#"), "set `access_code` and `serial`"),
        (nothing, "set `access_code` and `serial`"),
    ] {
        let api = api(&printer, options);
        let state = api
            .watch
            .until("a problem", |state| state.problem.as_ref().is_some_and(|problem| problem.contains(expected)))
            .await;
        assert!(!state.problem.unwrap().contains("wrong"), "the code is a secret");
        for command in ["status", "pause", "resume", "cancel"] {
            assert_eq!(api.code(command, "").await, 789, "{command}");
        }
    }
    assert_eq!(printer.take_told(), Vec::<Value>::new());
    // Nobody there.
    let gone = format!("bambu://127.0.0.1:{}", {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    });
    let api = Api::with(Watch::start("bambu", &gone, printer.options()), CommandApiOptions::default());
    api.watch
        .until("a problem", |state| state.problem.as_ref().is_some_and(|problem| problem.contains("nothing listens")))
        .await;
    for command in ["status", "pause", "start"] {
        assert_eq!(api.code(command, json!({"Path": "gcode/a.3mf"})).await, 785, "{command}");
    }
    let full = api.send("GET", "get-connection-info", "owner control full", "").await;
    assert!(!String::from_utf8_lossy(&full.body).contains(CODE), "the owner sees that there is a code, and not which");
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again_without_asking_for_all() {
    let (printer, api) = connected().await;
    printer.report(printing());
    let state = api.watch.until("printing", |state| state.phase == Phase::Printing).await;
    for round in 2..4 {
        printer.hang_up();
        api.watch.until("a problem", |state| state.problem.is_some()).await;
        assert_eq!(api.code("status", "").await, 785);
        printer.until_asked("get_version", round).await;
        printer.report(json!({"mc_percent": 42 + round}));
        let percent = 42.0 + round as f32;
        let again = api.watch.until("further", |state| state.progress == Some(percent)).await;
        assert_eq!((again.print_id, again.layer), (state.print_id.clone(), Some(17)), "what it knew before counts");
    }
    assert_eq!(printer.asked("pushall"), 1);
}

#[tokio::test]
async fn a_restarted_agent_goes_on_with_the_print() {
    let directory = tempfile::tempdir().unwrap();
    let printer = FakeBambu::start().await;
    let options = || ObserverOptions { memory: Some(directory.path().join("print.json")), ..printer.options() };
    let first = api(&printer, options());
    first.watch.until("idle", |state| state.phase == Phase::Idle).await;
    printer.report(printing());
    let before = first.watch.until("printing", |state| state.seconds_printing.is_some()).await;
    drop(first);
    let second = api(&printer, options());
    let after = second.watch.until("printing", |state| state.phase == Phase::Printing).await;
    assert_eq!(after.print_id, before.print_id);
    eventually("a duration", || async {
        second.result("status", "").await["JobStatus"]["CurrentPrint"]["DurationSec"].as_u64().unwrap() > 0
    })
    .await;
    assert_eq!(
        second.watch.until("printing", |state| state.seconds_printing.is_some()).await.print_id,
        before.print_id
    );
}

#[tokio::test]
async fn native_messages_get_numbers_and_their_answers() {
    let (printer, api) = connected().await;
    let send = |request: Value| json!({"TransportType": "mqtt", "Request": request});
    let result = api.result("send-command", send(json!({"print": {"command": "gcode_line", "param": "M115"}}))).await;
    let answer = json!({"print": {"command": "gcode_line", "param": "M115", "sequence_id": "1000000000",
        "result": "success", "reason": ""}});
    assert_eq!(
        result["Response"],
        json!({"Topic": "device/01P00A000000001/report", "Payload": answer, "Qos": 0, "Retain": false})
    );
    assert_eq!(
        (&result["ResponseReceived"], &result["IsError"], &result["TimeoutSec"]),
        (&json!(true), &json!(false), &json!(10))
    );
    assert_eq!(printer.take_told()[0]["print"]["sequence_id"], "1000000000");

    printer.change(|printer| printer.answer = Some(("FAIL", "no")));
    let mut own = send(json!({"camera": {"command": "ipcam_record_set", "sequence_id": "77", "control": "enable"}}));
    let result = api.result("send-command", &own).await;
    assert_eq!(
        (&result["IsError"], &result["Response"]["Payload"]["camera"]["sequence_id"]),
        (&json!(true), &json!("77"))
    );
    own["WaitForResponse"] = json!(false);
    let result = api.result("send-command", &own).await;
    assert_eq!((&result["ResponseReceived"], &result["Response"]), (&json!(false), &Value::Null));
    eventually("told", || async { printer.take_told().iter().any(|told| told["camera"]["sequence_id"] == "77") }).await;

    printer.change(|printer| printer.answer = None);
    let mut late = send(json!({"print": {"command": "gcode_line"}}));
    late["TimeoutSec"] = json!(1);
    for (body, code) in [
        (late, 752),
        (send(json!({})), 400),
        (send(json!({"print": "pause"})), 400),
        (json!({"TransportType": "websocket", "Request": {}}), 788),
        (json!({"TransportType": "http", "Request": {}, "Path": "/x"}), 788),
    ] {
        assert_eq!(api.code("send-command", &body).await, code, "{body}");
    }
}

#[tokio::test]
async fn hostile_firmware_does_no_harm() {
    let (printer, api) = connected().await;
    for message in [
        "".to_owned(),
        "{".to_owned(),
        "[]".to_owned(),
        "{\"print\":null,\"info\":7}".to_owned(),
        "{\"print\":{\"command\":\"push_status\",\"gcode_state\":{\"x\":1}}}".to_owned(),
        format!("{{\"print\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000)),
        json!({"print": {"command": "push_status", "subtask_name": "x".repeat(900_000)}}).to_string(),
        json!({"info": {"command": "get_version", "module": {"name": []}}}).to_string(),
    ] {
        printer.say(message);
    }
    printer.say(vec![0xff; 1000]);
    printer.report(json!({"gcode_state": "IDLE"}));
    printer.report(json!({"gcode_state": "RUNNING", "mc_percent": "many", "layer_num": -3, "total_layer_num": [1],
        "ams": 7, "nozzle_temper": 1e300, "lights_report": {}, "ipcam": null, "subtask_name": "\u{202e}\u{7}x".repeat(500)}));
    let state = api.watch.until("printing", |state| state.phase == Phase::Printing).await;
    assert!(state.file.unwrap().chars().count() <= 255);
    assert_eq!(api.result("status", r#"{"IncludeMaterialSystem":true}"#).await["JobStatus"]["State"], "printing");

    // Not even MQTT, or only half of it.
    let half_a_report = [&[0x30, 0x64, 0x00, 0x1d][..], b"device/01P00A000000001/report{\"pri"].concat();
    for (round, (bytes, hangs_up)) in [
        (vec![0xf0, 0x01, 0x00], false),
        (vec![0x30, 0xff, 0xff, 0xff, 0x7f], false),
        (half_a_report, true),
        (b"HTTP/1.1 400 Bad Request\r\n".repeat(10), false),
    ]
    .into_iter()
    .enumerate()
    {
        printer.babble(&bytes);
        if hangs_up {
            printer.hang_up();
        }
        api.watch.until("a problem", |state| state.problem.is_some()).await;
        printer.until_asked("get_version", round + 2).await;
        printer.report(json!({"mc_percent": round + 1}));
        api.watch.until("further", |state| state.progress == Some(round as f32 + 1.0)).await;
    }
}

#[tokio::test]
async fn another_certificate_is_refused_until_the_owner_deletes_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let printer = FakeBambu::start().await;
    let options = || ObserverOptions { directory: Some(directory.path().to_owned()), ..printer.options() };
    let first = api(&printer, options());
    first.watch.until("idle", |state| state.phase == Phase::Idle).await;
    let kept: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(file).unwrap().contains(CODE));

    printer.change_certificate(&[&rustls::version::TLS13]);
    assert_eq!(first.code("files/list", "").await, 785, "files come from the same printer or not at all");
    printer.hang_up();
    let refused = |state: &model::printing::PrinterState| {
        state.problem.as_ref().is_some_and(|problem| problem.contains(&format!("delete {}", file.display())))
    };
    first.watch.until("refused", refused).await;
    let second = api(&printer, options());
    second.watch.until("refused", refused).await;
    assert_eq!(second.code("status", "").await, 785);
    assert_eq!(printer.asked("get_version"), 1, "the code was not even shown");
    std::fs::remove_file(file).unwrap();
    second.watch.until("idle", |state| state.phase == Phase::Idle).await;
    assert_eq!(second.code("files/list", "").await, 200);
    // Where nothing can be kept it holds until a restart.
    tokio::time::timeout(Duration::from_secs(20), async {
        first.watch.until("idle", |state| state.phase == Phase::Idle).await
    })
    .await
    .unwrap();
}
