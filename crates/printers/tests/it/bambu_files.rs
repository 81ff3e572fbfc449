//! Bambu Lab's printers: files and cameras.

use std::sync::Arc;

use model::printing::Phase;
use serde_json::{Value, json};

use crate::bambu::connected;
use crate::client::{LONG, eventually};
use crate::command_api::Api;
use crate::fake_bambu::{FakeBambu, Mishap, Script, frame, picture};

fn with_files(printer: &FakeBambu) {
    printer.change(|printer| {
        for (path, size) in [
            ("/a.3mf", 10),
            ("/b c.gcode", 20),
            ("/notes.txt", 1),
            ("/cache/x.bgcode", 30),
            ("/cache/deep/y.3mf", 40),
            ("/timelapse/z.3mf", 50),
            ("/Logger/z.gcode", 50),
            ("/cache/image/i.3mf", 60),
        ] {
            printer.files.insert(path.to_owned(), vec![7; size]);
        }
    });
}

#[tokio::test]
async fn files_are_listed_both_ways() {
    let (printer, api) = connected().await;
    with_files(&printer);
    let file = |path: &str, size: u64| {
        let name = path.rsplit('/').next().unwrap();
        json!({"Type": "file", "Name": name, "VirtualPath": format!("gcode{path}"), "PlatformPath": path,
            "SizeBytes": size, "ModifiedTimeSec": 1_704_164_645.0, "Permissions": null})
    };
    let folder = |path: &str, children: Value| {
        let name = path.rsplit('/').next().unwrap();
        json!({"Type": "folder", "Name": name, "VirtualPath": format!("gcode{path}"), "Children": children})
    };
    let expected = json!([folder(
        "",
        json!([
            folder(
                "/cache",
                json!([
                    folder("/cache/deep", json!([file("/cache/deep/y.3mf", 40)])),
                    folder("/cache/image", json!([file("/cache/image/i.3mf", 60)])),
                    file("/cache/x.bgcode", 30),
                ])
            ),
            file("/a.3mf", 10),
            file("/b c.gcode", 20),
        ])
    )]);
    let mut listed = api.result("files/list", "").await["Root"].clone();
    listed[0]["Name"] = json!("");
    assert_eq!(listed, expected);
    printer.change(|printer| printer.knows_mlsd = false);
    // Lists for people have days and no times.
    let listed = api.result("files/list", json!({"root": "gcodes"})).await["Root"].clone();
    assert_eq!(listed[0]["Children"][1]["SizeBytes"], 10);
    assert_eq!(listed[0]["Children"][0]["Children"].as_array().unwrap().len(), 3);
    assert_eq!(api.code("files/list", json!({"root": "logs"})).await, 400);
    // Every data channel went on with a session.
    let (resumed, not) = printer.change(|printer| printer.resumed);
    assert!(resumed >= 6 && not == 0, "{resumed} {not}");
}

#[tokio::test]
async fn data_channels_go_on_with_the_session_in_both_versions_of_tls() {
    let printer = FakeBambu::start().await;
    with_files(&printer);
    printer.change_certificate(&[&rustls::version::TLS13]);
    let api = crate::bambu::api(&printer, printer.options());
    api.watch.until("idle", |state| state.phase == Phase::Idle).await;
    for _ in 0..3 {
        assert_eq!(api.code("files/list", "").await, 200);
    }
    let (resumed, not) = printer.change(|printer| printer.resumed);
    assert!(resumed >= 9 && not == 0, "{resumed} {not}");
}

async fn upload(api: &Api, path: &str, body: &str) -> Value {
    api.send("POST", &format!("files/upload?path={path}"), "app control full", body).await.json()
}

