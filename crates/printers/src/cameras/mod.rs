//! Pictures of a printer's own cameras, fetched from where its software says that they are.
//!
//! Whoever sets up the printer's software writes those addresses, and that need not be who runs the agent. So they
//! may lead to the printer's own host, or to hosts that the agent's configuration names, and nowhere else: the agent
//! must not become a way into its network.

mod chamber;
mod http_camera;
mod hub;
mod jpeg;
mod mjpeg;
mod picture;
mod response;
mod rtsp;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use http::StatusCode;
use model::printing::Camera;
use model::wire::MAX_PICTURE;
use thiserror::Error;
use url::Url;

pub(crate) use self::chamber::ChamberCamera;
use self::http_camera::HttpCamera;
pub(crate) use self::hub::CameraHub;
pub(crate) use self::picture::is_picture;
pub(crate) use self::response::{picture_response, stream_response};
use self::rtsp::RtspCamera;
use crate::PrinterUrl;
use crate::connector::ConnectError;
use crate::software_client::AskError;

/// For a picture; some cameras wake up first.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(10);
/// Made of a stream that is video. More would keep a Raspberry Pi busy.
const RTSP_FRAMES_PER_SECOND: u8 = 10;
/// Moonraker's own ports, where no web server with cameras is. Its addresses are meant to be relative to the front
/// end, on the scheme's port.
const MOONRAKER_PORTS: [u16; 2] = [7125, 7130];

/// Which addresses of cameras may be used.
pub(crate) struct CameraAddresses {
    tls: Arc<rustls::ClientConfig>,
    base: Option<Url>,
    host: String,
    allowed: Vec<String>,
}

/// Pictures without end.
pub(crate) type Frames = BoxStream<'static, Result<Bytes, CameraError>>;

/// How pictures are had from a camera.
pub(crate) trait FrameSource: Send + Sync {
    /// Connects, and gives picture after picture. Its end is a failure; whoever asks tries again.
    fn frames(&self) -> BoxFuture<'_, Result<Frames, CameraError>>;

    /// A cheaper way to one picture, where the camera has it.
    fn snapshot(&self) -> Option<BoxFuture<'_, Result<Bytes, CameraError>>> {
        None
    }
}

/// A camera, and where its pictures are.
#[derive(Clone)]
pub(crate) struct CameraSource {
    pub(crate) camera: Camera,
    /// As the printer's side sees them, for those who ask.
    pub(crate) stream: Option<Url>,
    pub(crate) snapshot: Option<Url>,
    pub(crate) frames: Arc<dyn FrameSource>,
}

impl std::fmt::Debug for CameraSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CameraSource").field("camera", &self.camera).finish_non_exhaustive()
    }
}

impl CameraSource {
    /// What two names of one camera have in common.
    pub(crate) fn key(&self) -> String {
        let text = |url: &Option<Url>| url.as_ref().map_or("", Url::as_str).to_owned();
        format!("{} {}", text(&self.stream), text(&self.snapshot))
    }

    /// Whether both show the same.
    pub(crate) fn is_same_picture(&self, other: &Self) -> bool {
        self.stream == other.stream && self.snapshot == other.snapshot
    }
}

impl CameraAddresses {
    pub(crate) fn new(target: &PrinterUrl, allowed: Vec<String>, tls: &Arc<rustls::ClientConfig>) -> Self {
        // A printer without a web interface can have a camera that is one.
        let web = target.web().unwrap_or_else(|| target.at_http_port(80));
        let mut base = Url::parse(&web.to_string()).ok();
        if let Some(base) = &mut base
            && MOONRAKER_PORTS.contains(&target.port())
        {
            // Only addresses that have no port refuse this.
            let _ = base.set_port(None);
        }
        let allowed = allowed.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { tls: Arc::clone(tls), base, host: target.host().to_owned(), allowed }
    }

