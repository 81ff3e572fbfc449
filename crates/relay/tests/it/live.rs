//! Printers as their owners see them: state, temperatures, cameras, commands and errors.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody};
use model::link::capability;
use model::printing::{Phase, PrinterCommand, PrinterState, Temperature};
use model::{Limits, PrinterId, RelayError, WebcamWindow};
use parking_lot::Mutex;
use relay::Entrance;
use relay::live::{CameraFailure, CommandFailure, Surface};
use std::time::Duration;
use testkit::{Origin, Protocol, Rig, TestAgent, TestAgentOptions, TestService, wait_for_answer, wait_until};
use tokio::sync::watch;
use tunnel::agent_services::{AgentServices, ServiceBody};
use tunnel::body::RecvBody;

const ALL: &[&str] = &[capability::STATE, capability::COMMANDS, capability::CAMERAS, capability::OCTOPRINT_KEY];
const JPEG: &[u8] = b"\xff\xd8\xff\xe0 a picture";
const STREAM_TYPE: &str = "multipart/x-mixed-replace; boundary=frame";

#[tokio::test]
async fn a_state_arrives_with_its_temperatures_and_is_announced() {
    let stage = Stage::set(ALL).await;
    let (live, printer) = (stage.service.live().clone(), stage.printer.clone());
    let mut changes = live.changes();
    stage.brain.state.send_modify(|state| {
        state.phase = Phase::Printing;
        state.progress = Some(1000.0);
        state.temperatures = vec![Temperature { name: "bed".into(), actual: 60.04, target: 60.0 }];
    });
    let status = wait_for_answer("the state", async || {
        live.status(&printer).await.filter(|status| status.state.as_ref().is_some_and(|s| s.phase == Phase::Printing))
    })
    .await;
    assert_eq!(status.state.unwrap().progress, Some(100.0), "what agents say is bounded");
    assert_eq!((status.agent_version.as_str(), status.status.reachable), ("0.0.0-test", true));
    assert_eq!(changes.recv().await.unwrap(), printer);
    let samples = live.temperatures(&printer);
    assert_eq!(samples.last().unwrap().temperatures[0].name, "bed");
    assert_eq!(live.is_online(&printer).await, Ok(true));

    stage.agent.stop().await;
    wait_for_answer("the end of the link", async || (live.is_online(&printer).await == Ok(false)).then_some(())).await;
    assert!(live.status(&printer).await.is_none());
    assert!(!live.temperatures(&printer).is_empty(), "what was measured stays");
    let offline = Err(CommandFailure::Relay(RelayError::PrinterOffline));
    assert_eq!(live.command(&printer, PrinterCommand::Pause).await, offline);
    assert_eq!(live.is_online(&PrinterId::generate()).await, Ok(false));
}

#[tokio::test]
async fn commands_pictures_and_keys_say_what_became_of_them() {
    let stage = Stage::set(ALL).await;
    let (live, printer) = (stage.service.live(), &stage.printer);
    assert_eq!(live.command(printer, PrinterCommand::Pause).await, Ok(()));
    assert_eq!(
        live.command(printer, PrinterCommand::Resume).await,
        Err(CommandFailure::Refused("nothing is paused".to_owned()))
    );
    assert_eq!(live.command(printer, PrinterCommand::LightOn).await, Err(CommandFailure::Unsupported));
    let silent = Err(CommandFailure::Relay(RelayError::PrinterTimeout));
    assert_eq!(live.command(printer, PrinterCommand::Cancel).await, silent);
    assert_eq!(
        live.command(printer, PrinterCommand::LightOff).await,
        Err(CommandFailure::Relay(RelayError::PluginUpdateRequired)),
        "a path that the agent does not know"
    );

    assert_eq!(live.snapshot(printer, 0).await, Ok(Bytes::from_static(JPEG)));
    assert_eq!(live.snapshot(printer, 1).await, Err(CameraFailure::Relay(RelayError::PluginError)), "no JPEG");
    assert_eq!(live.snapshot(printer, 2).await, Err(CameraFailure::Relay(RelayError::PluginError)), "too large");
    assert_eq!(live.snapshot(printer, 3).await, Err(CameraFailure::Relay(RelayError::PrinterTimeout)));
    assert_eq!(live.snapshot(printer, 9).await, Err(CameraFailure::NoCamera));
    assert!(live.camera(printer, 1).await.is_err_and(|e| e == CameraFailure::Relay(RelayError::PluginError)));

    let key = live.octoprint_key(printer, "Test app").await.unwrap();
    assert_eq!(key.expose(), "KEY123");
    let stream = live.camera(printer, 0).await.unwrap();
    assert_eq!(stream.content_type, STREAM_TYPE);
    let mut body = Box::pin(stream.body);
    assert!(body.frame().await.unwrap().unwrap().into_data().unwrap().starts_with(b"--frame"));
    drop(body);
    wait_until("the camera is let go", || stage.brain.watchers() == 0).await;
    assert_eq!(
        stage.brain.seen.lock().iter().filter(|path| path.as_str() == "POST /command/pause").count(),
        1,
        "sent once"
    );
}

