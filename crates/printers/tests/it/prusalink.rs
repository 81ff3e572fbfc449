//! PrusaLink: what it is known by, how the agent signs in, and what it is asked and told.

use std::sync::Arc;

use model::Secret;
use model::printing::Phase;
use printers::command_api::CommandApiOptions;
use printers::detect::detect;
use printers::observe::{Login, ObserverOptions};
use serde_json::{Value, json};

use crate::command_api::Api;
use crate::fake_prusalink::{FakePrusaLink, Lock, PASSWORD, PICTURE, USER};
use crate::fake_software::{Reply, http_server};
use crate::observe::{Watch, tls};

fn login(password: &str) -> ObserverOptions {
    let login = Login { username: USER.to_owned(), password: Secret::new(password) };
    ObserverOptions { login: Some(login), ..ObserverOptions::default() }
}

fn api(printer: &FakePrusaLink, options: ObserverOptions) -> Api {
    Api::with(Watch::start("prusalink", &printer.url, options), CommandApiOptions::default())
}

pub(crate) async fn with_key() -> (FakePrusaLink, Api) {
    let printer = FakePrusaLink::start(Lock::Key("goodkey")).await;
    let api = Api::start("prusalink", &printer.url);
    api.watch.until("idle", |state| state.phase == Phase::Idle).await;
    (printer, api)
}