    /// A camera with what may be used of its addresses; `None` if there is nothing.
    pub(crate) fn source(&self, camera: Camera, stream: Option<&str>, snapshot: Option<&str>) -> Option<CameraSource> {
        let stream = self.resolve(stream).map(repair);
        let snapshot = self.resolve(snapshot).filter(|url| !RtspCamera::takes(url)).map(repair);
        if stream.is_none() && snapshot.is_none() {
            return None;
        }
        let over_http = |stream: Option<Url>, other_stream| HttpCamera {
            stream,
            other_stream,
            snapshot: snapshot.clone(),
            tls: Arc::clone(&self.tls),
        };
        if let Some(url) = stream.as_ref().filter(|url| RtspCamera::takes(url)) {
            let pictures = snapshot.is_some().then(|| over_http(None, None));
            let frames = Arc::new(RtspCamera::new(url.clone(), RTSP_FRAMES_PER_SECOND, pictures));
            return Some(CameraSource { camera, stream, snapshot, frames });
        }
        let (stream, other_stream) = match stream {
            Some(stream) => beside_webrtc(stream),
            None => (None, None),
        };
        let frames = Arc::new(over_http(stream.clone(), other_stream));
        Some(CameraSource { camera, stream, snapshot, frames })
    }

    /// A camera that speaks RTSP at the printer itself, by an address that its platform has made and not the printer's
    /// software; it may hold a user and a password.
    pub(crate) fn rtsp(camera: Camera, url: Url, frames_per_second: u8) -> CameraSource {
        let frames = Arc::new(RtspCamera::new(url.clone(), frames_per_second, None));
        CameraSource { camera, stream: Some(url), snapshot: None, frames }
    }

    /// How TLS is spoken to the printer's side.
    pub(crate) fn tls(&self) -> &Arc<rustls::ClientConfig> {
        &self.tls
    }

    /// Whether an address may be used.
    pub(crate) fn allow(&self, address: &str) -> bool {
        self.resolve(Some(address)).is_some()
    }

    fn resolve(&self, address: Option<&str>) -> Option<Url> {
        let address = address.map(str::trim).filter(|address| !address.is_empty() && address.len() <= 2048)?;
        let mut url = self.base.as_ref()?.join(address).ok()?;
        match url.scheme() {
            // Cameras on the network have no other way to be told who asks.
            "rtsp" | "rtsps" => {}
            "http" | "https" if url.username().is_empty() && url.password().is_none() => {}
            _ => return None,
        }
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        // What the printer's software calls by these names is its own machine, and not the agent's.
        if matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1") && host != self.host {
            let own = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
            url.set_host(Some(&own)).ok()?;
            return Some(url);
        }
        let with_port = format!("{host}:{}", port(&url)?);
        let is_allowed =
            host == self.host || self.allowed.iter().any(|allowed| *allowed == host || *allowed == with_port);
        is_allowed.then_some(url)
    }
}

/// The port, also where it is the scheme's own.
fn port(url: &Url) -> Option<u16> {
    url.port_or_known_default().or_else(|| match url.scheme() {
        "rtsp" => Some(554),
        "rtsps" => Some(322),
        _ => None,
    })
}

