//! What the observer makes of printers' software, and what it answers the service.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use model::Secret;
use model::link::PrinterStatus;
use model::printing::{Phase, PrinterCommand, PrinterState};
use printers::PrinterUrl;
use printers::observe::{Observer, ObserverOptions};
use printers::virtual_printer::{PrintSpeed, VirtualPrinter, VirtualPrinterOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tunnel::agent_services::AgentServices;

use crate::client::{LONG, send};
use crate::fake_software::{FakeMoonraker, FakeOctoPrint, Reply, http_server};

/// An observer at work.
pub(crate) struct Watch {
    pub(crate) observer: Observer,
    status: watch::Sender<PrinterStatus>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(software: &str, url: &str, options: ObserverOptions) -> Self {
        let target: PrinterUrl = url.parse().unwrap();
        let (status, watched) =
            watch::channel(PrinterStatus { software: software.to_owned(), ..PrinterStatus::default() });
        let observer = Observer::new(target, &tls(), watched, options).unwrap();
        let running = observer.clone();
        Self { observer, status, task: tokio::spawn(async move { running.run().await }) }
    }

    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&PrinterState) -> bool) -> PrinterState {
        let mut state = self.observer.state();
        let found = timeout(LONG, state.wait_for(|state| wanted(state))).await;
        match found {
            Ok(found) => found.unwrap().clone(),
            Err(_) => panic!("never: {what}; it is {:?}", self.observer.state().borrow()),
        }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (StatusCode, String, Bytes) {
        let request = Request::builder().method(method).uri(format!("http://spoolway-agent{path}"));
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let response = timeout(LONG, self.observer.answer(request)).await.unwrap();
        let (head, body) = response.into_parts();
        let kind = head.headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
        let mut read = Vec::new();
        let mut body = body;
        // Streams have no end; a few pictures of one are enough.
        while read.len() < 200_000
            && let Some(frame) = timeout(LONG, body.frame()).await.unwrap()
        {
            let Ok(frame) = frame else { break };
            read.extend_from_slice(&frame.into_data().unwrap_or_default());
            if kind.starts_with("multipart")
                && read.windows(3).filter(|window| matches!(window, [0xff, 0xd8, 0xff] | [b'P', b'N', b'G'])).count()
                    > 1
            {
                break;
            }
        }
        (head.status, kind, read.into())
    }

    pub(crate) async fn status_of(&self, method: &str, path: &str) -> u16 {
        self.ask(method, path, "").await.0.as_u16()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn tls() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}

fn key(text: &str) -> ObserverOptions {
    ObserverOptions { api_key: Some(Secret::new(text)), ..ObserverOptions::default() }
}

#[tokio::test]
async fn the_virtual_printer_is_followed_and_told_what_to_do() {
    let options = VirtualPrinterOptions { speed: PrintSpeed::BytesPerSecond(100), ..VirtualPrinterOptions::default() };
    let printer = VirtualPrinter::start(options).await.unwrap();
    let watch = Watch::start("virtual", &printer.url().to_string(), ObserverOptions::default());
    let idle = watch.until("idle", |state| state.phase == Phase::Idle).await;
    assert_eq!((idle.light, idle.commands, idle.cameras.len()), (Some(false), vec![PrinterCommand::LightOn], 1));
    assert_eq!(watch.status_of("POST", "/command/pause").await, 409);

    assert_eq!(watch.status_of("POST", "/command/light_on").await, 204);
    watch.until("light", |state| state.light == Some(true)).await;

    let gcode = "G1 X1 Y1 ;\n".repeat(1000);
    send(printer.address(), Request::put("/api/files/a.gcode"), gcode).await;
    send(printer.address(), Request::post("/api/job"), r#"{"command":"start","file":"a.gcode"}"#).await;
    let state = watch.until("printing", |state| state.phase == Phase::Printing).await;
    assert_eq!((state.file.as_deref(), state.total_layers, state.layer), (Some("a.gcode"), Some(5), Some(1)));
    assert!(state.temperatures.iter().any(|heater| heater.name == "hotend" && heater.target == 210.0));
    let print = state.print_id.unwrap();
    assert_eq!(watch.status_of("POST", "/command/resume").await, 409);
    assert_eq!(watch.status_of("POST", "/command/pause").await, 204);
    let paused = watch.until("paused", |state| state.phase == Phase::Paused).await;
    assert_eq!(paused.print_id.as_deref(), Some(print.as_str()));
    assert_eq!(watch.status_of("POST", "/command/resume").await, 204);
    watch.until("printing again", |state| state.phase == Phase::Printing).await;
    assert_eq!(watch.status_of("POST", "/command/cancel").await, 204);
    let ended = watch.until("cancelled", |state| state.phase == Phase::Cancelled).await;
    assert_eq!(ended.print_id, Some(print));

    let (status, kind, picture) = watch.ask("GET", "/camera/0/snapshot", "").await;
    assert_eq!((status.as_u16(), kind.as_str()), (200, "image/jpeg"));
    assert!(picture.starts_with(&[0xff, 0xd8]));
    let (_, kind, _) = watch.ask("GET", "/camera/0/stream", "").await;
    assert_eq!(kind, "multipart/x-mixed-replace; boundary=oestreamboundary");

    for (method, path, expected) in [
        ("GET", "/camera/1/snapshot", 404),
        ("GET", "/camera/0", 404),
        ("GET", "/camera/0/elsewhere", 404),
        ("GET", "/camera/99999999999999999999/stream", 404),
        ("GET", "/command/pause", 405),
        ("POST", "/command/dance", 501),
        ("POST", "/octoprint-key", 501),
        ("GET", "/elsewhere", 404),
    ] {
        assert_eq!(watch.status_of(method, path).await, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn a_printer_that_goes_away_is_a_problem_and_comes_back() {
    let printer = VirtualPrinter::start(VirtualPrinterOptions::default()).await.unwrap();
    let port = printer.address().port();
    let watch = Watch::start("virtual", &printer.url().to_string(), ObserverOptions::default());
    watch.until("idle", |state| state.phase == Phase::Idle).await;
    printer.stop().await;
    let gone = watch.until("gone", |state| state.problem.is_some()).await;
    assert_eq!((gone.phase, gone.light), (Phase::Unknown, None));
    assert_eq!(watch.status_of("POST", "/command/light_on").await, 502);
    assert_eq!(watch.status_of("GET", "/camera/0/snapshot").await, 404);
    let _again =
        VirtualPrinter::start(VirtualPrinterOptions { port, ..VirtualPrinterOptions::default() }).await.unwrap();
    watch.until("back", |state| state.phase == Phase::Idle && state.problem.is_none()).await;
}

#[tokio::test]
async fn octoprint_is_followed_with_a_key() {
    let octoprint = FakeOctoPrint::start("goodkey").await;
    let watch = Watch::start("octoprint", &octoprint.url, key("goodkey"));
    let idle = watch.until("idle", |state| state.phase == Phase::Idle).await;
    assert_eq!((idle.problem, idle.cameras.len(), idle.light), (None, 1, None));
    assert_eq!(watch.status_of("POST", "/command/light_on").await, 501);
    assert_eq!(watch.status_of("POST", "/command/cancel").await, 409);
    octoprint.set("printing");
    // The command makes it look again at once.
    assert_eq!(watch.status_of("POST", "/command/pause").await, 204);
    let paused = watch.until("paused", |state| state.phase == Phase::Paused).await;
    assert_eq!((paused.file.as_deref(), paused.progress), (Some("cube.gcode"), Some(42.0)));
    assert!(paused.print_id.is_some());
    assert_eq!(octoprint.told(), [r#"{"action":"pause","command":"pause"}"#]);

    let (status, kind, answer) = watch.ask("POST", "/octoprint-key", r#"{"app":" My App "}"#).await;
    assert_eq!((status.as_u16(), kind.as_str()), (200, "application/json"));
    assert_eq!(answer, r#"{"apiKey":"0123456789ABCDEF"}"#);
    assert_eq!(octoprint.told()[1], r#"{"app":"My App","command":"generate"}"#);
    for bad in ["", "{}", r#"{"app":""}"#, r#"{"app":"a\nb"}"#, &format!(r#"{{"app":"{}"}}"#, "a".repeat(9000))] {
        assert_eq!(watch.ask("POST", "/octoprint-key", bad).await.0, 400, "{bad:.20}");
    }
}

#[tokio::test]
async fn octoprints_missing_and_wrong_keys_are_told_apart() {
    let octoprint = FakeOctoPrint::start("goodkey").await;
    let without = Watch::start("octoprint", &octoprint.url, ObserverOptions::default());
    let state = without.until("a problem", |state| state.problem.is_some()).await;
    assert_eq!(state.problem.as_deref(), Some("OctoPrint asks for an API key: set `api_key`"));
    let wrong = Watch::start("octoprint", &octoprint.url, key("bad"));
    let state = wrong.until("a problem", |state| state.problem.is_some()).await;
    assert!(state.problem.unwrap().starts_with("OctoPrint does not accept the API key"));
    assert_eq!(wrong.status_of("POST", "/command/pause").await, 502);
    assert_eq!(wrong.ask("POST", "/octoprint-key", r#"{"app":"A"}"#).await.0, 502);
}

#[tokio::test]
async fn nonsense_of_any_size_is_a_problem_and_no_more() {
    for (reply, problem) in [
        (Reply::Text(200, "<html>".to_owned()), "cannot be understood"),
        (Reply::Text(200, r#"{"job":7}"#.to_owned()), "cannot be understood"),
        (Reply::Text(200, "[".repeat(100_000)), "cannot be understood"),
        (Reply::Text(500, "{}".to_owned()), "answers 500"),
        (Reply::Endless, "more than a printer has to say"),
        (Reply::Cut, "does not answer in HTTP"),
        (Reply::Silent, "accepts connections but does not answer"),
    ] {
        let server = http_server(move |_, _| reply.clone()).await;
        let watch = Watch::start("octoprint", &format!("http://{server}"), key("k"));
        let state = watch.until("a problem", |state| state.problem.is_some()).await;
        assert!(state.problem.as_ref().unwrap().contains(problem), "{state:?}");
        assert_eq!(state.phase, Phase::Unknown);
    }
}

#[tokio::test]
async fn moonraker_is_followed_over_its_websocket() {
    let moonraker = FakeMoonraker::start(None).await;
    let watch = Watch::start("moonraker", &moonraker.url, ObserverOptions::default());
    let idle = watch.until("idle", |state| state.phase == Phase::Idle).await;
    // It has two lights, and to switch one of them would be a guess.
    assert_eq!((idle.light, idle.commands.as_slice()), (None, &[][..]));
    assert_eq!(watch.status_of("POST", "/command/light_on").await, 501);
    assert_eq!(watch.status_of("POST", "/command/pause").await, 409);

    moonraker.push(
        r#"{"jsonrpc":"2.0","method":"notify_status_update","params":[{"print_stats":{"state":"printing",
        "filename":"boat.gcode","print_duration":30.0,"total_duration":60.0},"virtual_sdcard":{"progress":0.25}},1.0]}"#,
    );
    let state = watch.until("printing", |state| state.phase == Phase::Printing && state.total_layers.is_some()).await;
    assert_eq!((state.file.as_deref(), state.progress, state.total_layers), (Some("boat.gcode"), Some(25.0), Some(48)));
    assert_eq!((state.cameras[0].rotation, state.cameras[0].flip_h), (180, true));
    let print = state.print_id;
    assert_eq!(watch.status_of("POST", "/command/pause").await, 204);
    assert_eq!(moonraker.take_told(), ["printer.print.pause {}"]);

    // What is no answer to anything changes nothing.
    for garbage in ["[]", "{", "7", r#"{"id":1}"#, r#"{"id":-1,"method":{}}"#, r#"{"method":"notify_status_update"}"#] {
        moonraker.push(garbage);
    }
    moonraker.push(r#"{"method":"notify_klippy_disconnected"}"#);
    let gone = watch.until("Klipper is gone", |state| state.problem.is_some()).await;
    assert!(gone.problem.unwrap().starts_with("Klipper is not running"));
    moonraker.push(r#"{"method":"notify_klippy_ready"}"#);
    watch.until("Klipper is back", |state| state.phase == Phase::Idle).await;

    // A message beyond all bounds ends the connection; it is made anew, and the print is the same.
    moonraker.push(&format!(r#"{{"x":"{}"}}"#, "x".repeat(2_000_000)));
    watch.until("a problem", |state| state.problem.is_some()).await;
    watch.until("connected again", |state| state.phase == Phase::Idle).await;
    assert!(print.is_some());
}

#[tokio::test]
async fn moonrakers_key_is_shown_and_missed() {
    let moonraker = FakeMoonraker::start(Some("goodkey")).await;
    let without = Watch::start("moonraker", &moonraker.url, ObserverOptions::default());
    let state = without.until("a problem", |state| state.problem.is_some()).await;
    assert_eq!(state.problem.as_deref(), Some("Moonraker asks for an API key: set `api_key`"));
    let with = Watch::start("moonraker", &moonraker.url, key("goodkey"));
    with.until("idle", |state| state.phase == Phase::Idle).await;
}

#[tokio::test]
async fn another_software_is_another_observer() {
    let printer = VirtualPrinter::start(VirtualPrinterOptions::default()).await.unwrap();
    let watch = Watch::start("unknown", &printer.url().to_string(), ObserverOptions::default());
    assert_eq!(watch.status_of("POST", "/command/pause").await, 501);
    watch.status.send_modify(|status| status.software = "virtual".to_owned());
    watch.until("idle", |state| state.phase == Phase::Idle).await;
}
