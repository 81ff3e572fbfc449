//! Pictures of a printer's own cameras, fetched from where its software says that they are.
//!
//! Whoever sets up the printer's software writes those addresses, and that need not be who runs the agent. So they
//! may lead to the printer's own host, or to hosts that the agent's configuration names, and nowhere else: the agent
//! must not become a way into its network.

mod http_camera;
mod hub;
mod jpeg;
mod mjpeg;
mod picture;
mod response;

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

use self::http_camera::HttpCamera;
pub(crate) use self::hub::CameraHub;
pub(crate) use self::picture::is_picture;
pub(crate) use self::response::{picture_response, stream_response};
use crate::PrinterUrl;
use crate::connector::ConnectError;
use crate::software_client::AskError;

/// For a picture; some cameras wake up first.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(10);
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
        let (stream, snapshot) = (self.resolve(stream), self.resolve(snapshot));
        if stream.is_none() && snapshot.is_none() {
            return None;
        }
        let tls = Arc::clone(&self.tls);
        let frames = Arc::new(HttpCamera { stream: stream.clone(), snapshot: snapshot.clone(), tls });
        Some(CameraSource { camera, stream, snapshot, frames })
    }

    /// Whether an address may be used.
    pub(crate) fn allow(&self, address: &str) -> bool {
        self.resolve(Some(address)).is_some()
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