/// The address of mjpg-streamer behind a web server as it should be: without the slash, the server would answer with a
/// redirection.
fn repair(mut url: Url) -> Url {
    let is_bare = url.path().ends_with("/webcam") && url.query().is_some_and(|query| query.starts_with("action="));
    if is_bare {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

/// camera-streamer has its MJPEG beside its WebRTC, at one of two places; other addresses are what they are.
fn beside_webrtc(url: Url) -> (Option<Url>, Option<Url>) {
    let place = url.path().strip_suffix("/webrtc").filter(|_| url.query().is_none());
    let Some(place) = place.map(str::to_owned) else { return (Some(url), None) };
    let beside = |name: &str, query: Option<&str>| {
        let mut url = url.clone();
        url.set_path(&format!("{place}/{name}"));
        url.set_query(query);
        url
    };
    (Some(beside("stream", None)), Some(beside("stream.mjpg", Some("fps=10"))))
}

/// Why a camera gives no picture. The texts are for its owner.
#[derive(Debug, Error)]
pub(crate) enum CameraError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Software(#[from] AskError),
    #[error("the camera's address cannot be used")]
    Address,
    #[error("the camera does not answer in HTTP")]
    NotHttp(#[from] hyper::Error),
    #[error("the camera answers {0}")]
    Status(StatusCode),
    #[error("the camera does not answer in time")]
    Silent,
    #[error("the camera's answer is no picture")]
    NoPicture,
    #[error("the camera's picture is larger than {MAX_PICTURE} bytes")]
    TooLarge,
    #[error("the camera has ended its stream")]
    Ended,
    #[error(
        "the camera speaks RTSP, and the program that makes pictures of that is missing: install `ffmpeg` on the agent's machine"
    )]
    FfmpegMissing,
    #[error("`ffmpeg` cannot be used")]
    FfmpegBroken(#[source] io::Error),
    #[error("`ffmpeg` makes no pictures of the camera's stream: {0}")]
    Ffmpeg(String),
    #[error("the connection to the camera broke off: {0}")]
    Broke(std::io::Error),
    #[error("the camera hangs up: is the access code right, and is it allowed to be seen in the local network?")]
    Refused,
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    pub(crate) fn no_tls() -> Arc<rustls::ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
    }

    #[test]
    fn addresses_are_repaired() {
        let addresses = CameraAddresses::new(&"http://octopi.local".parse().unwrap(), vec![], &no_tls());
        let source = |stream: &str, snapshot: &str| {
            let source = addresses.source(Camera::default(), Some(stream), Some(snapshot)).unwrap();
            [source.stream, source.snapshot].map(|url| url.map(String::from).unwrap_or_default())
        };
        let (stream, snapshot) =
            ("http://octopi.local/webcam/?action=stream", "http://octopi.local/webcam/?action=snapshot");
        assert_eq!(source("/webcam?action=stream", "/webcam?action=snapshot"), [stream, snapshot]);
        assert_eq!(source("/webcam/?action=stream", "/webcam/?action=snapshot"), [stream, snapshot]);
        assert_eq!(source("/webcam/webrtc", "/webcam/snapshot")[0], "http://octopi.local/webcam/stream");
        assert_eq!(source("/webcam/webrtc?x=1", "")[0], "http://octopi.local/webcam/webrtc?x=1");
        assert_eq!(source("/webcam?x=1", "rtsp://octopi.local/")[0..2], ["http://octopi.local/webcam?x=1", ""]);
        let webrtc = |url: &str| beside_webrtc(url.parse().unwrap()).1.map(String::from);
        assert_eq!(webrtc("http://a/webrtc").as_deref(), Some("http://a/stream.mjpg?fps=10"));
        assert_eq!(webrtc("http://a/stream"), None);
        let own = CameraAddresses::rtsp(Camera::default(), "rtsps://bblp:code@10.0.0.9:322/live".parse().unwrap(), 15);
        assert!(own.snapshot.is_none() && own.frames.snapshot().is_none() && !format!("{own:?}").contains("code"));
    }

    #[test]
    fn cameras_are_on_the_printers_host_or_where_the_owner_allows() {
        let check = |target: &str, address: &str, expected: Option<&str>| {
            let allowed = vec!["Cam.local".to_owned(), "10.0.0.5:8081".to_owned()];
            let addresses = CameraAddresses::new(&target.parse().unwrap(), allowed, &no_tls());
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
        check(octopi, "rtsp://octopi.local/live", Some("rtsp://octopi.local/live"));
        check(octopi, "rtsp://u:p@OctoPi.local:8554/live", Some("rtsp://u:p@OctoPi.local:8554/live"));
        check(octopi, "rtsp://localhost:8554/live", Some("rtsp://octopi.local:8554/live"));
        check(octopi, "rtsps://cam.local/live", Some("rtsps://cam.local/live"));
        check(octopi, "http://10.0.0.5:8081/", Some("http://10.0.0.5:8081/"));
        for refused in [
            "http://10.0.0.5/",
            "http://169.254.169.254/latest",
            "//evil.example/x",
            "http://octopi.local@evil.example/",
            "http://user:pass@octopi.local/",
            "rtsp://elsewhere.example/",
            "rtsp://2130706433/",
            "rtsp://octopi.local@evil.example/",
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