#[tokio::test]
async fn an_agent_without_an_ability_is_not_asked() {
    let stage = Stage::set(&[]).await;
    let (live, printer) = (stage.service.live(), &stage.printer);
    let error = RelayError::PluginUpdateRequired;
    assert_eq!(live.command(printer, PrinterCommand::Pause).await, Err(CommandFailure::Relay(error)));
    assert_eq!(live.snapshot(printer, 0).await, Err(CameraFailure::Relay(error)));
    assert_eq!(live.octoprint_key(printer, "x").await.unwrap_err(), error);
    assert!(stage.brain.seen.lock().is_empty());
    let shared = stage.service.shared_connection(printer, None).await;
    let client = testkit::Client::new(stage.service.address());
    assert_eq!(client.get(&shared.host, "/oe-webcam-stream", &[]).await.status.as_u16(), 610);
}

#[tokio::test]
async fn connections_watch_the_agents_cameras_within_the_plan() {
    let window = WebcamWindow { window: Duration::from_secs(3600), total: Duration::from_secs(1) };
    let limits =
        Limits { webcam_stream: Some(Duration::from_millis(1200)), webcam_window: Some(window), ..Limits::default() };
    let stage = Stage::set_with(ALL, limits).await;
    let shared = stage.service.shared_connection(&stage.printer, None).await;
    let client = testkit::Client::speaking(Protocol::Http2, stage.service.address());
    let get = async |path: &str| client.get(&shared.host, path, &[]).await;
    // What is no reading is the printer's.
    let posted = Request::post("/oe-webcam-stream").header(header::HOST, &shared.host);
    assert_eq!(client.exchange(posted.body(Full::default()).unwrap()).await.text(), "printer");
    assert_eq!(get("/oe-webcam-stream?index=9").await.status.as_u16(), 602, "no such camera");
    assert_eq!(get("/oe-webcam-stream?index=x").await.status.as_u16(), 602);
    let watched = get("/oe-webcam-stream?index=0").await;
    assert_eq!((watched.status.as_u16(), watched.header("content-type")), (200, STREAM_TYPE));
    assert!(watched.body.is_err(), "cut when its time was up");
    wait_until("the camera is let go", || stage.brain.watchers() == 0).await;
    assert_eq!(get("/OE-webcam-stream").await.status.as_u16(), 609);

    let errors = stage.service.live().recent_errors(&stage.printer);
    let seen: Vec<_> = errors.iter().map(|e| (e.code.code(), e.kind, e.surface, e.times)).collect();
    assert_eq!(
        seen,
        [
            (609, Entrance::Shared, Surface::Request, 1),
            (609, Entrance::Shared, Surface::Body, 1),
            (602, Entrance::Shared, Surface::Request, 2)
        ]
    );
}

