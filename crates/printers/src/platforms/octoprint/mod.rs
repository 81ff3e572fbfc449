//! OctoPrint: followed by what it pushes, asked and told over its REST API.

mod cameras;
mod control;
mod files;
mod push;
mod smart_pause;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::StatusCode;
use model::Secret;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

use self::cameras::Settings;
use self::smart_pause::SmartPause;
use self::state::{LastEnd, Pushed, Seen};
use super::{
    Download, Facts, FileChange, FileDetails, FileRights, Listing, LookPeriods, NativeAnswer, NativeCommand, Observed,
    Outcome, PauseOrder, Platform, PlatformContext, Root, StartOrder, Transport, Upload, VirtualPath, feature, native,
};
use crate::cameras::CameraSource;
use crate::software_client::SoftwareClient;

/// Each answer costs a small board some milliseconds, and nobody notices two seconds.
const PERIODS: LookPeriods = LookPeriods { printing: Duration::from_secs(2), idle: Duration::from_secs(10) };
/// While it tells by itself what changes, a look only makes sure.
const PERIODS_WHILE_PUSHING: LookPeriods =
    LookPeriods { printing: Duration::from_secs(60), idle: Duration::from_secs(60) };
/// Versions are shorter; what is longer is cut.
const MAX_VERSION: usize = 64;
/// Cameras are set up once.
const SETTINGS_PERIOD: Duration = Duration::from_secs(60);

/// One OctoPrint.
pub(super) struct OctoPrint {
    context: PlatformContext,
    client: SoftwareClient,
    looking: Mutex<Looking>,
    /// Whether OctoPrint tells by itself what changes.
    is_pushing: AtomicBool,
    /// OctoPrint's version, empty until it was asked.
    version: parking_lot::Mutex<String>,
}

/// What is known from the looks before; whoever looks holds it.
struct Looking {
    end: LastEnd,
    smart_pause: SmartPause,
    /// Whether it has come to rest in a pause.
    is_paused: bool,
    /// OctoPrint's `temperature`, as it was last told.
    heaters: Map<String, Value>,
    cameras: Vec<CameraSource>,
    settings_due: Instant,
    looked: Option<Instant>,
}

pub(super) fn create(context: PlatformContext) -> Arc<dyn Platform> {
    let client = SoftwareClient::new(context.connector.clone(), context.api_key.clone());
    let looking = Looking {
        end: LastEnd::default(),
        smart_pause: SmartPause::default(),
        is_paused: false,
        heaters: Map::new(),
        cameras: vec![],
        settings_due: Instant::now(),
        looked: None,
    };
    let (is_pushing, version) = (AtomicBool::new(false), parking_lot::Mutex::default());
    Arc::new(OctoPrint { context, client, looking: Mutex::new(looking), is_pushing, version })
}

impl OctoPrint {
    /// Looks, unless somebody did within `max_age`.
    async fn look(&self, max_age: Duration) {
        let mut looking = self.looking.lock().await;
        if looking.looked.is_some_and(|looked| looked.elapsed() < max_age) {
            return;
        }
        let looked = state::look(&self.client, &mut looking.end).await;
        if looked.is_ok()
            && Instant::now() >= looking.settings_due
            && let Ok(answer) = self.client.get("/api/settings").await
            && answer.status == StatusCode::OK
            && let Ok(settings) = answer.json::<Settings>()
        {
            looking.cameras = settings.cameras(&self.context.addresses);
            looking.settings_due = Instant::now() + SETTINGS_PERIOD;
            self.ask_version().await;
        }
        self.handle_seen(&mut looking, looked).await;
    }

    /// OctoPrint tells what it does.
    async fn handle_pushed(&self, pushed: Pushed) {
        let mut looking = self.looking.lock().await;
        let looking = &mut *looking;
        let seen = pushed.read(&mut looking.heaters, &mut looking.end);
        self.handle_seen(looking, seen).await;
    }

    fn set_pushing(&self, is_pushing: bool) {
        match (self.is_pushing.swap(is_pushing, Ordering::Relaxed), is_pushing) {
            (false, true) => debug!("OctoPrint pushes what changes"),
            // What has happened since the last message is not known.
            (true, false) => self.context.publisher.look_again(),
            _ => {}
        }
    }