#[tokio::test]
async fn files_go_both_ways() {
    let (printer, api) = connected().await;
    let contents = "G28\n".repeat(100_000);
    for path in ["new/part 1.gcode", "odd.gcode"] {
        let stored = upload(&api, &format!("gcode/{}", path.replace(' ', "%20")), &contents).await;
        let own = format!("/{path}");
        assert_eq!(
            stored["Result"],
            json!({"VirtualPath": format!("gcode/{path}"), "PlatformPath": own, "SizeBytes": 400_000})
        );
        assert!(printer.change(|printer| printer.files[&own] == contents.as_bytes()));
        let got = api.post("files/download", json!({"path": format!("gcode/{path}")})).await;
        assert_eq!((got.status, &got.headers["content-length"]), (200, &"400000".parse().unwrap()));
        assert!(got.body == contents, "{}", got.body.len());
        let details = api.result("files/details", json!({"path": format!("gcode/{path}")})).await;
        let name = path.rsplit('/').next().unwrap();
        assert_eq!(
            details,
            json!({"VirtualPath": format!("gcode/{path}"), "PlatformPath": own, "FileName": name,
            "SizeBytes": 400_000, "ModifiedTimeSec": 1_704_164_645.0})
        );
        let removed = api.result("files/delete", json!({"path": format!("gcode/{path}")})).await;
        assert_eq!(removed, json!({"VirtualPath": format!("gcode/{path}"), "PlatformPath": own}));
        for command in ["files/details", "files/delete"] {
            assert_eq!(api.code(command, json!({"path": format!("gcode/{path}")})).await, 404, "{command}");
        }
        let gone = api.post("files/download", json!({"path": format!("gcode/{path}")})).await;
        assert_eq!((gone.status, gone.code()), (404, 404));
    }
    for path in [
        "gcode/../x.3mf",
        "gcode/%252e%252e/x.3mf",
        "gcode%5C..%5Cx.3mf",
        "gcode",
        "logs/x.3mf",
        "etc/x.3mf",
        "gcode/a%0Ab.3mf",
    ] {
        assert_eq!(upload(&api, path, "G28").await["Status"], 400, "{path}");
    }
    assert_eq!(upload(&api, "gcode/x.3mf", "").await["Status"], 400, "an empty file is none");
    assert!(printer.change(|printer| printer.files.is_empty()));
}

#[tokio::test]
async fn what_goes_wrong_with_files_has_its_number() {
    let (printer, api) = connected().await;
    with_files(&printer);
    printer.change(|printer| printer.file_code = "another");
    let path = json!({"path": "gcode/a.3mf"});
    for command in ["files/list", "files/details", "files/delete"] {
        assert_eq!(api.code(command, &path).await, 789, "{command}");
    }
    let refused = api.post("files/download", &path).await;
    assert_eq!((refused.status, refused.code()), (400, 789));
    assert_eq!(upload(&api, "gcode/n.3mf", "G28").await["Status"], 789);
    printer.change(|printer| printer.file_code = crate::fake_bambu::CODE);

    for (mishap, command, code) in [
        (Mishap::Busy, "files/list", 785),
        (Mishap::Nonsense, "files/list", 752),
        (Mishap::Endless, "files/list", 752),
        (Mishap::Full, "files/upload", 752),
    ] {
        printer.change(|printer| printer.mishap = Some(mishap));
        let answer = match command {
            "files/upload" => upload(&api, "gcode/n.3mf", "G28").await,
            command => api.post(command, "").await.json(),
        };
        assert_eq!(answer["Status"], code, "{mishap:?}: {answer}");
    }
    // A file that breaks off is no whole file.
    printer.change(|printer| printer.files.insert("/a.3mf".to_owned(), vec![7; 300_000]));
    for mishap in [Mishap::BreaksOff, Mishap::Lies, Mishap::HangsUp] {
        printer.change(|printer| printer.mishap = Some(mishap));
        assert!(!api.gets_whole("files/download?path=gcode/a.3mf").await, "{mishap:?}");
    }
    printer.change(|printer| printer.mishap = None);
    assert!(api.gets_whole("files/download?path=gcode/a.3mf").await);
}

