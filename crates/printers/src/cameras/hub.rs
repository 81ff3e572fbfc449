//! One connection to each camera, shared by all who watch it.
//!
//! A capture keeps the newest picture only. Whoever is slow misses pictures; nobody holds anybody up, and memory does
//! not depend on how many watch.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::{CameraError, CameraSource, FrameSource};

/// A browser that reloads its page comes back within it.
const IDLE: Duration = Duration::from_secs(5);
/// So many failed attempts in a row end a capture.
const MAX_FAILURES: u32 = 5;
/// Between attempts.
const RETRY_PERIOD: Duration = Duration::from_secs(1);
/// A camera without a picture for so long is stuck.
const SILENCE: Duration = Duration::from_secs(30);

/// What a capture has to show.
#[derive(Clone, Debug, Default)]
enum Shown {
    /// Nothing yet.
    #[default]
    Nothing,
    /// The newest picture.
    Picture(Bytes),
    /// It has ended.
    Failed(Arc<CameraError>),
}

type Captures = Arc<Mutex<HashMap<String, Weak<watch::Sender<Shown>>>>>;

/// The captures that run.
#[derive(Default)]
pub(crate) struct CameraHub {
    /// Whoever joins a capture, and the capture that ends because nobody is left, hold the lock.
    captures_by_key: Captures,
}

/// Somebody who watches.
pub(crate) struct Viewer {
    shown: watch::Receiver<Shown>,
}

impl CameraHub {
    /// Watches a camera: joins those who do, or begins a capture.
    pub(crate) fn watch(&self, source: &CameraSource) -> Viewer {
        let mut captures = self.captures_by_key.lock();
        if let Some(viewer) = captures.get(&source.key()).and_then(join) {
            return viewer;
        }
        captures.retain(|_, capture| capture.strong_count() > 0);
        let shown = Arc::new(watch::Sender::default());
        let viewer = Viewer::new(&shown);
        captures.insert(source.key(), Arc::downgrade(&shown));
        tokio::spawn(capture(source.clone(), shown, Arc::clone(&self.captures_by_key)));
        viewer
    }

    /// One picture: of a capture that runs, by the camera's own address for that, or of a capture that begins.
    pub(crate) async fn snapshot(&self, source: &CameraSource) -> Result<Bytes, Arc<CameraError>> {
        let running = self.captures_by_key.lock().get(&source.key()).and_then(join);
        if running.is_none()
            && let Some(picture) = source.frames.snapshot()
        {
            return picture.await.map(super::jpeg::with_jfif).map_err(Arc::new);
        }
        let mut viewer = running.unwrap_or_else(|| self.watch(source));
        match timeout(super::PICTURE_TIMEOUT, viewer.next()).await {
            Ok(picture) => picture,
            Err(_) => Err(Arc::new(CameraError::Silent)),
        }
    }
}

/// Joins a capture that has not ended.
fn join(capture: &Weak<watch::Sender<Shown>>) -> Option<Viewer> {
    let shown = capture.upgrade()?;
    let has_ended = matches!(*shown.borrow(), Shown::Failed(_));
    (!has_ended).then(|| Viewer::new(&shown))
}

impl Viewer {
    fn new(shown: &watch::Sender<Shown>) -> Self {
        let mut shown = shown.subscribe();
        // What is there already has not been seen by this one.
        shown.mark_changed();
        Self { shown }
    }

    /// The newest picture that this viewer has not seen. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Arc<CameraError>> {
        loop {
            if self.shown.changed().await.is_err() {
                return Err(Arc::new(CameraError::Ended));
            }
            match &*self.shown.borrow_and_update() {
                Shown::Nothing => {}
                Shown::Picture(picture) => return Ok(picture.clone()),
                Shown::Failed(error) => return Err(Arc::clone(error)),
            }
        }
    }
}

/// Captures until nobody has watched for a while, or the camera has failed too often.
async fn capture(source: CameraSource, shown: Arc<watch::Sender<Shown>>, captures: Captures) {
    let name = source.camera.name.clone();
    let mut capturing = std::pin::pin!(keep_capturing(source.frames.as_ref(), &shown));
    loop {
        tokio::select! {
            error = &mut capturing => {
                warn!("the camera \"{name}\" gives no picture: {error}");
                shown.send_replace(Shown::Failed(Arc::new(error)));
                return;
            }
            () = until_nobody_watches(&shown) => {}
        }
        let mut captures = captures.lock();
        if shown.receiver_count() == 0 {
            captures.remove(&source.key());
            debug!("nobody watches the camera \"{name}\" any more");
            return;
        }
    }
}

/// Waits until there has been no viewer for [`IDLE`].
async fn until_nobody_watches(shown: &watch::Sender<Shown>) {
    loop {
        shown.closed().await;
        let since = Instant::now();
        while shown.receiver_count() == 0 {
            if since.elapsed() >= IDLE {
                return;
            }
            sleep(IDLE / 10).await;
        }
    }
}

/// Returns why the camera cannot be captured any more.
async fn keep_capturing(source: &dyn FrameSource, shown: &watch::Sender<Shown>) -> CameraError {
    let mut failures = 0;
    let mut has_worked = false;
    loop {
        let ended = follow(source, shown, &mut failures, &mut has_worked).await;
        failures += 1;
        // A camera that has never given a picture is told at once to be unusable; somebody waits for the answer.
        if !has_worked || failures >= MAX_FAILURES {
            return ended;
        }
        debug!("a camera broke off: {ended}");
        sleep(RETRY_PERIOD).await;
    }
}

/// Returns why one connection ended.
async fn follow(
    source: &dyn FrameSource,
    shown: &watch::Sender<Shown>,
    failures: &mut u32,
    has_worked: &mut bool,
) -> CameraError {
    let mut frames = match source.frames().await {
        Ok(frames) => frames,
        Err(error) => return error,
    };
    loop {
        match timeout(SILENCE, frames.next()).await {
            Ok(Some(Ok(picture))) => {
                (*failures, *has_worked) = (0, true);
                shown.send_replace(Shown::Picture(super::jpeg::with_jfif(picture)));
            }
            Ok(Some(Err(error))) => return error,
            Ok(None) => return CameraError::Ended,
            Err(_) => return CameraError::Silent,
        }
    }
}
