//! The printer's camera: RTSP where the printer names an address for it, else pictures over a TLS port of its own.

use std::sync::Arc;

use model::Secret;
use model::printing::Camera;
use url::Url;

use super::USER;
use super::certificate::{FirstUse, PinnedCertificate};
use super::report::{Report, text};
use crate::cameras::{CameraAddresses, CameraSource, ChamberCamera};
use crate::connector::{ConnectError, PrinterConnector};
use crate::platforms::{CONNECT_TIMEOUT, PlatformContext};

/// What the camera is called; the printer has no name for it.
const NAME: &str = "chamber";
/// Pictures that are made of the video in a second.
const FRAMES_PER_SECOND: u8 = 15;

/// Ways to the camera.
pub(super) struct Cameras {
    /// As it stands in a URL.
    host: String,
    access_code: Secret,
    chamber: CameraSource,
}

impl Cameras {
    pub(super) fn new(
        context: &PlatformContext,
        certificate: &Arc<PinnedCertificate>,
        access_code: Secret,
    ) -> Result<Self, ConnectError> {
        let target = context.connector.target();
        let host = if target.host().contains(':') { format!("[{}]", target.host()) } else { target.host().to_owned() };
        let port = context.bambu_ports.camera;
        let tls = certificate.tls(FirstUse::Waits, context.addresses.tls());
        let at_port = target.at_tls_port(port);
        let connector = PrinterConnector::new(at_port, &tls, CONNECT_TIMEOUT)?;
        let chamber = CameraSource {
            camera: camera(),
            // Nobody but the agent can open it; it tells this camera from others.
            stream: Url::parse(&format!("wss://{host}:{port}/")).ok(),
            snapshot: None,
            frames: Arc::new(ChamberCamera::new(connector, access_code.clone())),
        };
        Ok(Self { host, access_code, chamber })
    }

    /// The camera, as the printer reports it. An address for RTSP is there only while its live view is switched on.
    pub(super) fn of(&self, report: &Report) -> Vec<CameraSource> {
        let rtsp = text(report.at(&["ipcam", "rtsp_url"])).and_then(|address| self.rtsp(address));
        vec![rtsp.unwrap_or_else(|| self.chamber.clone())]
    }

    fn rtsp(&self, address: &str) -> Option<CameraSource> {
        let mut url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "rtsp" | "rtsps"))?;
        // Whatever the printer says, the access code goes to the printer and to nobody else.
        url.set_host(Some(&self.host)).ok()?;
        url.set_username(USER).ok()?;
        url.set_password(Some(self.access_code.expose())).ok()?;
        Some(CameraAddresses::rtsp(camera(), url, FRAMES_PER_SECOND))
    }
}

fn camera() -> Camera {
    Camera { name: NAME.to_owned(), ..Camera::default() }
}
