//! What the command API promises for every printer, held against each platform: the table of who supports what, the
//! shapes of answers, and the order in which things are refused.

use std::any::Any;

use model::printing::Phase;
use printers::virtual_printer::{VirtualPrinter, VirtualPrinterOptions};
use serde_json::{Value, json};

use crate::command_api::Api;
use crate::fake_cc2::FakeCc2;
use crate::fake_software::{FakeMoonraker, FakeOctoPrint};
use crate::{bambu, elegoo_cc1, prusalink};

/// A platform at rest, and what it promises.
struct Subject {
    name: &'static str,
    features: u64,
    /// Of the commands that not everybody has.
    supports: &'static [&'static str],
    /// Of `send-command`.
    transport: &'static str,
    api: Api,
    /// What the platform talks with, for as long as it is asked.
    _printer: Box<dyn Any>,
}

const FILES: [&str; 5] = ["files/list", "files/details", "files/download", "files/delete", "files/upload"];

/// With arguments that are right, so that nothing but missing support is in the way.
fn optional() -> [(&'static str, Value); 5] {
    [
        ("set-light", json!({"Name": "chamber", "On": true})),
        ("move-axis", json!({"Axis": "X", "DistanceMm": 1})),
        ("home", json!({})),
        ("extrude", json!({"Extruder": 0, "DistanceMm": 1})),
        ("set-temp", json!({"BedC": 50})),
    ]
}

/// The bits of `Features`.
const BITS: [(&str, u64); 6] =
    [("set-light", 1), ("move-axis", 2), ("home", 4), ("extrude", 8), ("set-temp", 16), ("start", 32)];

async fn subjects() -> Vec<Subject> {
    let octoprint = FakeOctoPrint::start("goodkey").await;
    let moonraker = FakeMoonraker::start(Some("goodkey")).await;
    let (prusalink, prusalink_api) = prusalink::with_key().await;
    let (bambu, bambu_api) = bambu::connected().await;
    let (centauri, centauri_api) = elegoo_cc1::idle().await;
    let centauri2 = FakeCc2::start().await;
    centauri2.rest();
    let options = VirtualPrinterOptions::default();
    let virtual_printer = VirtualPrinter::start(options).await.unwrap();
    let subjects = vec![
        Subject {
            name: "octoprint",
            features: 32,
            supports: &["start", "files"],
            transport: "http",
            api: Api::start("octoprint", &octoprint.url),
            _printer: Box::new(octoprint),
        },
        Subject {
            name: "moonraker",
            features: 63,
            supports: &["start", "files", "set-light", "move-axis", "home", "extrude", "set-temp"],
            transport: "websocket",
            api: Api::start("moonraker", &moonraker.url),
            _printer: Box::new(moonraker),
        },
        Subject {
            name: "prusalink",
            features: 32,
            supports: &["start"],
            transport: "http",
            api: prusalink_api,
            _printer: Box::new(prusalink),
        },
        Subject {
            name: "bambu",
            features: 33,
            supports: &["start", "files", "set-light", "mqtt"],
            transport: "mqtt",
            api: bambu_api,
            _printer: Box::new(bambu),
        },
        Subject {
            name: "elegoo-cc1",
            features: 5,
            supports: &["set-light", "home"],
            transport: "websocket",
            api: centauri_api,
            _printer: Box::new(centauri),
        },
        Subject {
            name: "elegoo-cc2",
            features: 23,
            supports: &["set-light", "move-axis", "home", "set-temp", "mqtt"],
            transport: "mqtt",
            api: centauri2.api(),
            _printer: Box::new(centauri2),
        },
        Subject {
            name: "virtual",
            features: 33,
            supports: &["start", "files", "set-light"],
            transport: "http",
            api: Api::start("virtual", &virtual_printer.url().to_string()),
            _printer: Box::new(virtual_printer),
        },
    ];
    for subject in &subjects {
        let at_rest = |phase| matches!(phase, Phase::Idle | Phase::Cancelled);
        subject.api.watch.until(subject.name, |state| state.problem.is_none() && at_rest(state.phase)).await;
    }
    subjects
}

#[tokio::test]
async fn every_platform_keeps_to_the_table() {
    for subject in subjects().await {
        let (api, name) = (&subject.api, subject.name);
        let supports = |what: &str| subject.supports.contains(&what);
        let status = api.result("status", "").await;
        assert_eq!(status["Features"], subject.features, "{name}");
        for (command, bit) in BITS {
            assert_eq!(subject.features & bit != 0, supports(command), "{name}: {command}");
        }
        for order in ["pause", "resume", "cancel"] {
            assert_eq!(api.code(order, "").await, 786, "{name}: {order} at rest");
        }
        for (command, arguments) in optional() {
            if !supports(command) {
                assert_eq!(api.code(command, &arguments).await, 788, "{name}: {command}");
            }
        }
        if !supports("start") {
            assert_eq!(api.code("start", json!({"Path": "gcode/a.gcode"})).await, 788, "{name}");
        }
        if !supports("files") {
            for command in FILES {
                // The body of an upload is the file; all others may have none.
                let body = if command == "files/upload" { "G28" } else { "" };
                let answer = api.send("POST", &format!("{command}?path=gcode/a.gcode"), "app control full", body).await;
                assert_eq!(answer.code(), 788, "{name}: {command}");
                // Those whose answer is not JSON have a status of HTTP.
                let expected = if command == "files/download" { 400 } else { 200 };
                assert_eq!(answer.status, expected, "{name}: {command}");
            }
        }
        for transport in ["http", "websocket", "mqtt"] {
            let message = json!({"TransportType": transport, "Path": "/", "Request": {}});
            let is_other = transport != subject.transport;
            if is_other || name == "virtual" {
                assert_eq!(api.code("send-command", &message).await, 788, "{name}: {transport}");
            }
        }
        assert_eq!(api.open("app control").is_ok(), supports("mqtt"), "{name}");
        assert!(api.open("shared control").is_err() && api.open("app").is_err(), "{name}");
    }
}

#[tokio::test]
async fn every_platform_answers_in_the_same_shapes() {
    for subject in subjects().await {
        let (api, name) = (&subject.api, subject.name);
        assert_eq!(api.result("ping", "").await, json!({"Message": "Pong"}), "{name}");
        let status = api.result("status", r#"{"IncludeMaterialSystem":true}"#).await;
        let job = &status["JobStatus"];
        assert!(matches!(job["State"].as_str(), Some("idle" | "cancelled")), "{name}: {job}");
        assert!(job["Error"].is_null() && status["PlatformVersion"].is_string(), "{name}: {status}");
        let print = &job["CurrentPrint"];
        assert!(print["Progress"].is_number() && print["DurationSec"].is_u64(), "{name}: {print}");
        assert!(print["FileName"].is_string() && print["EstTotalFilUsedMm"].is_i64(), "{name}: {print}");
        for layer in ["CurrentLayer", "TotalLayers"] {
            assert!(print.get(layer).is_some_and(|layer| layer.is_null() || layer.is_u64()), "{name}: {print}");
        }
        for heater in ["BedActual", "BedTarget", "HotendActual", "HotendTarget"] {
            assert!(print["Temps"][heater].is_number(), "{name}: {print}");
        }
        for list in ["Sources", "Tools", "Units", "Routes"] {
            let material = &job["MaterialSystem"];
            assert!(material.is_null() || material[list].is_array(), "{name}: {material}");
        }
        assert!(status["OctoEverywhereStatus"]["Gadget"]["ScoreHistory"].is_array(), "{name}: {status}");
        let webcams = api.result("webcam/list", "").await;
        assert!(webcams["DefaultIndex"].is_u64(), "{name}: {webcams}");
        for webcam in webcams["Webcams"].as_array().unwrap() {
            assert!(
                webcam["Name"].is_string() && webcam["FlipH"].is_boolean() && webcam["Rotation"].is_u64(),
                "{name}"
            );
            assert!(!webcam.to_string().contains('@'), "{name} tells how to sign in: {webcam}");
        }
    }
}

#[tokio::test]
async fn every_platform_refuses_in_the_same_order() {
    for subject in subjects().await {
        let (api, name) = (&subject.api, subject.name);
        for (command, body, code) in [
            ("pause", "{", 751),
            ("pause", "[]", 751),
            ("status", "\u{1}", 751),
            ("dance", "{}", 754),
            ("pausexyz", "{}", 754),
            ("status", r#"{"IncludeMaterialSystem":"yes"}"#, 400),
            // What is wrong with the arguments comes before what the platform cannot do.
            ("set-temp", "{}", 400),
            ("set-temp", r#"{"BedC":true}"#, 400),
            ("set-temp", r#"{"BedC":75.1}"#, 400),
            ("set-temp", r#"{"ToolC":-1}"#, 400),
            ("set-temp", r#"{"ToolC":1e400}"#, 751),
            ("move-axis", r#"{"Axis":"Q","DistanceMm":1}"#, 400),
            ("move-axis", r#"{"Axis":"X"}"#, 400),
            ("move-axis", r#"{"Axis":"X","DistanceMm":501}"#, 400),
            ("extrude", r#"{"DistanceMm":1}"#, 400),
            ("set-light", r#"{"Name":"chamber"}"#, 400),
            ("set-light", r#"{"Name":1,"On":true}"#, 400),
            ("start", "{}", 400),
            ("send-command", "{}", 400),
            ("set-default-webcam", "{}", 400),
        ] {
            assert_eq!(api.code(command, body).await, code, "{name}: {command} {body}");
        }
        let far = "a".repeat(4096);
        for path in ["gcode/../x", "../x", "gcode\\..\\x", "gcode", "", "etc/passwd", far.as_str(), "gcode/a\u{0}b"] {
            let code = api.code("files/delete", json!({"path": path})).await;
            assert!(code == 400 || (code == 788 && !subject.supports.contains(&"files")), "{name}: {path:?}: {code}");
        }
        // Who may not is told so, whatever the platform can do.
        for (command, caller) in
            [("pause", "app"), ("send-command", "app control"), ("get-connection-info", "app control full")]
        {
            assert_eq!(api.send("POST", command, caller, "{}").await.code(), 403, "{name}: {command}");
        }
        assert_eq!(
            api.send("GET", "cancel", "owner control full", "").await.code(),
            400,
            "{name}: a link gives no orders"
        );
    }
}
