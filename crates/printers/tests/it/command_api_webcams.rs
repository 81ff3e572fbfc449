//! Cameras over the command API.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use model::printing::Phase;
use printers::command_api::{CommandApiOptions, WebcamMemory};
use printers::observe::ObserverOptions;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::LONG;
use crate::command_api::Api;
use crate::fake_software::{Reply, http_server};
use crate::observe::Watch;

const FRONT: &[u8] = &[0xff, 0xd8, 0xff, 0xe1, 1, 0xff, 0xd9];
const SIDE: &[u8] = &[0xff, 0xd8, 0xff, 0xe1, 2, 0xff, 0xd9];
/// As some cameras send it: their first segment is no JFIF header.
const BROKEN: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 0, 4, 0, 0, 0xff, 0xdb, 3, 0xff, 0xd9];

async fn octoprint(webcams: &'static str) -> String {
    let address = http_server(move |head, _| match head.path.as_str() {
        "/api/job" => Reply::Text(200, r#"{"state":"Operational"}"#.to_owned()),
        "/api/printer?exclude=sd" => Reply::Text(200, "{}".to_owned()),
        "/api/settings" => Reply::Text(200, format!(r#"{{"webcam":{{"webcams":[{webcams}]}}}}"#)),
        "/front" => Reply::Picture(FRONT.to_vec()),
        "/side" => Reply::Picture(SIDE.to_vec()),
        "/broken" => Reply::Picture(BROKEN.to_vec()),
        "/stream" => Reply::Stream([&b"--odd one\r\n\r\n"[..], SIDE, b"\r\n"].concat()),
        _ => Reply::Text(404, String::new()),
    })
    .await;
    format!("http://{address}")
}

async fn ready(api: &Api) {
    api.watch.until("idle", |state| state.problem.is_none() && state.phase != Phase::Unknown).await;
}

async fn picture(api: &Api, query: &str) -> (u16, String, Bytes) {
    let answer = api.send("GET", &format!("webcam/snapshot{query}"), "app", "").await;
    let transform = answer.headers.get("x-oe-webcam-transform").map_or("", |value| value.to_str().unwrap()).to_owned();
    (answer.status, transform, answer.body)
}

#[tokio::test]
async fn pictures_are_taken_by_index() {
    let url = octoprint(
        r#"{"name":"front","compat":{"snapshot":"/front"}},
           {"name":"side","flipH":true,"rotate90":true,"compat":{"snapshot":"/side","stream":"/stream"}},
           {"name":"old","compat":{"snapshot":"/broken"}},{"name":"dead","compat":{"snapshot":"/none"}}"#,
    )
    .await;
    let api = Api::start("octoprint", &url);
    ready(&api).await;
    for (query, transform, expected) in [
        ("", "none", FRONT),
        ("?index=1", "fliph rotate=270 ", SIDE),
        ("?Index=1", "fliph rotate=270 ", SIDE),
        ("?index=99", "none", FRONT),
    ] {
        let (status, seen, body) = picture(&api, query).await;
        assert_eq!((status, seen.as_str(), &body[..]), (200, transform, expected), "{query}");
    }
    let (_, _, repaired) = picture(&api, "?index=2").await;
    assert_eq!(&repaired[..11], b"\xff\xd8\xff\xe0\x00\x10JFIF\0");
    let refused = api.send("GET", "webcam/snapshot?index=-1", "app", "").await;
    assert_eq!((refused.status, refused.code()), (400, 400));
    // To the service, a camera that gives nothing is a printer that does not answer.
    let dead = api.send("GET", "webcam/snapshot?index=3", "app", "").await;
    assert_eq!(dead.headers["spoolway-agent-failure"], "target-unreachable");

    let request = Request::get("http://printer/octoeverywhere-command-api/webcam/stream?index=1");
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let commands = api.watch.observer.command_api(CommandApiOptions::default());
    let mut response = timeout(LONG, commands.answer("webcam/stream", request)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "multipart/x-mixed-replace; boundary=oestreamboundary");
    assert_eq!(response.headers()["x-oe-webcam-transform"], "fliph rotate=270 ");
    let first = timeout(LONG, response.body_mut().frame()).await.unwrap().unwrap().unwrap().into_data().unwrap();
    let part = [b"Content-Type: image/jpeg\r\nContent-Length: 7\r\n\r\n", SIDE, b"\r\n--oestreamboundary\r\n"].concat();
    assert_eq!(first, [b"--oestreamboundary\r\n", &part[..], &part[..]].concat(), "the first picture twice");
}

#[tokio::test]
async fn a_printer_without_a_camera_has_no_picture() {
    let url = octoprint("").await;
    let api = Api::start("octoprint", &url);
    ready(&api).await;
    for command in ["webcam/snapshot", "webcam/stream"] {
        let answer = api.send("GET", command, "app", "").await;
        assert_eq!(answer.headers["spoolway-agent-failure"], "target-unreachable", "{command}");
    }
}

#[tokio::test]
async fn the_owner_adds_cameras_and_chooses_the_default() {
    let url = octoprint(r#"{"name":"front","compat":{"snapshot":"/front"}}"#).await;
    let directory = tempfile::tempdir().unwrap();
    let memory = WebcamMemory { path: Some(directory.path().join("webcams.json")) };
    let options = ObserverOptions { api_key: Some(model::Secret::new("k")), ..ObserverOptions::default() };
    let watch = Watch::start("octoprint", &url, options);
    let options = CommandApiOptions { webcams: memory, log: None };
    let api = Api::with(watch, options.clone());
    ready(&api).await;
    let item = |change: Value| {
        let mut item = json!({"Name": "side", "FlipH": false, "FlipV": true, "Rotation": 180, "Enabled": true,
            "SnapshotUrl": "/side", "StreamUrl": ""});
        item.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        item
    };
    let set = json!({"LocalPluginWebcams": [item(json!({})), item(json!({"Enabled": false}))]});
    assert_eq!(api.post("set-local-plugin-webcam-items", &set).await.code(), 200);
    api.watch.until("a second camera", |state| state.cameras.len() == 2).await;
    for bad in [
        json!({}),
        json!({"LocalPluginWebcams": {}}),
        json!({"LocalPluginWebcams": [item(json!({"SnapshotUrl": "http://192.168.0.1/"}))]}),
        json!({"LocalPluginWebcams": [item(json!({"SnapshotUrl": "file:///etc/passwd"}))]}),
    ] {
        assert_eq!(api.post("set-local-plugin-webcam-items", &bad).await.code(), 400, "{bad}");
    }
    let kept = api.post("get-local-plugin-webcam-items", "").await.json();
    assert_eq!(kept["Result"]["LocalPluginWebcams"].as_array().unwrap().len(), 2);
    assert_eq!(picture(&api, "").await.2, FRONT);
    assert_eq!(api.post("set-default-webcam", json!({"Name": "SIDE"})).await.code(), 200);
    assert_eq!(api.post("set-default-webcam", "{}").await.code(), 400);
    let (_, transform, body) = picture(&api, "").await;
    assert_eq!((transform.as_str(), &body[..]), ("flipv rotate=180 ", SIDE));
    let list = api.post("webcam/list", "").await.json()["Result"].clone();
    assert_eq!((&list["DefaultIndex"], &list["Webcams"][1]["Name"]), (&json!(1), &json!("Side")));

    let again = Watch::start("octoprint", &url, ObserverOptions::default());
    let again = Api::with(again, options);
    ready(&again).await;
    assert_eq!(picture(&again, "").await.2, SIDE, "it survives a restart");
}
