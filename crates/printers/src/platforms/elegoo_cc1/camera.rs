//! The printer's camera: MJPEG for one client, after the printer was asked to switch it on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use model::printing::Camera;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use url::Url;

use super::{Centauri, command};
use crate::cameras::{CameraError, CameraSource, FrameSource, Frames};

/// Where pictures are, unless the printer says otherwise.
const PORT: u16 = 3031;
const PATH: &str = "/video";
/// For the printer to switch the camera on.
const ENABLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a picture for so long, the camera has fallen asleep and is switched on again.
const STALL: Duration = Duration::from_secs(5);
/// Older connections of the firmware stop without a word.
const RENEW: Duration = Duration::from_secs(30);

struct CentauriCamera {
    printer: Centauri,
    camera: Camera,
    address: String,
}

/// The camera, at the address that follows from the printer's own.
pub(super) fn source(printer: &Centauri) -> Option<CameraSource> {
    let camera = Camera { name: "camera".to_owned(), ..Camera::default() };
    let host = printer.context.connector.target().host();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let address = format!("http://{host}:{PORT}{PATH}");
    let source = printer.context.addresses.source(camera.clone(), Some(&address), None)?;
    let frames = Arc::new(CentauriCamera { printer: printer.clone(), camera, address });
    Some(CameraSource { frames, ..source })
}

impl FrameSource for CentauriCamera {
    fn frames(&self) -> BoxFuture<'_, Result<Frames, CameraError>> {
        let this = Self { printer: self.printer.clone(), camera: self.camera.clone(), address: self.address.clone() };
        async move {
            let frames = this.open().await?;
            let state = Some((this, Some(frames), Instant::now()));
            Ok(stream::unfold(state, |state| async {
                let (this, mut frames, mut since) = state?;
                if since.elapsed() >= RENEW {
                    // There is room for one connection, so the old one goes first.
                    frames = None;
                    since = Instant::now();
                }
                let mut frames = match frames {
                    Some(frames) => frames,
                    None => match this.open().await {
                        Ok(frames) => frames,
                        Err(error) => return Some((Err(error), None)),
                    },
                };
                // Whoever asks opens it again, and so switches it on again.
                match timeout(STALL, frames.next()).await {
                    Ok(Some(Ok(picture))) => Some((Ok(picture), Some((this, Some(frames), since)))),
                    Ok(Some(Err(error))) => Some((Err(error), None)),
                    Ok(None) => Some((Err(CameraError::Ended), None)),
                    Err(_) => Some((Err(CameraError::Silent), None)),
                }
            })
            .boxed())
        }
        .boxed()
    }
}

impl CentauriCamera {
    async fn open(&self) -> Result<Frames, CameraError> {
        let told = self.enable().await;
        let addresses = &self.printer.context.addresses;
        // The printer may name the place, as long as it is on the printer.
        let told = told.and_then(|address| addresses.source(self.camera.clone(), Some(&address), None));
        let own = || addresses.source(self.camera.clone(), Some(&self.address), None);
        let source = told.or_else(own).ok_or(CameraError::Address)?;
        source.frames.frames().await
    }

    /// Has the camera switched on; the address that the printer names, if it does. A printer that does not answer may
    /// have a camera that is on all the same.
    async fn enable(&self) -> Option<String> {
        let publisher = &self.printer.context.publisher;
        let asking = self.printer.calls.call(publisher, command::CAMERA, json!({"Enable": 1}));
        let answer = timeout(ENABLE_TIMEOUT, asking).await.ok()?.ok()?;
        video_url(&answer.data["VideoUrl"])
    }
}

/// The address in the printer's answer, which often has no scheme.
fn video_url(value: &Value) -> Option<String> {
    let address = value.as_str()?.trim();
    let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let url = Url::parse(&address).ok()?;
    (url.scheme() == "http" && url.path() != "/").then(|| url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        for (told, expected) in [
            (json!("http://10.0.0.7:3031/video"), Some("http://10.0.0.7:3031/video")),
            (json!(" 10.0.0.7:3031/video "), Some("http://10.0.0.7:3031/video")),
            (json!("rtsp://10.0.0.7/video"), None),
            (json!("10.0.0.7"), None),
            (json!(""), None),
            (json!(7), None),
            (Value::Null, None),
        ] {
            assert_eq!(video_url(&told).as_deref(), expected, "{told}");
        }
    }
}
