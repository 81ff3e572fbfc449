//! PrusaLink's camera: the newest picture that it has taken, one at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt, StreamExt, stream};
use http::StatusCode;
use model::printing::Camera;
use model::wire::MAX_PICTURE;
use tokio::time::sleep;

use crate::cameras::{CameraAddresses, CameraError, CameraSource, FrameSource, Frames, is_picture};
use crate::software_client::SoftwareClient;

const PATH: &str = "/api/v1/cameras/snap";
/// Between pictures, where a stream is made of them. PrusaLink takes one every ten seconds or so by itself.
const PICTURE_PERIOD: Duration = Duration::from_secs(1);

/// A camera that asks for the same credentials as all of PrusaLink.
struct PrusaLinkCamera {
    client: Arc<SoftwareClient>,
}

pub(super) fn source(client: &Arc<SoftwareClient>, addresses: &CameraAddresses) -> Option<CameraSource> {
    let camera = Camera { name: "camera".to_owned(), ..Camera::default() };
    let source = addresses.source(camera, None, Some(PATH))?;
    Some(CameraSource { frames: Arc::new(PrusaLinkCamera { client: Arc::clone(client) }), ..source })
}

impl FrameSource for PrusaLinkCamera {
    fn frames(&self) -> BoxFuture<'_, Result<Frames, CameraError>> {
        let pictures = stream::unfold((Arc::clone(&self.client), Duration::ZERO), |(client, pause)| async move {
            sleep(pause).await;
            let picture = picture(&client).await;
            Some((picture, (client, PICTURE_PERIOD)))
        });
        ready(Ok(pictures.boxed())).boxed()
    }

    fn snapshot(&self) -> Option<BoxFuture<'_, Result<Bytes, CameraError>>> {
        Some(picture(&self.client).boxed())
    }
}

async fn picture(client: &SoftwareClient) -> Result<Bytes, CameraError> {
    let answer = client.get_picture(PATH, MAX_PICTURE).await?;
    // 204 means that there is none yet.
    if answer.status != StatusCode::OK {
        return Err(CameraError::Status(answer.status));
    }
    let picture = answer.body().clone();
    if is_picture(&picture) { Ok(picture) } else { Err(CameraError::NoPicture) }
}
