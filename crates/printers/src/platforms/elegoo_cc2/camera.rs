//! The printer's camera, which sleeps until it is told otherwise.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use model::printing::Camera;
use serde_json::json;
use tokio::time::timeout;

use super::ElegooCc2;
use super::control::method;
use crate::cameras::{CameraError, CameraSource, FrameSource, Frames};
use crate::mqtt::{Message, PrinterBroker};

/// On the port of the web interface.
const STREAM: &str = "/?action=stream";
/// For the printer to be told; whether it heard is seen by whether there are pictures.
const WAKE_LIMIT: Duration = Duration::from_secs(3);

/// A camera that is woken before it is looked at.
struct WakingCamera {
    broker: PrinterBroker,
    wake: Message,
    camera: Arc<dyn FrameSource>,
}

pub(super) fn source(printer: &ElegooCc2) -> Option<CameraSource> {
    let camera = Camera { name: "camera".to_owned(), ..Camera::default() };
    let source = printer.context.addresses.source(camera, Some(STREAM), None)?;
    let wake = printer.question(printer.pending.number(), method::CAMERA, &json!({"enable": true}));
    let camera = Arc::clone(&source.frames);
    let frames = Arc::new(WakingCamera { broker: printer.broker.clone(), wake, camera });
    Some(CameraSource { frames, ..source })
}

impl FrameSource for WakingCamera {
    fn frames(&self) -> BoxFuture<'_, Result<Frames, CameraError>> {
        async {
            // A camera that is awake gives pictures all the same.
            let _ = timeout(WAKE_LIMIT, self.broker.publish(self.wake.clone())).await;
            self.camera.frames().await
        }
        .boxed()
    }
}
