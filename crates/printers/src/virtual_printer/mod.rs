//! A printer made of software: files that can be uploaded and "printed", a state that moves, and a camera.
//!
//! It stands in for a real printer when somebody tries Spoolway out, and in tests. It listens on this machine only and
//! asks nobody who they are, as printers' software in a home often does.
//!
//! | address | what it is |
//! | --- | --- |
//! | `GET /` | a page for people |
//! | `GET /api/version` | what this is |
//! | `GET /api/printer` | the state |
//! | `GET /api/files` | the files |
//! | `PUT`, `POST`, `GET`, `DELETE /api/files/NAME` | one file, its bytes as they are |
//! | `POST /api/job` | `{"command":"start","file":NAME}`, or `pause`, `resume`, `cancel`, `light_on`, `light_off` |
//! | `GET /websocket` | the state whenever it changes, as text messages |
//! | `GET /events` | the same as server-sent events |
//! | `GET /webcam/?action=stream`, `/webcam/stream` | the camera as MJPEG |
//! | `GET /webcam/?action=snapshot`, `/webcam/snapshot` | one picture |

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

pub use self::machine::PrintSpeed;

use self::camera::Camera;
use self::file_name::FileName;
use self::file_store::{Capacity, FileStore};
use self::live::Feed;
use self::machine::{Machine, MachineState};
use self::picture::Scene;
use crate::PrinterUrl;

mod camera;
mod file_name;
mod file_store;
mod files;
mod live;
mod machine;
mod picture;
mod range;
mod response;
mod routes;

/// How the virtual printer names itself in `GET /api/version`.
pub const SERVER_NAME: &str = "spoolway-virtual-printer";

/// More connections wait until others have ended. A browser opens six.
const MAX_CONNECTIONS: usize = 1024;
/// When the system has no room for another connection, trying at once again would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Of one connection, for request heads.
const READ_BUFFER: usize = 64 * 1024;

/// How a virtual printer behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualPrinterOptions {
    /// The port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// Where uploads go: into a directory of their own below this one, or below the system's for temporary files. No
    /// other virtual printer may use the same one: it would delete this one's files when it starts. Files do not
    /// survive the printer.
    pub directory: Option<PathBuf>,
    /// A larger upload is refused.
    pub max_file_bytes: u64,
    /// Uploads that would make all files together larger are refused.
    pub max_total_bytes: u64,
    /// How fast files are printed.
    pub speed: PrintSpeed,
    /// The camera's frames per second, 0.1 to 100.
    pub frames_per_second: f64,
    /// Width and height of the camera's picture, 1 to 4096 each.
    pub picture_size: (u16, u16),
}

impl Default for VirtualPrinterOptions {
    fn default() -> Self {
        Self {
            port: 0,
            directory: None,
            // Larger than G-code gets, and it fits the memory card of a small board.
            max_file_bytes: 512 * 1024 * 1024,
            max_total_bytes: 1024 * 1024 * 1024,
            // A megabyte of G-code, a small part, takes a minute: long enough to watch, short enough to see the end.
            speed: PrintSpeed::BytesPerSecond(16 * 1024),
            frames_per_second: 10.0,
            picture_size: (640, 480),
        }
    }
}

/// A running virtual printer. Dropping it cuts its connections and deletes its files.
pub struct VirtualPrinter {
    address: SocketAddr,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl VirtualPrinter {
    /// Starts one in tasks on the current tokio runtime.
    ///
    /// # Errors
    /// If the port is taken, the directory cannot be written, or the picture has no sensible size.
    pub async fn start(options: VirtualPrinterOptions) -> io::Result<Self> {
        let (width, height) = options.picture_size;
        if !(1..=4096).contains(&width) || !(1..=4096).contains(&height) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the picture must be 1 to 4096 pixels wide and high",
            ));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let capacity = Capacity { file: options.max_file_bytes, total: options.max_total_bytes };
        let directory = options.directory;
        let files = tokio::task::spawn_blocking(move || FileStore::create(directory.as_deref(), capacity))
            .await
            .map_err(io::Error::other)??;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let shared = Arc::new(Shared {
            switched_on: Instant::now(),
            machine: Mutex::new(Machine::new(options.speed)),
            files,
            capacity,
            camera: Camera::new(),
            feed: Feed::new(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        let filming = Arc::clone(&shared);
        shared.spawn(async move {
            let scene = |frame| filming.scene(frame);
            filming.camera.run(options.picture_size, options.frames_per_second, scene).await;
        });
        let publishing = Arc::clone(&shared);
        shared.spawn(async move { publishing.feed.run(&publishing).await });
        let accepting = Arc::clone(&shared);
        shared.spawn(async move { accept(accepting, listener).await });
        tasks.close();
        Ok(Self { address, tasks, stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as the agent wants it.
    pub fn url(&self) -> PrinterUrl {
        format!("http://{}", self.address).parse().expect("a scheme and an address are a printer's URL")
    }

    /// Stops and waits until the port is free again.
    pub async fn stop(self) {
        drop(self.stop);
        self.tasks.wait().await;
    }
}

/// What all connections share.
struct Shared {
    switched_on: Instant,
    machine: Mutex<Machine>,
    files: FileStore,
    capacity: Capacity,
    camera: Camera,
    feed: Feed,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Shared {
    /// Runs a task that ends with the printer.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // Cut at any point: everything that the printer does dies with it.
            stop.run_until_cancelled_owned(task).await;
        });
    }

    fn now(&self) -> Duration {
        self.switched_on.elapsed()
    }

    fn is_moving(&self) -> bool {
        let mut machine = self.machine.lock();
        machine.handle_time(self.now());
        machine.is_moving()
    }

    fn is_in_use(&self, name: &FileName) -> bool {
        let mut machine = self.machine.lock();
        machine.handle_time(self.now());
        machine.file_in_use() == Some(name)
    }

    fn scene(&self, frame: u64) -> Scene {
        let mut machine = self.machine.lock();
        machine.handle_time(self.now());
        Scene { frame, progress: machine.progress(), printing: machine.is_printing(), lit: machine.has_light_on() }
    }

    fn notify_changed(&self) {
        self.feed.notify();
    }

    fn state_json(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct State {
            server: &'static str,
            version: &'static str,
            #[serde(flatten)]
            machine: MachineState,
            storage: Storage,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Storage {
            files: usize,
            bytes_used: u64,
            bytes_total: u64,
        }
        let machine = {
            let mut machine = self.machine.lock();
            machine.handle_time(self.now());
            machine.state()
        };
        let storage =
            Storage { files: self.files.count(), bytes_used: self.files.used(), bytes_total: self.capacity.total };
        let state = State { server: SERVER_NAME, version: env!("CARGO_PKG_VERSION"), machine, storage };
        // Only maps with keys that are no strings fail, and the state has none.
        serde_json::to_string(&state).unwrap_or_default()
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = Arc::clone(&shared);
                shared.spawn(async move {
                    if let Err(error) = serve(serving, stream).await {
                        debug!(%error, "a connection to the virtual printer broke");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "the virtual printer cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| routes::answer(Arc::clone(&shared), request));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await?;
    Ok(())
}
