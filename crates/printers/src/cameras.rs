//! Pictures of a printer's own cameras, fetched from where its software says that they are.
//!
//! Whoever sets up the printer's software writes those addresses, and that need not be who runs the agent. So they
//! may lead to the printer's own host, or to hosts that the agent's configuration names, and nowhere else: the agent
//! must not become a way into its network.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::printing::Camera;
use model::wire::MAX_PICTURE;
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout};
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::BoxError;
use url::{Position, Url};

use crate::PrinterUrl;
use crate::connector::{ConnectError, PrinterConnector};

/// A camera in the same network answers at once or is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a picture; some cameras wake up first.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream without a picture for so long is dead.
const STREAM_SILENCE: Duration = Duration::from_secs(30);
/// Between pictures, where a stream is made of them.
const PICTURE_PERIOD: Duration = Duration::from_millis(500);
/// So many pictures in a row that cannot be had end a stream made of them.
const MAX_FAILURES: u32 = 5;
/// Of a stream made of pictures.
const BOUNDARY: &str = "spoolway-picture";

/// Moonraker's own ports, where no web server with cameras is. Its addresses are meant to be relative to the front
/// end, on the scheme's port.
const MOONRAKER_PORTS: [u16; 2] = [7125, 7130];

/// Which addresses of cameras may be used.
#[derive(Debug)]
pub(crate) struct CameraAddresses {
    base: Option<Url>,
    host: String,
    allowed: Vec<String>,
}

/// A camera, and where its pictures are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CameraSource {
    pub(crate) camera: Camera,
    stream: Option<Url>,
    snapshot: Option<Url>,
}

impl CameraSource {
    /// Whether both show the same.
    pub(crate) fn is_same_picture(&self, other: &Self) -> bool {
        self.stream == other.stream && self.snapshot == other.snapshot
    }
}

impl CameraAddresses {
    pub(crate) fn new(target: &PrinterUrl, allowed: Vec<String>) -> Self {
        let mut base = Url::parse(&target.to_string()).ok();
        if let Some(base) = &mut base
            && MOONRAKER_PORTS.contains(&target.port())
        {
            // Only addresses that have no port refuse this.
            let _ = base.set_port(None);
        }
        let allowed = allowed.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { base, host: target.host().to_owned(), allowed }
    }

    /// A camera with what may be used of its addresses; `None` if there is nothing.
    pub(crate) fn source(&self, camera: Camera, stream: Option<&str>, snapshot: Option<&str>) -> Option<CameraSource> {
        let (stream, snapshot) = (self.resolve(stream), self.resolve(snapshot));
        (stream.is_some() || snapshot.is_some()).then_some(CameraSource { camera, stream, snapshot })
    }

    fn resolve(&self, address: Option<&str>) -> Option<Url> {
        let address = address.map(str::trim).filter(|address| !address.is_empty() && address.len() <= 2048)?;
        let mut url = self.base.as_ref()?.join(address).ok()?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        // What the printer's software calls by these names is its own machine, and not the agent's.
        if matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1") && host != self.host {
            let own = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
            url.set_host(Some(&own)).ok()?;
            return Some(url);
        }
        let with_port = format!("{host}:{}", url.port_or_known_default()?);
        let is_allowed =
            host == self.host || self.allowed.iter().any(|allowed| *allowed == host || *allowed == with_port);
        is_allowed.then_some(url)
    }
}

/// Why a camera gives no picture. The texts are for its owner.
#[derive(Debug, Error)]
pub(crate) enum CameraError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the camera's address cannot be used")]
    Address,
    #[error("the camera does not answer in HTTP")]
    NotHttp(#[from] hyper::Error),
    #[error("the camera answers {0}")]
    Status(StatusCode),
    #[error("the camera does not answer in time")]
    Silent,
    #[error("the camera's answer is no JPEG picture")]
    NoPicture,
    #[error("the camera's picture is larger than {MAX_PICTURE} bytes")]
    TooLarge,
}

/// One picture.
pub(crate) async fn snapshot(source: &CameraSource, tls: &Arc<rustls::ClientConfig>) -> Result<Bytes, CameraError> {
    let fetch = async {
        match (&source.snapshot, &source.stream) {
            (Some(url), _) => read_picture(open(url, tls).await?.into_body(), false).await,
            (None, Some(url)) => read_picture(open(url, tls).await?.into_body(), true).await,
            (None, None) => Err(CameraError::Address),
        }
    };
    timeout(PICTURE_TIMEOUT, fetch).await.map_err(|_| CameraError::Silent)?
}

/// Pictures without end: the camera's own stream, or one made of pictures where it has none.
pub(crate) async fn stream(
    source: &CameraSource,
    tls: &Arc<rustls::ClientConfig>,
) -> Result<Response<ServiceBody>, CameraError> {
    if let Some(url) = &source.stream {
        match timeout(PICTURE_TIMEOUT, open(url, tls)).await.map_err(|_| CameraError::Silent).flatten() {
            Ok(response) if is_multipart(&response) => return Ok(pass_on(response)),
            // A player's page, or a stream of another kind.
            Ok(_) if source.snapshot.is_some() => {}
            Ok(_) => return Err(CameraError::NoPicture),
            Err(error) if source.snapshot.is_none() => return Err(error),
            Err(_) => {}
        }
    }
    let first = snapshot(source, tls).await?;
    Ok(from_pictures(source.clone(), Arc::clone(tls), first))
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

fn is_multipart(response: &Response<Incoming>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("multipart/x-mixed-replace"))
}

