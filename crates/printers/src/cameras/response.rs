//! Pictures as answers to those who watch.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::time::timeout;
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::BoxError;

use super::hub::Viewer;
use super::picture::kind;
use super::{CameraError, PICTURE_TIMEOUT};

/// As the existing plugin names it; there are apps that look for it.
const BOUNDARY: &str = "oestreamboundary";
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("multipart/x-mixed-replace; boundary=oestreamboundary");
/// A stream without a picture for so long has ended.
const SILENCE: Duration = Duration::from_secs(60);

/// One picture.
pub(crate) fn picture_response(picture: Bytes) -> Response<ServiceBody> {
    let kind = kind(&picture);
    let mut response = Response::new(Full::new(picture).map_err(BoxError::from).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Pictures without end, the newest each time.
///
/// # Errors
/// If there is no first picture.
pub(crate) async fn stream_response(mut viewer: Viewer) -> Result<Response<ServiceBody>, Arc<CameraError>> {
    let first = timeout(PICTURE_TIMEOUT, viewer.next()).await.map_err(|_| Arc::new(CameraError::Silent))??;
    let begin = format!("--{BOUNDARY}\r\n");
    // Browsers show a part when the next one begins, so the first is sent twice.
    let first = [begin.as_bytes(), &part(&first), &part(&first)].concat();
    let frames = stream::unfold((Some(Bytes::from(first)), Some(viewer)), |(first, viewer)| async {
        if let Some(first) = first {
            return Some((Ok(Frame::data(first)), (None, viewer)));
        }
        let mut viewer = viewer?;
        match timeout(SILENCE, viewer.next()).await {
            Ok(Ok(picture)) => Some((Ok(Frame::data(Bytes::from(part(&picture)))), (None, Some(viewer)))),
            Ok(Err(error)) => Some((Err(BoxError::from(error)), (None, None))),
            Err(_) => None,
        }
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A part, with the delimiter behind it.
fn part(picture: &[u8]) -> Vec<u8> {
    let kind = kind(picture);
    let length = format!("\r\nContent-Length: {}\r\n\r\n", picture.len());
    [b"Content-Type: ", kind.as_bytes(), length.as_bytes(), picture, format!("\r\n--{BOUNDARY}\r\n").as_bytes()]
        .concat()
}