#[tokio::test]
async fn what_breaks_off_on_its_way_to_the_printer_is_removed() {
    let (printer, api) = connected().await;
    let answer = api.upload_broken("gcode/half.3mf").await;
    assert_eq!(answer["Status"], 400, "{answer}");
    eventually("removed", || async { printer.change(|printer| printer.files.is_empty()) }).await;
    assert!(printer.change(|printer| printer.resumed.0) > 0);
}

async fn still(api: &Api) -> (u16, Vec<u8>) {
    let answer = api.send("GET", "webcam/snapshot", "app", "").await;
    (answer.status, answer.body.to_vec())
}

#[tokio::test]
async fn the_camera_is_captured_once_for_all() {
    let (printer, api) = connected().await;
    let (one, two) = tokio::join!(still(&api), still(&api));
    for (status, body) in [one, two] {
        assert_eq!(status, 200);
        assert!(body.starts_with(&[0xff, 0xd8, 0xff, 0xe0]) && body.ends_with(&[0xff, 0xd9]), "{body:?}");
    }
    assert_eq!(printer.change(|printer| printer.n_captures), 1);
    let list = api.result("webcam/list", "").await;
    assert_eq!(list["Webcams"][0]["Name"], "Chamber");
    assert_eq!(list["Webcams"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_camera_that_sends_no_pictures_is_given_up() {
    let (printer, api) = connected().await;
    let good = picture(1);
    for (what, script) in [
        ("hangs up", Script::Bytes(vec![])),
        ("half a header", Script::Bytes(vec![20, 0, 0])),
        ("half a picture", Script::Bytes(frame(good.len(), &good)[..20].to_vec())),
        ("too large", Script::Then(frame(8 * 1024 * 1024 + 1, &good))),
        ("no length", Script::Then(frame(0, &good))),
        ("no picture", Script::Then(frame(20, b"<html>no picture</html>"))),
        ("wrong length", Script::Then(frame(good.len() - 1, &good))),
        ("silent", Script::Then(vec![])),
    ] {
        printer.change(|printer| printer.camera = script);
        let (status, body) = still(&api).await;
        assert_eq!(status, 502, "{what}: {}", String::from_utf8_lossy(&body));
    }
}

#[tokio::test]
async fn a_camera_that_breaks_off_is_captured_again() {
    let (printer, api) = connected().await;
    printer.change(|printer| printer.camera = Script::Bytes(frame(picture(1).len(), &picture(1))));
    let watch = Arc::new(api.watch);
    let watching = Arc::clone(&watch);
    // Two pictures of a stream: they come of two captures.
    let stream = tokio::spawn(async move { watching.ask("GET", "/camera/0/stream", "").await.0.as_u16() });
    eventually("again", || async { printer.change(|printer| printer.n_captures) >= 2 }).await;
    assert_eq!(tokio::time::timeout(LONG, stream).await.unwrap().unwrap(), 200);
}

#[tokio::test]
async fn the_address_of_a_camera_that_speaks_rtsp_has_no_code_in_it() {
    let (printer, api) = connected().await;
    for (told, listed) in [
        ("rtsps://10.0.0.9:322/streaming/live/1", "rtsps://127.0.0.1:322/streaming/live/1"),
        ("rtsps://a:b@evil.example/x?y=1", "rtsps://127.0.0.1/x?y=1"),
        ("disable", "wss://127.0.0.1"),
        ("file:///etc/passwd", "wss://127.0.0.1"),
        ("", "wss://127.0.0.1"),
    ] {
        printer.report(json!({"ipcam": {"rtsp_url": told}}));
        eventually(told, || async {
            let list = api.result("webcam/list", "").await;
            assert!(!list.to_string().contains(crate::fake_bambu::CODE));
            list["Webcams"][0]["StreamUrl"].as_str().unwrap().starts_with(listed)
        })
        .await;
    }
}
