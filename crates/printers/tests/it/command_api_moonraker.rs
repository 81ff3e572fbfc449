//! The command API with Moonraker and the virtual printer: what is answered, and what the software is told.

use model::printing::Phase;
use printers::virtual_printer::{PrintSpeed, VirtualPrinter, VirtualPrinterOptions};
use serde_json::{Value, json};

use crate::command_api::Api;
use crate::fake_software::FakeMoonraker;

#[tokio::test]
async fn moonraker_does_all_of_it() {
    let moonraker = FakeMoonraker::start(None).await;
    let api = Api::start("moonraker", &moonraker.url);
    api.watch.until("idle", |state| state.phase == Phase::Idle).await;
    let status = api.result("status", json!({"IncludeMaterialSystem": true})).await;
    assert_eq!((&status["Features"], &status["PlatformVersion"]), (&json!(63), &json!("v0.9.3-fake")));
    let lights = json!([{"Name": "caselight", "On": false}, {"Name": "shelf light", "On": true}]);
    assert_eq!((&status["JobStatus"]["Lights"], &status["JobStatus"]["State"]), (&lights, &json!("idle")));
    assert_eq!(status["JobStatus"]["MaterialSystem"]["Routes"], json!([{"SourceId": "source-0", "ToolId": "tool-0"}]));

    let script = |lines: &str| format!("printer.gcode.script {}", json!({"script": lines}));
    let aside =
        |lines: &str| script(&format!("SAVE_GCODE_STATE NAME=spoolway\n{lines}\nRESTORE_GCODE_STATE NAME=spoolway"));
    for (command, body, code, expected) in [
        ("pause", json!({}), 786, None),
        ("resume", json!({}), 786, None),
        ("cancel", json!({}), 786, None),
        ("set-light", json!({"Name": "caselight", "On": true}), 200, Some(script("SET_PIN PIN=caselight VALUE=1"))),
        (
            "set-light",
            json!({"name": "shelf light", "on": false}),
            200,
            Some(r#"machine.device_power.post_device {"action":"off","device":"shelf light"}"#.to_owned()),
        ),
        ("set-light", json!({"Name": "nothing", "On": true}), 400, None),
        ("set-light", json!({"Name": "caselight", "On": "true"}), 400, None),
        ("set-light", json!({"Name": "caselight"}), 400, None),
        ("move-axis", json!({"Axis": "x", "DistanceMm": -1.5}), 200, Some(aside("G91\nG1 X-1.5 F3000"))),
        ("move-axis", json!({"Axis": "Z", "DistanceMm": 2}), 200, Some(aside("G91\nG1 Z2 F500"))),
        ("move-axis", json!({"Axis": "X\nM112", "DistanceMm": 2}), 400, None),
        ("move-axis", json!({"Axis": "X", "DistanceMm": 501}), 400, None),
        ("move-axis", json!({"Axis": "X", "DistanceMm": "1"}), 400, None),
        ("move-axis", json!({"Axis": "X"}), 400, None),
        ("home", json!({}), 200, Some(script("G28"))),
        ("extrude", json!({"Extruder": 0, "DistanceMm": 5}), 200, Some(aside("M83\nG1 E5 F300"))),
        ("extrude", json!({"Extruder": 1, "DistanceMm": -5}), 200, Some(aside("T1\nM83\nG1 E-5 F300"))),
        ("extrude", json!({"Extruder": 11, "DistanceMm": 5}), 400, None),
        ("extrude", json!({"Extruder": -1, "DistanceMm": 5}), 400, None),
        ("extrude", json!({"Extruder": 0.5, "DistanceMm": 5}), 400, None),
        ("extrude", json!({"Extruder": 0, "DistanceMm": 201}), 400, None),
        ("set-temp", json!({"BedC": 0}), 200, Some(script("M140 S0"))),
        (
            "set-temp",
            json!({"BedC": 60.5, "ToolC": 200, "ToolNumber": 1}),
            200,
            Some(script("M140 S60.5\nM104 T1 S200")),
        ),
        ("set-temp", json!({"ToolC": 200}), 200, Some(script("M104 S200"))),
        ("set-temp", json!({"ChamberC": 40}), 788, None),
        ("set-temp", json!({"BedC": true}), 400, None),
        ("set-temp", json!({"BedC": 75.1}), 400, None),
        ("set-temp", json!({"ToolC": 260.5}), 400, None),
        ("set-temp", json!({"ToolC": -1}), 400, None),
        ("set-temp", json!({"ToolNumber": 1}), 400, None),
        ("set-temp", json!({}), 400, None),
        (
            "start",
            json!({"Path": "gcode/f/a.gcode"}),
            200,
            Some(r#"printer.print.start {"filename":"f/a.gcode"}"#.to_owned()),
        ),
        (
            "start",
            json!({"Path": "gcode/refused.gcode"}),
            400,
            Some(r#"printer.print.start {"filename":"refused.gcode"}"#.to_owned()),
        ),
    ] {
        assert_eq!(api.code(command, &body).await, code, "{command} {body}");
        assert_eq!(moonraker.take_told(), expected.into_iter().collect::<Vec<_>>(), "{command} {body}");
    }
    // Without a body, numbers are texts.
    assert_eq!(api.code("move-axis?axis=y&distancemm=3", "").await, 200);
    assert_eq!(moonraker.take_told(), [aside("G91\nG1 Y3 F3000")]);

    moonraker.push(
        r#"{"method":"notify_status_update","params":[{"print_stats":{"state":"printing","filename":"f/a.gcode",
            "print_duration":30.0,"total_duration":60.0},"virtual_sdcard":{"progress":0.25}},1.0]}"#,
    );
    api.watch.until("printing", |state| state.phase == Phase::Printing && state.total_layers.is_some()).await;
    let print = api.result("status", "").await["JobStatus"]["CurrentPrint"].clone();
    assert_eq!((&print["FileName"], &print["TimeLeftSec"]), (&json!("f/a.gcode"), &json!(90)));
    assert_eq!((&print["CurrentLayer"], &print["TotalLayers"]), (&json!(0), &json!(48)));
    assert_eq!(api.code("start", json!({"Path": "gcode/a"})).await, 786);
    for (command, expected) in [("pause", "printer.print.pause {}"), ("cancel", "printer.print.cancel {}")] {
        assert_eq!(api.code(command, "").await, 200);
        assert_eq!(moonraker.take_told(), [expected]);
    }
    moonraker.push(r#"{"method":"notify_klippy_disconnected"}"#);
    api.watch.until("Klipper is gone", |state| state.problem.is_some()).await;
    for (command, body) in
        [("status", json!({})), ("home", json!({})), ("pause", json!({})), ("set-temp", json!({"BedC": 1}))]
    {
        assert_eq!(api.code(command, &body).await, 785, "{command}");
    }
    assert_eq!(moonraker.take_told(), Vec::<String>::new());
}

