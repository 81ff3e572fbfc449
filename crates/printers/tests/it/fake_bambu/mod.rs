//! A printer of Bambu Lab's as far as the agent goes: broker, files and camera behind one certificate of its own making.

mod camera;
mod ftp;
mod mqtt;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use model::Secret;
use printers::observe::{BambuPorts, ObserverOptions};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client::{LONG, eventually};

pub(crate) use self::camera::{Script, frame, picture};
pub(crate) use self::ftp::Mishap;

pub(crate) const CODE: &str = "12345678";
pub(crate) const SERIAL: &str = "01P00A000000001";

/// What the printer is like.
pub(crate) struct Printer {
    /// The `print` object of its full report.
    pub(crate) state: Value,
    /// What it was told, without the questions for its state.
    told: Vec<Value>,
    /// How often it was asked for this.
    asked: BTreeMap<String, usize>,
    /// Whether it does what it is told.
    pub(crate) obeys: bool,
    /// What it answers to questions: `result` and `reason`; nothing where there is none.
    pub(crate) answer: Option<(&'static str, &'static str)>,
    /// The code that its files are behind.
    pub(crate) file_code: &'static str,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) knows_mlsd: bool,
    pub(crate) mishap: Option<Mishap>,
    /// How often a data channel went on with its control channel's session, and how often not.
    pub(crate) resumed: (usize, usize),
    pub(crate) camera: Script,
    pub(crate) n_captures: usize,
    certificate: Arc<ServerConfig>,
}

/// What all connected clients get.
#[derive(Clone)]
enum Order {
    Report(Vec<u8>),
    Raw(Vec<u8>),
    HangUp,
}

#[derive(Clone)]
struct Shared {
    printer: Arc<Mutex<Printer>>,
    orders: broadcast::Sender<Order>,
}

pub(crate) struct FakeBambu {
    pub(crate) url: String,
    pub(crate) ports: BambuPorts,
    shared: Shared,
    tasks: Vec<JoinHandle<()>>,
}

impl FakeBambu {
    pub(crate) async fn start() -> Self {
        let printer = Printer {
            state: idle(),
            told: vec![],
            asked: BTreeMap::new(),
            obeys: true,
            answer: Some(("success", "")),
            file_code: CODE,
            files: BTreeMap::new(),
            knows_mlsd: true,
            mishap: None,
            resumed: (0, 0),
            camera: Script::Moving,
            n_captures: 0,
            certificate: certificate(&[&rustls::version::TLS12]),
        };
        let shared = Shared { printer: Arc::new(Mutex::new(printer)), orders: broadcast::channel(64).0 };
        let (broker, mqtt) = serve(&shared, mqtt::serve).await;
        let (files, ftp) = serve(&shared, ftp::serve).await;
        let (camera, pictures) = serve(&shared, camera::serve).await;
        Self {
            url: format!("bambu://127.0.0.1:{broker}"),
            ports: BambuPorts { files, camera },
            shared,
            tasks: vec![mqtt, ftp, pictures],
        }
    }

    /// How the agent is set up for it.
    pub(crate) fn options(&self) -> ObserverOptions {
        ObserverOptions {
            access_code: Some(Secret::new(CODE)),
            serial: Some(SERIAL.to_owned()),
            bambu_ports: self.ports,
            ..ObserverOptions::default()
        }
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Printer) -> T) -> T {
        change(&mut self.shared.printer.lock().unwrap())
    }

    /// Changes the state, and reports what has changed.
    pub(crate) fn report(&self, changes: Value) {
        self.shared.report(changes);
    }

    /// Sends a message as it is.
    pub(crate) fn say(&self, message: impl Into<Vec<u8>>) {
        let _ = self.shared.orders.send(Order::Report(message.into()));
    }

    /// Sends bytes that are no packet, or half of one.
    pub(crate) fn babble(&self, bytes: &[u8]) {
        let _ = self.shared.orders.send(Order::Raw(bytes.to_vec()));
    }

    pub(crate) fn hang_up(&self) {
        let _ = self.shared.orders.send(Order::HangUp);
    }

    /// What it was told since the last time.
    pub(crate) fn take_told(&self) -> Vec<Value> {
        self.change(|printer| std::mem::take(&mut printer.told))
    }

    pub(crate) fn asked(&self, what: &str) -> usize {
        self.change(|printer| printer.asked.get(what).copied().unwrap_or(0))
    }

    pub(crate) async fn until_asked(&self, what: &str, times: usize) {
        eventually(what, || async { self.asked(what) >= times }).await;
    }

    /// Shows another certificate to whoever connects from now on.
    pub(crate) fn change_certificate(&self, versions: &[&'static rustls::SupportedProtocolVersion]) {
        self.change(|printer| printer.certificate = certificate(versions));
    }
}

impl Drop for FakeBambu {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn printer<T>(&self, change: impl FnOnce(&mut Printer) -> T) -> T {
        change(&mut self.printer.lock().unwrap())
    }

    fn report(&self, changes: Value) {
        let members = changes.as_object().unwrap().clone();
        self.printer(|printer| printer.state.as_object_mut().unwrap().extend(members));
        let mut print = changes;
        print["command"] = json!("push_status");
        print["sequence_id"] = json!("2021");
        let _ = self.orders.send(Order::Report(json!({"print": print}).to_string().into_bytes()));
    }
}

async fn serve<F>(
    shared: &Shared,
    serve: impl Fn(Shared, TlsStream<TcpStream>) -> F + Send + Copy + 'static,
) -> (u16, JoinHandle<()>)
where
    F: Future<Output = Option<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shared = shared.clone();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let shared = shared.clone();
            tokio::spawn(async move {
                let acceptor = TlsAcceptor::from(shared.printer(|printer| Arc::clone(&printer.certificate)));
                if let Ok(Ok(stream)) = tokio::time::timeout(LONG, acceptor.accept(stream)).await {
                    serve(shared, stream).await;
                }
            });
        }
    });
    (port, task)
}

fn certificate(versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![SERIAL.to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap())
}

/// A full report has many keys that nobody looks at.
fn idle() -> Value {
    let mut state: Value = (0..40).map(|number| (format!("unknown_{number}"), json!({"x": [number]}))).collect();
    let known = json!({"command": "push_status", "msg": 0, "sequence_id": "1", "gcode_state": "IDLE", "stg_cur": 255,
        "print_error": 0, "mc_percent": 0, "mc_remaining_time": 0, "layer_num": 0, "total_layer_num": 0,
        "subtask_name": "", "nozzle_temper": 25.03125, "nozzle_target_temper": 0, "bed_temper": 24, "bed_target_temper": 0,
        "chamber_temper": 5, "lights_report": [{"node": "chamber_light", "mode": "off"}], "ipcam": {"rtsp_url": "disable"},
        "ams": {"ams": [], "tray_now": "255"}, "vt_tray": {"id": "254", "tray_type": "PLA", "tray_color": "FFFFFFFF"}});
    state.as_object_mut().unwrap().extend(known.as_object().unwrap().clone());
    state
}

/// What changes when a print begins.
pub(crate) fn printing() -> Value {
    json!({"gcode_state": "RUNNING", "stg_cur": 0, "subtask_name": "Benchy.3mf", "mc_percent": 42, "mc_remaining_time": 90,
        "layer_num": 17, "total_layer_num": 240, "nozzle_target_temper": 220, "print_error": 0})
}