fn pass_on(response: Response<Incoming>) -> Response<ServiceBody> {
    let kind = response.headers().get(header::CONTENT_TYPE).cloned();
    let frames = stream::unfold(Some(response.into_body()), |body| async {
        let mut body = body?;
        match timeout(STREAM_SILENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => Some((Ok(frame), Some(body))),
            Ok(Some(Err(error))) => Some((Err(BoxError::from(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(BoxError::from(CameraError::Silent)), None)),
        }
    });
    let mut passed = Response::new(StreamBody::new(frames).boxed_unsync());
    if let Some(kind) = kind {
        passed.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    passed
}

fn from_pictures(source: CameraSource, tls: Arc<rustls::ClientConfig>, first: Bytes) -> Response<ServiceBody> {
    struct Maker {
        source: CameraSource,
        tls: Arc<rustls::ClientConfig>,
        next: Option<Bytes>,
        due: Instant,
    }
    let maker = Maker { source, tls, next: Some(first), due: Instant::now() };
    let frames = stream::unfold(Some(maker), |maker| async {
        let mut maker = maker?;
        let mut failures = 0;
        let picture = loop {
            if let Some(picture) = maker.next.take() {
                break picture;
            }
            sleep_until(maker.due).await;
            match snapshot(&maker.source, &maker.tls).await {
                Ok(picture) => break picture,
                Err(error) => {
                    failures += 1;
                    if failures == MAX_FAILURES {
                        return Some((Err(BoxError::from(error)), None));
                    }
                    maker.due = Instant::now() + PICTURE_PERIOD;
                }
            }
        };
        maker.due = Instant::now() + PICTURE_PERIOD;
        // Viewers show a part when they have seen the delimiter after it.
        let head = format!("--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", picture.len());
        let part = [head.as_bytes(), &picture, format!("\r\n--{BOUNDARY}\r\n").as_bytes()].concat();
        Some((Ok(Frame::data(Bytes::from(part))), Some(maker)))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = format!("multipart/x-mixed-replace;boundary={BOUNDARY}");
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// Reads a picture; `in_stream` takes the first one of a stream.
async fn read_picture(mut body: Incoming, in_stream: bool) -> Result<Bytes, CameraError> {
    const START: &[u8] = &[0xff, 0xd8, 0xff];
    const END: &[u8] = &[0xff, 0xd9];
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let searched = read.len().saturating_sub(END.len() - 1);
        read.extend_from_slice(&data);
        if in_stream {
            if !read.starts_with(START) {
                // Everything before the picture is a delimiter and a few header lines.
                match find(&read, START) {
                    Some(start) => read = read.split_off(start),
                    None => {
                        let keep = read.len().min(START.len() - 1);
                        read = read.split_off(read.len() - keep);
                        continue;
                    }
                }
                if let Some(end) = find(&read, END) {
                    return Ok(read.split_to(end + END.len()).freeze());
                }
            } else if let Some(end) = find(&read[searched..], END) {
                return Ok(read.split_to(searched + end + END.len()).freeze());
            }
        }
        if read.len() > MAX_PICTURE {
            return Err(CameraError::TooLarge);
        }
    }
    if !in_stream && read.starts_with(START) { Ok(read.freeze()) } else { Err(CameraError::NoPicture) }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn cameras_are_on_the_printers_host_or_where_the_owner_allows() {
        let check = |target: &str, address: &str, expected: Option<&str>| {
            let allowed = vec!["Cam.local".to_owned(), "10.0.0.5:8081".to_owned()];
            let addresses = CameraAddresses::new(&target.parse().unwrap(), allowed);
            let url = addresses.resolve(Some(address)).map(String::from);
            assert_eq!(url.as_deref(), expected, "{target} {address}");
        };
        let octopi = "http://octopi.local:5000";
        check(octopi, "/webcam/?action=stream", Some("http://octopi.local:5000/webcam/?action=stream"));
        check(octopi, "http://OctoPi.local:8080/x", Some("http://octopi.local:8080/x"));
        check(octopi, "http://localhost:8080/?a", Some("http://octopi.local:8080/?a"));
        check(octopi, "http://[::1]:8080/", Some("http://octopi.local:8080/"));
        check("http://127.0.0.1:5000", "http://localhost:8080/", Some("http://127.0.0.1:8080/"));
        check("http://[fe80::1]:80", "http://127.0.0.1:1/", Some("http://[fe80::1]:1/"));
        check("http://10.0.0.1:7125", "/webcam/", Some("http://10.0.0.1/webcam/"));
        check(octopi, "http://cam.local/y", Some("http://cam.local/y"));
        check(octopi, "http://10.0.0.5:8081/", Some("http://10.0.0.5:8081/"));
        for refused in [
            "http://10.0.0.5/",
            "http://169.254.169.254/latest",
            "//evil.example/x",
            "http://octopi.local@evil.example/",
            "http://user:pass@octopi.local/",
            "rtsp://octopi.local/",
            "file:///etc/passwd",
            "http://octopi.local.evil.example/",
            "http://2130706433.evil/",
            "",
            "http://",
        ] {
            check(octopi, refused, None);
        }
    }
}
