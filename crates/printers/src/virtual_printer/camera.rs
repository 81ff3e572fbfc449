//! The virtual printer's camera: frames are made once for all who watch, and none while nobody does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body::Frame as BodyFrame;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::picture::{Picture, Scene};

/// The boundary that mjpg-streamer uses; some viewers know no other.
pub(super) const BOUNDARY: &str = "boundarydonotcross";

/// One picture, as a file and as a part of a stream.
struct Frame {
    jpeg: Bytes,
    /// Headers, picture, and the delimiter after it: viewers show a part when they have seen its end.
    part: Bytes,
}

/// The camera. Cheap to clone.
#[derive(Clone)]
pub(super) struct Camera {
    frames: watch::Sender<Option<Arc<Frame>>>,
    somebody_watches: Arc<Notify>,
}

impl Camera {
    pub(super) fn new() -> Self {
        Self { frames: watch::Sender::new(None), somebody_watches: Arc::default() }
    }

    /// Makes frames while somebody watches. Never returns.
    pub(super) async fn run(&self, size: (u16, u16), frames_per_second: f64, scene: impl Fn(u64) -> Scene) {
        let mut number = 0;
        loop {
            while self.frames.receiver_count() == 0 {
                // An old picture must not be the first that the next viewer sees. The canvas goes too.
                self.frames.send_replace(None);
                self.somebody_watches.notified().await;
            }
            let mut picture = Picture::new(size.0, size.1);
            let mut ticks = interval(Duration::from_secs_f64(1.0 / frames_per_second.clamp(0.1, 100.0)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while self.frames.receiver_count() > 0 {
                ticks.tick().await;
                let scene = scene(number);
                number += 1;
                // Encoding takes milliseconds, on small machines tens of them: too long for the thread that relays.
                let encoded = tokio::task::spawn_blocking(move || {
                    let jpeg = picture.encode(scene);
                    (picture, jpeg)
                });
                let Ok((canvas, jpeg)) = encoded.await else { return };
                picture = canvas;
                match jpeg {
                    Ok(jpeg) => drop(self.frames.send_replace(Some(Arc::new(Frame::new(jpeg.into(), scene.frame))))),
                    Err(error) => {
                        warn!(%error, "the virtual camera cannot encode its picture");
                        return;
                    }
                }
            }
        }
    }

    /// The next picture.
    pub(super) async fn snapshot(&self) -> Option<Bytes> {
        let mut viewer = self.watch();
        next(&mut viewer).await.map(|frame| frame.jpeg.clone())
    }

    /// The body of a `multipart/x-mixed-replace` response. A viewer who is slow misses frames.
    pub(super) fn parts(&self) -> impl Stream<Item = Result<BodyFrame<Bytes>, Infallible>> + Send + use<> {
        let start = Bytes::from(format!("--{BOUNDARY}\r\n"));
        let parts = stream::unfold(self.watch(), |mut viewer| async move {
            let part = next(&mut viewer).await?.part.clone();
            Some((part, viewer))
        });
        stream::once(async { start }).chain(parts).map(|bytes| Ok(BodyFrame::data(bytes)))
    }

    fn watch(&self) -> watch::Receiver<Option<Arc<Frame>>> {
        let mut viewer = self.frames.subscribe();
        // Whoever joins while others watch sees the current frame at once.
        viewer.mark_changed();
        self.somebody_watches.notify_one();
        viewer
    }
}

/// The next frame; `None` if the camera is gone.
async fn next(viewer: &mut watch::Receiver<Option<Arc<Frame>>>) -> Option<Arc<Frame>> {
    loop {
        viewer.changed().await.ok()?;
        let frame = viewer.borrow_and_update().clone();
        if frame.is_some() {
            return frame;
        }
    }
}

impl Frame {
    fn new(jpeg: Bytes, number: u64) -> Self {
        let taken = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = format!(
            "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Timestamp: {}.{:06}\r\nX-Frame: {number}\r\n\r\n",
            jpeg.len(),
            taken.as_secs(),
            taken.subsec_micros(),
        );
        let part = [head.as_bytes(), &jpeg, format!("\r\n--{BOUNDARY}\r\n").as_bytes()].concat();
        Self { jpeg, part: part.into() }
    }
}