#[tokio::test]
async fn moonrakers_files_and_native_messages() {
    let moonraker = FakeMoonraker::start(None).await;
    let api = Api::start("moonraker", &moonraker.url);
    api.watch.until("idle", |state| state.phase == Phase::Idle).await;
    let list = api.result("files/list", "").await;
    let names: Vec<_> = list["Root"].as_array().unwrap().iter().map(|root| root["Name"].clone()).collect();
    assert_eq!(names, ["gcode", "config", "logs"]);
    assert_eq!(list["Root"][0]["Children"][0]["Children"][0]["PlatformPath"], "gcodes/f/a.gcode");
    let details = api.result("files/details", json!({"path": "gcode/f/a.gcode"})).await;
    assert_eq!((&details["LayerCount"], &details["EstPrintTimeSec"]), (&json!(48), &json!(120.0)));
    assert_eq!(api.code("files/details", json!({"path": "config/printer.cfg"})).await, 400);

    let upload = api.send("POST", "files/upload?path=config/sub/x.cfg", "app control", "[x]\n").await.json();
    assert_eq!(upload["Result"]["PlatformPath"], "config/sub/x-2.cfg", "{upload}");
    let sent = moonraker.take_told().concat();
    for part in
        ["POST /server/files/upload", "name=\"root\"\r\n\r\nconfig\r\n", "name=\"path\"\r\n\r\nsub\r\n", "[x]\n"]
    {
        assert!(sent.contains(part), "{part:?} in {sent:?}");
    }
    let download = api.send("GET", "files/download?path=logs/klippy.log", "app", "").await;
    assert_eq!((download.status, &download.body[..]), (200, &b"a log\n"[..]));
    assert_eq!(api.code("files/delete", json!({"path": "gcode/f/a.gcode"})).await, 200);
    assert_eq!(api.code("files/delete", json!({"path": "logs/klippy.log"})).await, 400);
    assert_eq!(moonraker.take_told(), ["DELETE /server/files/gcodes/f/a.gcode"]);

    let native = |request: Value| json!({"TransportType": "websocket", "Request": request});
    let result = api.result("send-command", native(json!({"Method": "server.info"}))).await;
    assert_eq!(result["Response"]["result"]["klippy_state"], "ready");
    let refused = native(json!({"Method": "printer.print.start", "Params": {"filename": "refused.gcode"}}));
    let result = api.result("send-command", &refused).await;
    assert_eq!((&result["IsError"], &result["Response"]["error"]["code"]), (&json!(true), &json!(400)));
    let mut silent = refused;
    silent["WaitForResponse"] = json!(false);
    let result = api.result("send-command", &silent).await;
    assert_eq!((&result["ResponseReceived"], &result["Response"]), (&json!(false), &json!(null)));
    for bad in [json!({}), json!({"Method": ""}), json!({"Method": 7}), json!({"Method": "x", "Params": [1]})] {
        assert_eq!(api.code("send-command", native(bad.clone())).await, 400, "{bad}");
    }
    let never = json!({"TransportType": "websocket", "TimeoutSec": 1, "Request": {"Method": "server.never"}});
    assert_eq!(api.code("send-command", never).await, 752);
}