#[tokio::test]
async fn is_known_by_its_challenge_or_by_its_name() {
    let known = async |url: &str| {
        let status = detect(&url.parse().unwrap(), &tls()).await;
        (status.software, status.software_version, status.problem)
    };
    let prusalink = |version: &str| ("prusalink".to_owned(), version.to_owned(), String::new());
    for lock in [Lock::Key("k"), Lock::Firmware, Lock::Users(&["MD5"]), Lock::Users(&["SHA-256", "MD5"])] {
        let printer = FakePrusaLink::start(lock).await;
        assert_eq!(known(&printer.url).await, prusalink(""), "{lock:?}");
    }
    for (status, body, expected) in [
        (200, r#"{"api":"2.0.0","server":"2.1.2","text":"PrusaLink"}"#, ("prusalink", "")),
        (200, r#"{"api":"0.9","server":"0.8","text":"PrusaLink 0.8.1"}"#, ("prusalink", "0.8.1")),
        (200, r#"{"api":"0.1","server":"0.6","text":"OctoPrint (PrusaLink 0.6)"}"#, ("prusalink", "0.6")),
        (200, r#"{"api":"0.1","server":"1.11.8","text":"OctoPrint 1.11.8"}"#, ("octoprint", "1.11.8")),
        (200, r#"{"api":"0.1","server":"1.5","text":"Somebody"}"#, ("unknown", "")),
        (200, r#"{"text":7}"#, ("unknown", "")),
        (401, r#"{"text":"PrusaLink"}"#, ("unknown", "")),
    ] {
        let server = http_server(move |head, _| match head.path.as_str() {
            "/api/version" => Reply::Text(status, body.to_owned()),
            _ => Reply::Text(404, String::new()),
        });
        let (software, version, _) = known(&format!("http://{}", server.await)).await;
        assert_eq!((software.as_str(), version.as_str()), expected, "{body}");
    }
    // Somebody else's challenge says nothing.
    for challenge in ["Digest realm=\"Router\", nonce=\"n\"", "Basic realm=\"Administrator\"", "Digest", "\u{fffd}"] {
        let answer = format!("HTTP/1.1 401 X\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n");
        let server = http_server(move |_, _| Reply::Raw(answer.clone().into_bytes())).await;
        assert_eq!(known(&format!("http://{server}")).await.0, "unknown", "{challenge}");
    }
}

#[tokio::test]
async fn users_sign_in_with_every_challenge_and_rarely() {
    for lock in [Lock::Firmware, Lock::Users(&["MD5"]), Lock::Users(&["SHA-256"]), Lock::Users(&["MD5", "SHA-256"])] {
        let printer = FakePrusaLink::start(lock).await;
        let api = api(&printer, login(PASSWORD));
        api.watch.until("idle", |state| state.phase == Phase::Idle).await;
        assert_eq!(api.result("status", "").await["PlatformVersion"], "PrusaLink 0.8.1-MK4", "{lock:?}");
        // Status, version and info were asked with one challenge.
        assert_eq!(printer.challenges(), 1, "{lock:?}");

        // A nonce that has become too old is another challenge, and no refusal.
        printer.limit_nonces(1);
        printer.change(|machine| (machine.printer, machine.job) = ("PRINTING", Some("PRINTING")));
        assert_eq!(api.code("pause", "{}").await, 200, "{lock:?}");
        assert_eq!(printer.take_told(), ["PUT /api/v1/job/297/pause"], "{lock:?}");
        assert!(printer.challenges() >= 2, "{lock:?}");

        // Native messages are signed too.
        let native = json!({"TransportType": "http", "Path": "/api/version?x=1", "Request": {}});
        let result = api.result("send-command", &native).await;
        assert_eq!(result["Response"]["StatusCode"], 404, "{lock:?}: {result}");
    }
}

#[tokio::test]
async fn wrong_and_missing_credentials_have_their_number() {
    for lock in [Lock::Key("goodkey"), Lock::Firmware, Lock::Users(&["MD5"])] {
        let wrong_key = ObserverOptions { api_key: Some(Secret::new("bad")), ..ObserverOptions::default() };
        for (options, problem) in [
            (wrong_key, "does not accept"),
            (login("wrong"), "does not accept"),
            (ObserverOptions::default(), "asks for credentials"),
        ] {
            let printer = FakePrusaLink::start(lock).await;
            let api = api(&printer, options);
            let state = api.watch.until("a problem", |state| state.problem.is_some()).await;
            let said = state.problem.unwrap();
            assert!(said.contains(problem) && !said.contains("wrong"), "{said}");
            for command in ["status", "pause", "resume", "cancel"] {
                assert_eq!(api.code(command, "").await, 789, "{command} {lock:?}");
            }
            assert_eq!(api.code("start", json!({"Path": "gcode/a.gcode"})).await, 789, "{lock:?}");
            assert_eq!(printer.take_told(), Vec::<String>::new());
        }
    }
    // A key goes before a user, and the owner sees that there is something, but not what.
    let printer = FakePrusaLink::start(Lock::Key("goodkey")).await;
    let both = ObserverOptions { api_key: Some(Secret::new("goodkey")), ..login("secret") };
    let api = api(&printer, both);
    api.watch.until("idle", |state| state.phase == Phase::Idle).await;
    let info = api.send("GET", "get-connection-info", "owner control full", "").await;
    assert_eq!(info.json()["Result"]["Password"], "••••••••");
    assert!(!String::from_utf8_lossy(&info.body).contains("secret"));
}

#[tokio::test]
async fn status_is_told_in_the_words_of_the_interface() {
    let (printer, api) = with_key().await;
    let idle = api.result("status", "").await;
    assert_eq!((&idle["Features"], &idle["PlatformVersion"]), (&json!(32), &json!("PrusaLink 0.8.1-MK4")));
    let idle = &idle["JobStatus"];
    assert_eq!((&idle["State"], &idle["Error"], &idle["Lights"]), (&json!("idle"), &json!(null), &json!(null)));
    assert_eq!(idle["CurrentPrint"]["FileName"], "");

    printer.change(|machine| (machine.printer, machine.job) = ("PRINTING", Some("PRINTING")));
    api.status_until("printing").await;
    let job = api.result("status", r#"{"IncludeMaterialSystem":true}"#).await["JobStatus"].clone();
    let print = json!({
        "Progress": 42.0, "DurationSec": 60, "TimeLeftSec": 300, "FileName": "Benchy", "EstTotalFilUsedMm": 4123,
        "EstTotalFilWeightMg": 12250, "CurrentLayer": null, "TotalLayers": null,
        "Temps": {"BedActual": 60.0, "BedTarget": 60.5, "HotendActual": 215.0, "HotendTarget": 215.0},
    });
    assert_eq!((&job["State"], &job["CurrentPrint"]), (&json!("printing"), &print));
    assert_eq!(job["MaterialSystem"]["Sources"][0]["Name"], "External spool");
    assert_eq!(job["MaterialSystem"]["Tools"].as_array().unwrap().len(), 1);

    for (state, job, expected, sub_state, error) in [
        ("BUSY", Some("PRINTING"), "warmingup", json!("Busy"), Value::Null),
        ("PAUSED", Some("PAUSED"), "paused", Value::Null, Value::Null),
        ("FINISHED", Some("FINISHED"), "complete", Value::Null, Value::Null),
        ("STOPPED", Some("STOPPED"), "cancelled", Value::Null, Value::Null),
        ("ATTENTION", None, "error", Value::Null, json!("Crash detected")),
        // The firmware has answered 204 to the question for the job.
        ("PRINTING", None, "printing", Value::Null, Value::Null),
    ] {
        printer.change(|machine| (machine.printer, machine.job) = (state, job));
        let told = api.status_until(expected).await;
        assert_eq!((&told["SubState"], &told["Error"]), (&sub_state, &error), "{expected}");
    }
}

#[tokio::test]
async fn orders_are_given_word_for_word() {
    let (printer, api) = with_key().await;
    let printing = ("PRINTING", Some("PRINTING"));
    let paused = ("PAUSED", Some("PAUSED"));
    for (state, orders, command, code, expected) in [
        (("IDLE", None), 204, "pause", 786, None),
        (("IDLE", None), 204, "resume", 786, None),
        (("IDLE", None), 204, "cancel", 786, None),
        (("FINISHED", Some("FINISHED")), 204, "cancel", 786, None),
        (paused, 204, "pause", 786, None),
        (printing, 204, "resume", 786, None),
        // It prints, and knows of no job.
        (("PRINTING", None), 204, "pause", 786, None),
        (("BUSY", None), 204, "cancel", 786, None),
        (printing, 204, "pause", 200, Some("PUT /api/v1/job/297/pause")),
        (("BUSY", Some("PRINTING")), 200, "pause", 200, Some("PUT /api/v1/job/297/pause")),
        (paused, 204, "resume", 200, Some("PUT /api/v1/job/297/resume")),
        (paused, 200, "cancel", 200, Some("DELETE /api/v1/job/297")),
        (printing, 204, "cancel", 200, Some("DELETE /api/v1/job/297")),
        (printing, 409, "pause", 786, Some("PUT /api/v1/job/297/pause")),
        (printing, 404, "cancel", 786, Some("DELETE /api/v1/job/297")),
        (paused, 401, "resume", 789, Some("PUT /api/v1/job/297/resume")),
        (paused, 403, "cancel", 789, Some("DELETE /api/v1/job/297")),
        (printing, 400, "pause", 400, Some("PUT /api/v1/job/297/pause")),
        (printing, 500, "pause", 400, Some("PUT /api/v1/job/297/pause")),
    ] {
        printer.change(|machine| (machine.printer, machine.job, machine.orders) = (state.0, state.1, orders));
        let answer = api.post(command, "{}").await.json();
        assert_eq!(answer["Status"], code, "{command} while {state:?}, {orders}: {answer}");
        if code == 200 {
            assert_eq!(answer["Result"], json!({}));
        }
        assert_eq!(printer.take_told(), expected.into_iter().collect::<Vec<_>>(), "{command} while {state:?}");
    }
}

#[tokio::test]
async fn prints_are_started_from_any_storage() {
    let (printer, api) = with_key().await;
    let file = |storage: &str| format!("POST /api/v1/files/{storage}/f/a%20b.gcode");
    for (orders, extra, code, expected) in [
        (204, json!({}), 200, Some(file("local"))),
        (200, json!({"Storage": "usb"}), 200, Some(file("usb"))),
        (201, json!({"storage": " sdcard "}), 200, Some(file("sdcard"))),
        (409, json!({"Storage": null}), 786, Some(file("local"))),
        (401, json!({}), 789, Some(file("local"))),
        (404, json!({}), 404, Some(file("local"))),
        (500, json!({}), 500, Some(file("local"))),
        (302, json!({}), 502, Some(file("local"))),
        (204, json!({"Storage": "../job"}), 400, None),
        (204, json!({"Storage": ""}), 400, None),
        (204, json!({"Storage": 7}), 400, None),
        (204, json!({"Storage": "a".repeat(65)}), 400, None),
        (204, json!({"Path": "gcode"}), 400, None),
        (204, json!({"Path": "gcode/../x"}), 400, None),
        (204, json!({"Path": "logs/x.log"}), 400, None),
    ] {
        printer.change(|machine| machine.orders = orders);
        let mut body = json!({"Path": "gcode/f/a b.gcode"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        assert_eq!(api.code("start", &body).await, code, "{body} {orders}");
        assert_eq!(printer.take_told(), expected.into_iter().collect::<Vec<_>>(), "{body}");
    }
    printer.change(|machine| machine.orders = 204);
    let result = api.result("start", json!({"Path": "gcode/f/a b.gcode", "Storage": "usb"})).await;
    assert_eq!(result, json!({"VirtualPath": "gcode/f/a b.gcode", "PlatformPath": "/usb/f/a b.gcode"}));
    printer.take_told();
    printer.change(|machine| (machine.printer, machine.job) = ("PRINTING", Some("PRINTING")));
    assert_eq!(api.code("start", json!({"Path": "gcode/a.gcode"})).await, 786);
    assert_eq!(printer.take_told(), Vec::<String>::new());
}

#[tokio::test]
async fn what_it_cannot_do_is_said() {
    let (printer, api) = with_key().await;
    for (command, body) in [
        ("set-light", json!({"Name": "x", "On": true})),
        ("move-axis", json!({"Axis": "X", "DistanceMm": 1})),
        ("home", json!({})),
        ("extrude", json!({"Extruder": 0, "DistanceMm": 1})),
        ("set-temp", json!({"BedC": 60})),
        ("files/list", json!({})),
        ("files/details", json!({"path": "gcode/a"})),
        ("files/delete", json!({"path": "gcode/a"})),
        ("files/upload?path=gcode/a", json!("x")),
        ("send-command", json!({"TransportType": "websocket", "Request": {}})),
    ] {
        assert_eq!(api.code(command, &body).await, 788, "{command}");
    }
    let download = api.send("GET", "files/download?path=gcode/a", "app", "").await;
    assert_eq!((download.status, download.code()), (400, 788));
    assert_eq!(api.result("ping", "").await, json!({"Message": "Pong"}));
    assert_eq!(printer.take_told(), Vec::<String>::new());

    let native = json!({"TransportType": "http", "Path": "/api/v1/job/1", "Method": "PUT", "Request": {"a": 1}});
    let result = api.result("send-command", &native).await;
    assert_eq!((&result["IsError"], &result["Response"]["StatusCode"]), (&json!(false), &json!(204)));
    assert_eq!(printer.take_told(), [r#"PUT /api/v1/job/1{"a":1}"#]);
}

#[tokio::test]
async fn pictures_keep_their_kind_and_are_signed_for() {
    for (lock, options) in [
        (Lock::Key("k"), ObserverOptions { api_key: Some(Secret::new("k")), ..ObserverOptions::default() }),
        (Lock::Users(&["SHA-256"]), login(PASSWORD)),
    ] {
        let printer = FakePrusaLink::start(lock).await;
        let api = api(&printer, options);
        api.watch.until("a camera", |state| state.cameras.len() == 1).await;
        let list = api.result("webcam/list", "").await;
        let url = format!("{}/api/v1/cameras/snap", printer.url);
        let webcam = json!({"Name": "Camera", "FlipH": false, "FlipV": false, "Rotation": 0, "Enabled": true,
            "SnapshotUrl": url, "StreamUrl": null});
        assert_eq!(list["Webcams"], json!([webcam]));
        let picture = api.send("GET", "webcam/snapshot", "app", "").await;
        assert_eq!((picture.status, &picture.body[..]), (200, PICTURE));
        assert_eq!(picture.headers["content-type"], "image/png");
        // A page is no picture, whatever it calls itself.
        for nothing in
            [Reply::Text(204, String::new()), Reply::Text(404, String::new()), Reply::Text(200, "<p>".into())]
        {
            printer.change(|machine| machine.instead = Some(("/api/v1/cameras/", nothing)));
            let failed = api.send("GET", "webcam/snapshot", "app", "").await;
            assert_eq!((failed.status, failed.code()), (502, 502));
        }
    }
    // A stream is made of pictures.
    let (_printer, api) = with_key().await;
    let (status, kind, stream) = api.watch.ask("GET", "/camera/0/stream", "").await;
    assert_eq!((status.as_u16(), kind.as_str()), (200, "multipart/x-mixed-replace; boundary=oestreamboundary"));
    assert!(String::from_utf8_lossy(&stream).contains("Content-Type: image/png\r\n"));
    let printer = FakePrusaLink::start(Lock::Key("goodkey")).await;
    printer.change(|machine| machine.has_camera = false);
    let api = Api::start("prusalink", &printer.url);
    api.watch.until("idle", |state| state.phase == Phase::Idle).await;
    assert_eq!(api.result("webcam/list", "").await["Webcams"], json!([]));
}

#[tokio::test]
async fn nonsense_is_a_problem_and_no_more() {
    let raw = |text: &str| Reply::Raw(text.as_bytes().to_vec());
    for (path, reply, problem) in [
        ("/api/v1/status", Reply::Cut, "does not answer in HTTP"),
        (
            "/api/v1/status",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"printer\":{"),
            "does not answer in HTTP",
        ),
        ("/api/v1/status", Reply::Text(200, r#"{"printer":{"state":"PRI"#.to_owned()), "cannot be understood"),
        ("/api/v1/status", Reply::Text(200, "[1]".to_owned()), "cannot be understood"),
        ("/api/v1/status", Reply::Text(200, "[".repeat(100_000)), "cannot be understood"),
        ("/api/v1/status", Reply::Text(200, r#"{"printer":7}"#.to_owned()), "does not say what the printer does"),
        ("/api/v1/status", Reply::Text(500, "{}".to_owned()), "answers 500"),
        ("/api/v1/status", Reply::Endless, "more than a printer has to say"),
        ("/api/v1/status", Reply::Text(200, format!("{{\"x\":\"{}\"}}", "x".repeat(2_000_000))), "more than a printer"),
        ("/api/v1/job", Reply::Cut, "does not answer in HTTP"),
        ("/api/v1/job", Reply::Text(200, "null".to_owned()), "cannot be understood"),
        ("/api/v1/job", Reply::Text(503, String::new()), "answers 503"),
        ("/", raw("HTTP/1.1 401 X\r\nWWW-Authenticate: Digest realm=\"\u{e4}\", nonce\r\n\r\n"), "does not accept"),
        ("/", raw("SSH-2.0-OpenSSH_9.2\r\n"), "does not answer in HTTP"),
    ] {
        let printer = FakePrusaLink::start(Lock::Key("goodkey")).await;
        let said = problem;
        printer.change(|machine| {
            (machine.printer, machine.job) = ("PRINTING", Some("PRINTING"));
            machine.instead = Some((path, reply));
        });
        let api = Api::start("prusalink", &printer.url);
        let state = api.watch.until("a problem", |state| state.problem.is_some()).await;
        assert!(state.problem.as_ref().unwrap().contains(said), "{state:?}");
        let expected = if said == "does not accept" { 789 } else { 752 };
        assert_eq!((state.phase, api.code("status", "").await), (Phase::Unknown, expected), "{said}");
        assert_eq!(api.code("pause", "").await, expected, "{said}");
        assert_eq!(printer.take_told(), Vec::<String>::new());
        // What was odd once is forgotten when it is not any more.
        printer.change(|machine| machine.instead = None);
        assert_eq!(api.code("pause", "").await, 200, "{said}");
    }
    // Fields of odd types are left out, and odd answers about the printer hide nothing of the print.
    let printer = FakePrusaLink::start(Lock::Key("goodkey")).await;
    printer.change(|machine| machine.instead = Some(("/api/v1/info", Reply::Text(200, "[]".to_owned()))));
    let api = Api::start("prusalink", &printer.url);
    api.watch.until("idle", |state| state.phase == Phase::Idle && state.problem.is_none()).await;
    assert_eq!(api.result("status", "").await["PlatformVersion"], "");
}

#[tokio::test]
async fn nobody_there_has_its_number() {
    let api = Api::start("prusalink", "http://127.0.0.1:1");
    api.watch.until("a problem", |state| state.problem.is_some()).await;
    for (command, body) in [("status", json!({})), ("pause", json!({})), ("start", json!({"Path": "gcode/a"}))] {
        assert_eq!(api.code(command, body).await, 785, "{command}");
    }
}

#[test]
fn passwords_do_not_show_themselves() {
    let options = Arc::new(login("hidden words"));
    assert!(!format!("{options:?}").contains("hidden"), "{options:?}");
}
