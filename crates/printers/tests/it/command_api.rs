//! The command API with OctoPrint: what is answered, and what OctoPrint is told. And what is the same for all.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use model::printing::Phase;
use printers::command_api::{AgentLog, CommandApi, CommandApiOptions};
use printers::observe::ObserverOptions;
use serde_json::{Value, json};
use tokio::time::timeout;
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::{BoxError, PrinterStream};

use crate::client::LONG;
use crate::fake_software::{Head, Reply, http_server};
use crate::observe::Watch;

pub(crate) struct Api {
    pub(crate) watch: Watch,
    commands: CommandApi,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    /// The status inside, which for JSON commands is the only one that counts.
    pub(crate) fn code(&self) -> u64 {
        self.json()["Status"].as_u64().unwrap()
    }
}

struct Log;

impl AgentLog for Log {
    fn text(&self) -> Vec<u8> {
        b"one\ntwo\nthree\n".to_vec()
    }
}

impl Api {
    pub(crate) fn start(software: &str, url: &str) -> Self {
        let options = ObserverOptions { api_key: Some(model::Secret::new("goodkey")), ..ObserverOptions::default() };
        let watch = Watch::start(software, url, options);
        let log: Arc<dyn AgentLog> = Arc::new(Log);
        Self::with(watch, CommandApiOptions { log: Some(log), ..CommandApiOptions::default() })
    }

    pub(crate) fn with(watch: Watch, options: CommandApiOptions) -> Self {
        Self { commands: watch.observer.command_api(options), watch }
    }