#[tokio::test]
async fn the_virtual_printer_prints_what_was_uploaded() {
    let options = VirtualPrinterOptions { speed: PrintSpeed::BytesPerSecond(100), ..VirtualPrinterOptions::default() };
    let printer = VirtualPrinter::start(options).await.unwrap();
    let api = Api::start("virtual", &printer.url().to_string());
    api.watch.until("idle", |state| state.phase == Phase::Idle).await;
    let gcode = "G1 X1 Y1 ;\n".repeat(1000);
    let upload = api.send("PUT", "files/upload?path=gcode/a%20b.gcode", "app control", &gcode).await.json();
    assert_eq!((&upload["Status"], &upload["Result"]["SizeBytes"]), (&json!(200), &json!(11_000)), "{upload}");
    assert_eq!(api.result("files/details", json!({"path": "gcode/a b.gcode"})).await["SizeBytes"], 11_000);
    assert_eq!(api.code("files/details", json!({"path": "gcode/f/a.gcode"})).await, 404);
    let refused = api.send("PUT", "files/upload?path=gcode/f/a.gcode", "app control", "x").await;
    assert!(refused.code() == 400 || refused.code() == 422, "{}", refused.json());
    let download = api.send("GET", "files/download?path=gcode/a%20b.gcode", "app", "").await;
    assert_eq!(download.body, gcode);
    for (command, body, code) in [
        ("pause", json!({}), 786),
        ("start", json!({"Path": "gcode/none.gcode"}), 404),
        ("start", json!({"Path": "gcode/a b.gcode"}), 200),
        ("start", json!({"Path": "gcode/a b.gcode"}), 786),
        ("set-light", json!({"Name": "light", "On": true}), 200),
        ("set-light", json!({"Name": "other", "On": true}), 400),
        ("pause", json!({}), 200),
        ("pause", json!({}), 786),
        ("resume", json!({}), 200),
        ("files/delete", json!({"path": "gcode/a b.gcode"}), 409),
        ("cancel", json!({}), 200),
        ("files/delete", json!({"path": "gcode/a b.gcode"}), 200),
        ("home", json!({}), 788),
        ("send-command", json!({"TransportType": "http", "Path": "/", "Request": {}}), 788),
    ] {
        assert_eq!(api.code(command, &body).await, code, "{command} {body}");
    }
    let status = api.result("status", "").await;
    assert_eq!((&status["JobStatus"]["State"], &status["Features"]), (&json!("cancelled"), &json!(33)));
    assert_eq!(status["JobStatus"]["Lights"], json!([{"Name": "light", "On": true}]));
    assert!(status["OctoEverywhereStatus"]["PrintStartTimeSec"].as_f64().unwrap() > 1e9);
}