#[tokio::test]
async fn what_goes_through_a_connection_is_counted() {
    let origin = Origin::start(|request: Request<hyper::body::Incoming>| async move {
        let length = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
        Response::new(testkit::full("x".repeat(length * 2)))
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let request = rig.request(Method::POST, "/").body(Full::from(Bytes::from(vec![0; 100_000]))).unwrap();
        assert_eq!(rig.client(protocol).exchange(request).await.text().len(), 200_000);
    }
    rig.service.relay().store_usage().await;
    let listed = rig.service.store().connections(store::ConnectionKind::App, None).await.unwrap().rows;
    assert_eq!((listed[0].bytes_up, listed[0].bytes_down), (200_000, 400_000));
    assert!(listed[0].last_used_at.is_some());
}

/// A service and a printer whose agent answers for it.
struct Stage {
    service: TestService,
    printer: PrinterId,
    agent: TestAgent,
    brain: Arc<Brain>,
    _origin: Origin,
}

impl Stage {
    async fn set(capabilities: &[&str]) -> Self {
        Self::set_with(capabilities, Limits::default()).await
    }

    async fn set_with(capabilities: &[&str], limits: Limits) -> Self {
        let origin = Origin::saying("printer").await;
        let service = TestService::start().await;
        let (printer, _) = Rig::printer_on(&service, limits).await;
        let brain = Arc::new(Brain::default());
        let options = TestAgentOptions {
            services: Some(Arc::<Brain>::clone(&brain)),
            capabilities,
            ..TestAgentOptions::default()
        };
        let agent = TestAgent::start_with(&service, &printer, origin.address(), options).await;
        Self { service, printer: printer.id, agent, brain, _origin: origin }
    }
}

/// What an agent knows of its printer.
struct Brain {
    state: watch::Sender<PrinterState>,
    seen: Arc<Mutex<Vec<String>>>,
    camera: Arc<()>,
}

impl Default for Brain {
    fn default() -> Self {
        Self { state: watch::Sender::new(PrinterState::default()), seen: Arc::default(), camera: Arc::default() }
    }
}

impl Brain {
    fn watchers(&self) -> usize {
        Arc::strong_count(&self.camera) - 1
    }
}

impl AgentServices for Brain {
    fn state(&self) -> watch::Receiver<PrinterState> {
        self.state.subscribe()
    }

    fn call(&self, request: Request<RecvBody>) -> BoxFuture<'static, Response<ServiceBody>> {
        let path = format!("{} {}", request.method(), request.uri().path());
        self.seen.lock().push(path.clone());
        let watching = Arc::clone(&self.camera);
        async move {
            let answer = |status: u16, body: Vec<u8>| {
                let body = Full::<Bytes>::from(body).map_err(|never| match never {}).boxed_unsync();
                Response::builder().status(status).body(body).unwrap()
            };
            match path.as_str() {
                "POST /command/pause" => answer(204, Vec::new()),
                "POST /command/resume" => answer(409, b"nothing is paused\n\x1b".to_vec()),
                "POST /command/light_on" => answer(501, Vec::new()),
                "POST /command/cancel" => answer(502, b"no answer".to_vec()),
                "GET /camera/0/snapshot" => answer(200, JPEG.to_vec()),
                "GET /camera/1/snapshot" => answer(200, b"<html>".to_vec()),
                "GET /camera/2/snapshot" => answer(200, [JPEG, &vec![0; model::wire::MAX_PICTURE]].concat()),
                "GET /camera/3/snapshot" => answer(502, Vec::new()),
                "GET /camera/0/stream" => {
                    let pieces = futures_util::stream::unfold(watching, |watching| async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        let piece = Bytes::from_static(b"--frame\r\nContent-Type: image/jpeg\r\n\r\nx\r\n");
                        Some((Ok(http_body::Frame::data(piece)), watching))
                    });
                    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
                    response.headers_mut().insert(header::CONTENT_TYPE, STREAM_TYPE.parse().unwrap());
                    response
                }
                "GET /camera/1/stream" => answer(200, b"no stream".to_vec()),
                "POST /octoprint-key" => {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(body, r#"{"app":"Test app"}"#);
                    answer(200, br#"{"apiKey":"KEY123"}"#.to_vec())
                }
                _ => answer(404, Vec::new()),
            }
        }
        .boxed()
    }
}
