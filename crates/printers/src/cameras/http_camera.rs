//! Cameras over HTTP: MJPEG streams, and pictures one by one.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::wire::MAX_PICTURE;
use tokio::time::{sleep, timeout};
use url::{Position, Url};

use super::mjpeg::{Parser, START, is_multipart};
use super::{CameraError, FrameSource, Frames, PICTURE_TIMEOUT};
use crate::PrinterUrl;
use crate::connector::PrinterConnector;

/// A camera in the same network answers at once or is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between pictures, where a stream is made of them.
const PICTURE_PERIOD: Duration = Duration::from_millis(500);

/// A camera with at least one address.
pub(super) struct HttpCamera {
    pub(super) stream: Option<Url>,
    /// Where the stream may be as well, if it is not at its address.
    pub(super) other_stream: Option<Url>,
    pub(super) snapshot: Option<Url>,
    pub(super) tls: Arc<rustls::ClientConfig>,
}

impl FrameSource for HttpCamera {
    fn frames(&self) -> BoxFuture<'_, Result<Frames, CameraError>> {
        async {
            let mut failure = CameraError::Address;
            for url in [&self.stream, &self.other_stream].into_iter().flatten() {
                match timeout(PICTURE_TIMEOUT, open(url, &self.tls)).await.map_err(|_| CameraError::Silent).flatten() {
                    Ok(response) if is_multipart(response.headers()) => return Ok(from_stream(response)),
                    // A player's page, or a stream of another kind.
                    Ok(_) => failure = CameraError::NoPicture,
                    Err(error) => failure = error,
                }
            }
            let url = self.snapshot.clone().ok_or(failure)?;
            Ok(from_pictures(url, Arc::clone(&self.tls)))
        }
        .boxed()
    }

    fn snapshot(&self) -> Option<BoxFuture<'_, Result<Bytes, CameraError>>> {
        let url = self.snapshot.as_ref()?;
        Some(picture(url, &self.tls).boxed())
    }
}

fn from_stream(response: Response<Incoming>) -> Frames {
    let parser = Parser::new(response.headers());
    stream::unfold(Some((parser, response.into_body())), |state| async {
        let (mut parser, mut body) = state?;
        loop {
            match parser.poll_picture() {
                Ok(Some(picture)) => return Some((Ok(picture), Some((parser, body)))),
                Ok(None) => {}
                Err(error) => return Some((Err(error), None)),
            }
            match body.frame().await? {
                Ok(frame) => parser.handle(&frame.into_data().unwrap_or_default()),
                Err(error) => return Some((Err(error.into()), None)),
            }
        }
    })
    .boxed()
}

fn from_pictures(url: Url, tls: Arc<rustls::ClientConfig>) -> Frames {
    stream::unfold((url, tls, Duration::ZERO), |(url, tls, pause)| async move {
        sleep(pause).await;
        let picture = picture(&url, &tls).await;
        Some((picture, (url, tls, PICTURE_PERIOD)))
    })
    .boxed()
}

async fn picture(url: &Url, tls: &Arc<rustls::ClientConfig>) -> Result<Bytes, CameraError> {
    let fetch = async { read_picture(open(url, tls).await?.into_body()).await };
    timeout(PICTURE_TIMEOUT, fetch).await.map_err(|_| CameraError::Silent)?
}

async fn open(url: &Url, tls: &Arc<rustls::ClientConfig>) -> Result<Response<Incoming>, CameraError> {
    let target: PrinterUrl = url[..Position::BeforePath].parse().map_err(|_| CameraError::Address)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = url[Position::BeforePath..Position::AfterQuery].parse().map_err(|_| CameraError::Address)?;
    let host = HeaderValue::from_str(target.authority()).map_err(|_| CameraError::Address)?;
    request.headers_mut().insert(header::HOST, host);
    let connection = PrinterConnector::new(target, tls, CONNECT_TIMEOUT)?.connect().await?;
    let (mut send, driver) = http1::handshake(TokioIo::new(connection.io)).await?;
    // It ends when the body has been read or dropped.
    tokio::spawn(driver);
    let response = send.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(CameraError::Status(response.status()));
    }
    Ok(response)
}

async fn read_picture(mut body: Incoming) -> Result<Bytes, CameraError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if read.len() + data.len() > MAX_PICTURE {
            return Err(CameraError::TooLarge);
        }
        read.extend_from_slice(&data);
    }
    if read.starts_with(START) { Ok(read.freeze()) } else { Err(CameraError::NoPicture) }
}