    pub(crate) async fn send(&self, method: &str, command: &str, caller: &str, body: &str) -> Answer {
        let uri = format!("http://printer/octoeverywhere-command-api/{command}");
        let request = Request::builder().method(method).uri(uri).header("spoolway-caller", caller);
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let name = command.split('?').next().unwrap();
        let (parts, body) = timeout(LONG, self.commands.answer(name, request)).await.unwrap().into_parts();
        let body = timeout(LONG, body.collect()).await.unwrap().unwrap().to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// Opens the WebSocket for MQTT.
    pub(crate) fn open(&self, caller: &str) -> Result<Opened, Box<Response<ServiceBody>>> {
        let request = Request::builder().header("spoolway-caller", caller).header("sec-websocket-protocol", "mqtt");
        self.commands.open("proxy/mqtt", request.body(()).unwrap().into_parts().0)
    }

    async fn answer(
        &self,
        command: &str,
        body: impl Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    ) -> Response<ServiceBody> {
        let uri = format!("http://printer/octoeverywhere-command-api/{command}");
        let request = Request::post(uri).header("spoolway-caller", "app control full").body(body).unwrap();
        timeout(LONG, self.commands.answer(command.split('?').next().unwrap(), request)).await.unwrap()
    }

    /// Whether the body of an answer arrives to its end.
    pub(crate) async fn gets_whole(&self, command: &str) -> bool {
        let response = self.answer(command, Full::new(Bytes::new())).await;
        assert_eq!(response.status().as_u16(), 200);
        timeout(LONG, response.into_body().collect()).await.unwrap().is_ok()
    }

    /// Sends a file that breaks off in the middle.
    pub(crate) async fn upload_broken(&self, path: &str) -> Value {
        let begun = Ok(Frame::data(Bytes::from("G28\n".repeat(50_000))));
        let body = StreamBody::new(futures_util::stream::iter([begun, Err(BoxError::from("gone"))]));
        let response = self.answer(&format!("files/upload?path={path}"), body).await;
        let body = timeout(LONG, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    /// As an app does it.
    pub(crate) async fn post(&self, command: &str, body: impl ToString) -> Answer {
        let answer = self.send("POST", command, "app control full", &body.to_string()).await;
        if !command.contains("download") && !command.contains("logs") {
            assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"text/json".parse().unwrap()));
        }
        answer
    }

    pub(crate) async fn code(&self, command: &str, body: impl ToString) -> u64 {
        self.post(command, body).await.code()
    }

    /// Asks for `status` until its state is `state`, or until it fails with that number, and gives out what it then says.
    pub(crate) async fn status_until(&self, state: impl Into<Value>) -> Value {
        let state = state.into();
        let asking = async {
            loop {
                let answer = self.post("status", "").await.json();
                if answer["Status"] == state || answer["Result"]["JobStatus"]["State"] == state {
                    return answer["Result"]["JobStatus"].clone();
                }
                // What was seen within the last second is good enough for `status`.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        timeout(LONG, asking).await.unwrap_or_else(|_| panic!("the state never became {state}"))
    }

    pub(crate) async fn result(&self, command: &str, body: impl ToString) -> Value {
        let answer = self.post(command, body).await.json();
        assert_eq!(answer["Status"], 200, "{command}: {answer}");
        answer["Result"].clone()
    }
}

/// The head of the answer, and what is joined with the visitor.
pub(crate) type Opened = (Response<()>, Box<dyn PrinterStream>);

/// An OctoPrint that notes what it is told.
pub(crate) struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn octoprint(flag: Arc<Mutex<&'static str>>) -> (String, Told) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&told);
    let address = http_server(move |head: &Head, body: &str| {
        if !head.has("x-api-key: goodkey\r\n") {
            return Reply::Text(403, "{}".to_owned());
        }
        let ok = |text: &str| Reply::Text(200, text.to_owned());
        let flag = *flag.lock().unwrap();
        if head.method != "GET" && head.path != "/api/login" {
            noting.lock().unwrap().push(format!("{} {} {body}", head.method, head.path));
        }
        match (head.method.as_str(), head.path.as_str()) {
            ("GET", "/api/job") => ok(r#"{"job":{"file":{"name":"cube.gcode"},"filament":{"tool0":{"length":812.7}}},
                "progress":{"completion":42.0,"printTime":10,"printTimeLeft":null},"state":"X"}"#),
            ("GET", "/api/printer?exclude=sd") if flag == "offline" => Reply::Text(409, "{}".to_owned()),
            ("GET", "/api/printer?exclude=sd") => ok(&format!(
                r#"{{"temperature":{{"tool0":{{"actual":200.06,"target":210.0,"offset":0}},"bed":{{"actual":60,"target":60}}}},
                    "state":{{"flags":{{"{flag}":true}}}}}}"#
            )),
            ("GET", "/api/settings") => ok(r#"{"webcam":{"webcams":[{"name":"front/left","rotate90":true,"flipH":true,
                "compat":{"stream":"/webcam/?action=stream"}}]}}"#),
            ("GET", "/api/files/local?recursive=true") => ok(r#"{"files":[{"name":"a.gcode","path":"a.gcode",
                "type":"machinecode","size":5,"date":7},{"name":"f","path":"f","type":"folder","children":[]}]}"#),
            ("GET", "/plugin/logging/logs") => ok(r#"{"files":[{"name":"octoprint.log","size":9,"date":1.5}]}"#),
            ("GET", "/api/files/local/f/a%20b.gcode") => {
                ok(r#"{"size":5,"date":7,"gcodeAnalysis":{"estimatedPrintTime":60}}"#)
            }
            ("GET", "/downloads/files/local/f/a%20b.gcode") => ok("G28\n"),
            ("GET", "/downloads/logs/octoprint.log") => ok("first\nsecond\n"),
            ("GET", "/api/files/local/huge.gcode") => Reply::Endless,
            ("GET", "/api/version") => ok(r#"{"api":"0.1","server":"1.11.8","text":"OctoPrint 1.11.8"}"#),
            ("GET", "/api/native") => ok(r#"{"native":true}"#),
            ("POST", "/api/files/local") => {
                Reply::Text(201, r#"{"files":{"local":{"path":"f/a_b.gcode"}}}"#.to_owned())
            }
            ("POST", "/api/files/local/busy.gcode") => Reply::Text(409, "{}".to_owned()),
            ("POST", "/api/job") if flag == "lying" => Reply::Text(409, "{}".to_owned()),
            ("POST" | "DELETE", path) if !path.contains("missing") => Reply::Text(204, String::new()),
            _ => Reply::Text(404, "{}".to_owned()),
        }
    })
    .await;
    (format!("http://{address}"), Told(told))
}

#[tokio::test]
async fn octoprint_does_what_it_can() {
    let flag = Arc::new(Mutex::new("printing"));
    let (url, told) = octoprint(Arc::clone(&flag)).await;
    let api = Api::start("octoprint", &url);
    api.watch.until("printing", |state| state.phase == Phase::Printing).await;

    assert_eq!(api.result("ping", "").await, json!({"Message": "Pong"}));
    let status = api.result("status", r#"{"includematerialsystem":"1"}"#).await;
    let print = json!({
        "Progress": 42.0, "DurationSec": 10, "TimeLeftSec": null, "FileName": "cube.gcode", "EstTotalFilUsedMm": 812,
        "CurrentLayer": null, "TotalLayers": null,
        "Temps": {"BedActual": 60.0, "BedTarget": 60.0, "HotendActual": 200.1, "HotendTarget": 210.0},
    });
    assert_eq!((&status["JobStatus"]["CurrentPrint"], &status["JobStatus"]["State"]), (&print, &json!("printing")));
    assert_eq!((&status["Features"], &status["ListWebcams"]["DefaultIndex"]), (&json!(32), &json!(0)));
    assert_eq!(status["PlatformVersion"], "1.11.8");
    assert!(status["OctoEverywhereStatus"]["MostRecentPrintIdStr"].is_string(), "{status}");
    assert_eq!(status["JobStatus"]["MaterialSystem"]["Tools"][0]["Id"], "tool-0");
    assert!(status["ListWebcams"]["Webcams"][0].get("StreamUrl").is_none());
    assert!(api.result("status", "{}").await["JobStatus"].get("MaterialSystem").is_none());
    assert_eq!(api.code("status", r#"{"IncludeMaterialSystem":"yes"}"#).await, 400);

    let webcams = api.result("list-webcam", "").await;
    assert_eq!(webcams["Webcams"][0]["Name"], "Frontleft");
    assert_eq!(
        (&webcams["Webcams"][0]["Rotation"], &webcams["Webcams"][0]["SnapshotUrl"]),
        (&json!(270), &json!(null))
    );
    assert_eq!(webcams["Webcams"][0]["StreamUrl"], format!("{url}/webcam/?action=stream"));

    let job = |order: &str| vec![format!("POST /api/job {order}")];
    for (flag_now, command, code, expected) in [
        ("ready", "pause", 786, vec![]),
        ("ready", "resume", 786, vec![]),
        ("ready", "cancel", 786, vec![]),
        ("paused", "pause", 786, vec![]),
        ("printing", "resume", 786, vec![]),
        ("printing", "pause", 200, job(r#"{"action":"pause","command":"pause"}"#)),
        ("paused", "resume", 200, job(r#"{"action":"resume","command":"pause"}"#)),
        ("paused", "cancel", 200, job(r#"{"command":"cancel"}"#)),
        ("printing", "cancel", 200, job(r#"{"command":"cancel"}"#)),
        ("offline", "pause", 785, vec![]),
        ("offline", "status", 785, vec![]),
    ] {
        *flag.lock().unwrap() = flag_now;
        match flag_now {
            "offline" => api.status_until(785).await,
            // It was printing before, and did not come to the end.
            "ready" => api.status_until("cancelled").await,
            other => api.status_until(other).await,
        };
        assert_eq!(api.code(command, "").await, code, "{command} while {flag_now}");
        assert_eq!(told.take(), expected, "{command} while {flag_now}");
    }
    *flag.lock().unwrap() = "ready";
    // What follows is refused for its own sake, and not because the printer was offline just now.
    api.status_until(200).await;
    for (command, body, code) in [
        ("set-light", json!({"Name": "x", "On": true}), 788),
        ("move-axis", json!({"Axis": "X", "DistanceMm": 1}), 788),
        ("move-axis", json!({"Axis": "Q", "DistanceMm": 1}), 400),
        ("home", json!({}), 788),
        ("extrude", json!({"Extruder": 0, "DistanceMm": 1}), 788),
        ("set-temp", json!({"BedC": 60}), 788),
        ("proxy/mqtt", json!({}), 400),
        ("dance", json!({}), 754),
        ("start", json!({}), 400),
        ("start", json!({"Path": "gcode"}), 400),
        ("start", json!({"Path": "logs/x.log"}), 400),
        ("start", json!({"Path": "gcode/busy.gcode"}), 786),
        ("start", json!({"Path": "gcode/missing.gcode"}), 404),
    ] {
        assert_eq!(api.code(command, &body).await, code, "{command} {body}");
    }
    told.take();
    let started = api.result("start?file=gcode/f/a b.gcode".replace(' ', "%20").as_str(), "").await;
    assert_eq!(started, json!({"VirtualPath": "gcode/f/a b.gcode", "PlatformPath": "f/a b.gcode"}));
    assert_eq!(told.take(), [r#"POST /api/files/local/f/a%20b.gcode {"command":"select","print":true}"#]);
}

#[tokio::test]
async fn octoprints_files_go_both_ways() {
    let (url, told) = octoprint(Arc::new(Mutex::new("ready"))).await;
    let api = Api::start("octoprint", &url);
    api.watch.until("idle", |state| state.problem.is_none() && state.phase != Phase::Unknown).await;

    let list = api.result("files/list", "").await;
    let names: Vec<_> = list["Root"].as_array().unwrap().iter().map(|root| root["Name"].clone()).collect();
    assert_eq!(names, ["gcode", "logs"]);
    assert_eq!(list["Root"][0]["Children"][1]["VirtualPath"], "gcode/a.gcode");
    let gcode = api.result("files/list?path=gcodes/f", "").await;
    assert_eq!(gcode["Root"].as_array().unwrap().len(), 1);
    assert_eq!((api.code("files/list?root=etc", "").await, api.code("files/list?root=config", "").await), (400, 400));

    let details = api.result("files/details", json!({"path": "gcode/f/a b.gcode"})).await;
    assert_eq!((&details["FileName"], &details["EstPrintTimeSec"]), (&json!("a b.gcode"), &json!(60.0)));
    assert_eq!(api.code("files/details", json!({"path": "gcode/huge.gcode"})).await, 752, "endless JSON");

    let upload = api.send("PUT", "files/upload?path=gcode/f/a%22b.gcode", "app control", "G28\n").await.json();
    let stored = json!({"VirtualPath": "gcode/f/a_b.gcode", "PlatformPath": "f/a_b.gcode", "SizeBytes": 4,
        "PrinterResponse": {"files": {"local": {"path": "f/a_b.gcode"}}}});
    assert_eq!((&upload["Status"], &upload["Result"]), (&json!(200), &stored), "{upload}");
    let sent = told.take().concat();
    for part in
        ["POST /api/files/local ", "name=\"path\"\r\n\r\nf\r\n", "filename=\"a%22b.gcode\"", "\r\n\r\nG28\n\r\n--"]
    {
        assert!(sent.contains(part), "{part:?} in {sent:?}");
    }
    for (query, body) in
        [("", "x"), ("?path=", "x"), ("?path=gcode", "x"), ("?path=logs/x", "x"), ("?path=gcode/x", "")]
    {
        let refused = api.send("POST", &format!("files/upload{query}"), "app control", body).await;
        assert_eq!(refused.code(), 400, "{query}");
    }
    assert_eq!(told.take(), Vec::<String>::new());

    let download = api.send("GET", "files/download?path=gcode/f/a+b.gcode", "app", "").await;
    assert_eq!((download.status, &download.body[..]), (200, &b"G28\n"[..]));
    assert_eq!(download.headers["content-length"], "4");
    assert_eq!(download.headers["content-disposition"], "attachment; filename*=UTF-8''a%20b.gcode");
    let missing = api.send("GET", "files/download?path=gcode/no.gcode", "app", "").await;
    assert_eq!((missing.status, missing.code()), (404, 404));

    let deleted = api.result("files/delete", json!({"path": "logs/x.log"})).await;
    assert_eq!(deleted, json!({"VirtualPath": "logs/x.log", "PlatformPath": "x.log"}));
    assert_eq!(api.code("files/delete", json!({"path": "gcode/missing"})).await, 404);
    assert_eq!(told.take(), ["DELETE /plugin/logging/logs/x.log ", "DELETE /api/files/local/missing "]);

    let log = api.send("GET", "get-plugin-logs?tail-lines=1", "owner", "").await;
    assert_eq!((log.status, &log.body[..]), (200, &b"second\n"[..]));
    assert_eq!(log.headers["content-disposition"], "attachment; filename=\"octoprint.log\"");
}

#[tokio::test]
async fn paths_of_files_never_lead_out() {
    let (url, told) = octoprint(Arc::new(Mutex::new("ready"))).await;
    let api = Api::start("octoprint", &url);
    api.watch.until("idle", |state| state.problem.is_none() && state.phase != Phase::Unknown).await;
    let long = format!("gcode/{}", "a".repeat(4096));
    for path in [
        "..",
        "gcode/..",
        "gcode/../x",
        "gcode/a/../../x",
        "gcode/%2e%2e/x",
        "gcode\\..\\x",
        "/etc/passwd",
        "gcode/a\0b",
        "gcode/a%00b",
        "gcode/a%2f..%2fb",
        "",
        "gcode",
        long.as_str(),
    ] {
        for command in ["files/details", "files/delete", "files/download", "start"] {
            let answer = api.send("POST", command, "app control", &json!({"path": path}).to_string()).await;
            assert_eq!(answer.code(), 400, "{command} {path:?}");
        }
    }
    for path in [json!(7), json!(null), json!([]), json!({"a": 1})] {
        assert_eq!(api.code("files/delete", json!({"path": path})).await, 400, "{path}");
    }
    assert_eq!(told.take(), Vec::<String>::new());
}

#[tokio::test]
async fn arguments_methods_and_rights_are_checked_before_anything_happens() {
    let flag = Arc::new(Mutex::new("printing"));
    let (url, told) = octoprint(Arc::clone(&flag)).await;
    let api = Api::start("octoprint", &url);
    api.watch.until("printing", |state| state.phase == Phase::Printing).await;
    for body in ["{", "[]", "\"x\"", "null", &"[".repeat(100_000)] {
        assert_eq!(api.code("pause", body).await, 751, "{body:.9}");
        assert_eq!(api.code("dance", body).await, 751, "{body:.9}");
    }
    assert_eq!(api.code("pause", format!("{{\"x\":\"{}\"}}", "x".repeat(300_000))).await, 400);
    for body in [
        json!({"SmartPause": "true"}),
        json!({"DisableBed": 1}),
        json!({"ZLiftMm": -1}),
        json!({"RetractFilamentMm": 1e9}),
        json!({"SuppressNotification": "no"}),
    ] {
        assert_eq!(api.code("pause", &body).await, 400, "{body}");
    }
    for (method, command, caller, code) in [
        ("GET", "pause", "shared control", 400),
        ("GET", "pause", "owner control full", 400),
        ("PUT", "pause", "app control", 400),
        ("DELETE", "pause", "app control", 400),
        ("POST", "pause", "app", 403),
        ("POST", "pause", "", 403),
        ("GET", "cancel", "app", 403),
        ("POST", "rekey", "owner control full", 403),
        ("GET", "get-connection-info", "app control", 403),
        ("POST", "send-command", "app control", 403),
        ("GET", "get-local-plugin-webcam-items", "shared control", 403),
    ] {
        let answer = api.send(method, command, caller, "").await;
        assert_eq!((answer.status, answer.code()), (200, code), "{method} {command} by {caller:?}");
    }
    assert_eq!(told.take(), Vec::<String>::new());
    // Raw commands tell it on the outside too.
    let refused = api.send("GET", "get-plugin-logs", "shared control", "").await;
    assert_eq!((refused.status, refused.code()), (403, 403));
    assert_eq!(api.send("GET", "pause", "app control", "").await.code(), 200);
    assert_eq!(told.take().len(), 1);
    let head = api.send("HEAD", "ping", "app", "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let owner = api.send("GET", "get-connection-info", "owner control full", "").await.json();
    assert_eq!((&owner["Result"]["LocalIp"], &owner["Result"]["ApiKey"]), (&json!("127.0.0.1"), &json!("••••••••")));
}

#[tokio::test]
async fn a_pause_is_told_to_people_unless_somebody_knows_of_it() {
    for (body, is_quiet) in [
        ("", true),
        ("{}", false),
        (r#"{"SmartPause":true}"#, true),
        (r#"{"SmartPause":true,"SuppressNotification":false}"#, false),
        (r#"{"SuppressNotification":true}"#, true),
    ] {
        let flag = Arc::new(Mutex::new("printing"));
        let (url, told) = octoprint(Arc::clone(&flag)).await;
        let api = Api::start("octoprint", &url);
        api.watch.until("printing", |state| state.phase == Phase::Printing).await;
        assert_eq!(api.code("pause", body).await, 200);
        *flag.lock().unwrap() = "paused";
        let state = api.watch.until("paused", |state| state.phase == Phase::Paused).await;
        assert_eq!(state.pause_is_quiet, is_quiet, "{body}");
        let is_smart = body.contains("Smart");
        let cooled = r#"POST /api/printer/command {"commands":["M104 T0 S150"]}"#;
        crate::client::eventually("the hot end is told", || async { !is_smart || told.0.lock().unwrap().len() > 1 })
            .await;
        assert_eq!(told.take().iter().any(|message| message == cooled), is_smart, "{body}");
        if is_smart {
            assert_eq!(api.code("resume", "").await, 200);
            let expected = [
                r#"POST /api/printer/command {"commands":["M109 T0 S210"]}"#,
                r#"POST /api/job {"action":"resume","command":"pause"}"#,
            ];
            assert_eq!(told.take(), expected);
        }
    }
}

#[tokio::test]
async fn native_messages_reach_octoprint_and_no_other_host() {
    let (url, told) = octoprint(Arc::new(Mutex::new("ready"))).await;
    let api = Api::start("octoprint", &url);
    api.watch.until("idle", |state| state.problem.is_none() && state.phase != Phase::Unknown).await;
    let command = json!({"TransportType": "http", "Path": "/api/native", "Request": {}});
    let result = api.result("send-command", &command).await;
    assert_eq!((&result["IsError"], &result["Response"]["StatusCode"]), (&json!(false), &json!(200)));
    assert_eq!((&result["Response"]["BodyAsJson"], &result["TimeoutSec"]), (&json!({"native": true}), &json!(10)));
    let command = json!({"TransportType": "http", "Path": "/api/missing", "Method": "POST", "Request": {"a": 1}});
    let result = api.result("send-command", &command).await;
    assert_eq!((&result["IsError"], &result["Response"]["StatusCode"]), (&json!(true), &json!(404)));
    assert_eq!(told.take(), [r#"POST /api/missing {"a":1}"#]);
    for (change, code) in [
        (json!({"TransportType": "mqtt"}), 788),
        (json!({"Path": "//elsewhere.example/"}), 400),
        (json!({"Path": "http://elsewhere.example/"}), 400),
        (json!({"TimeoutSec": 0}), 400),
    ] {
        let mut command = json!({"TransportType": "http", "Path": "/api/native", "Request": {}});
        command.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(api.code("send-command", &command).await, code, "{change}");
    }
}

#[tokio::test]
async fn credentials_and_silence_have_their_numbers() {
    let (url, _) = octoprint(Arc::new(Mutex::new("ready"))).await;
    let wrong = Watch::start("octoprint", &url, ObserverOptions::default());
    wrong.until("a problem", |state| state.problem.is_some()).await;
    let api = Api::with(wrong, CommandApiOptions::default());
    for command in ["status", "pause", "files/list"] {
        assert_eq!(api.code(command, "").await, 789, "{command}");
    }
    assert_eq!(api.code("start", json!({"Path": "gcode/a"})).await, 789);
    let log = api.send("GET", "get-plugin-logs", "app", "").await;
    assert_eq!((log.status, log.code()), (400, 789), "HTTP has no such number");
    let nobody = Api::start("octoprint", "http://127.0.0.1:1");
    nobody.watch.until("a problem", |state| state.problem.is_some()).await;
    assert_eq!((nobody.code("status", "").await, nobody.code("files/list", "").await), (785, 785));
    let unknown = Api::start("unknown", "http://127.0.0.1:1");
    unknown.watch.until("a problem", |state| state.problem.is_some() || state.phase == Phase::Unknown).await;
    assert_eq!((unknown.code("ping", "").await, unknown.code("status", "").await), (200, 785));
    let log = unknown.send("GET", "get-plugin-logs?lines=2", "app", "").await;
    assert_eq!((log.status, &log.body[..]), (200, &b"two\nthree\n"[..]));
}