    async fn handle_seen(&self, looking: &mut Looking, seen: Outcome<Seen>) {
        let observed = match seen {
            Ok(Seen { observed, heaters, is_paused }) => {
                looking.is_paused = is_paused;
                let lines = looking.smart_pause.handle_look(observed.state.phase, is_paused, &heaters);
                looking.heaters = heaters;
                if let Err(failure) = self.send_lines(&lines).await {
                    warn!("the heaters could not be set for a pause: {failure}");
                }
                observed
            }
            Err(trouble) => {
                looking.is_paused = false;
                Observed::trouble(trouble)
            }
        };
        self.context.publisher.publish(Observed { cameras: looking.cameras.clone(), ..observed });
        looking.looked = Some(Instant::now());
    }
}

impl OctoPrint {
    /// Only those with a key are told.
    async fn ask_version(&self) {
        #[derive(Deserialize)]
        struct Version {
            server: String,
        }
        if let Ok(answer) = self.client.get("/api/version").await
            && let Ok(version) = answer.json::<Version>()
        {
            let version = version.server.chars().filter(|letter| !letter.is_control()).take(MAX_VERSION).collect();
            *self.version.lock() = version;
        }
    }
}

impl Platform for OctoPrint {
    fn facts(&self) -> Facts {
        const GCODE: &[Root] = &[Root::Gcode];
        const BOTH: &[Root] = &[Root::Gcode, Root::Logs];
        Facts {
            features: feature::START,
            version: self.version.lock().clone(),
            transport: Some(Transport::Http),
            files: FileRights { list: BOTH, upload: GCODE, download: BOTH, delete: BOTH, details: GCODE },
        }
    }

    fn observe(&self) -> BoxFuture<'_, ()> {
        async {
            let looking = self.context.publisher.poll(
                || if self.is_pushing.load(Ordering::Relaxed) { PERIODS_WHILE_PUSHING } else { PERIODS },
                || self.look(Duration::ZERO),
            );
            tokio::join!(looking, push::follow(self));
        }
        .boxed()
    }

    fn refresh(&self, max_age: Duration) -> BoxFuture<'_, ()> {
        async move {
            if !self.is_pushing.load(Ordering::Relaxed) {
                self.look(max_age).await;
            }
        }
        .boxed()
    }

    fn pause<'a>(&'a self, order: &'a PauseOrder) -> BoxFuture<'a, Outcome<()>> {
        self.pause_print(order).boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Outcome<()>> {
        self.resume_print().boxed()
    }

    fn cancel(&self) -> BoxFuture<'_, Outcome<()>> {
        self.cancel_print().boxed()
    }

    fn start<'a>(&'a self, order: &'a StartOrder) -> BoxFuture<'a, Outcome<FileChange>> {
        self.start_print(order).boxed()
    }

    fn list_files(&self, root: Root) -> BoxFuture<'_, Outcome<Listing>> {
        self.list(root).boxed()
    }

    fn file_details<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<FileDetails>> {
        self.details(path).boxed()
    }

    fn upload<'a>(&'a self, path: &'a VirtualPath, upload: Upload) -> BoxFuture<'a, Outcome<FileChange>> {
        self.store(path, upload).boxed()
    }

    fn download<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<Download>> {
        self.open(path).boxed()
    }

    fn delete<'a>(&'a self, path: &'a VirtualPath) -> BoxFuture<'a, Outcome<FileChange>> {
        self.remove(path).boxed()
    }

    fn log(&self) -> BoxFuture<'_, Outcome<Download>> {
        self.open_log().boxed()
    }

    fn send_native<'a>(&'a self, command: &'a NativeCommand) -> BoxFuture<'a, Outcome<NativeAnswer>> {
        native::pass_http(&self.client, command).boxed()
    }

    fn application_key<'a>(&'a self, app: &'a str) -> BoxFuture<'a, Outcome<Secret>> {
        self.make_key(app).boxed()
    }
}
