//! Where a measurement sends its requests, and whose resources it counts.

use std::net::SocketAddr;

use anyhow::Result;
use serde::Serialize;

use crate::process;

/// One of the three ways to the same origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Route {
    /// Straight to the origin: what the load generator and the origin can do.
    Direct,
    /// Through nginx as a plain reverse proxy: what every ratio is taken from.
    Nginx,
    /// Through the service and an agent, over a TLS tunnel.
    Spoolway,
}

impl Route {
    pub(crate) const ALL: [Self; 3] = [Self::Direct, Self::Nginx, Self::Spoolway];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct to the origin",
            Self::Nginx => "nginx, one hop, plain",
            Self::Spoolway => "Spoolway, TLS tunnel",
        }
    }
}

/// An address that answers HTTP, and what a request to it must say.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    /// The value of `Authorization`, where the way to the origin asks for one.
    pub(crate) authorization: Option<String>,
}

impl Endpoint {
    pub(crate) fn local(port: u16) -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            host: format!("localhost:{port}"),
            authorization: None,
        }
    }

    /// The head of a request, as it goes over the wire; `more` is further header lines, each with its line end.
    pub(crate) fn request_head(&self, method: &str, path: &str, more: &str) -> Vec<u8> {
        let authorization = match &self.authorization {
            Some(value) => format!("Authorization: {value}\r\n"),
            None => String::new(),
        };
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}{more}\r\n", self.host).into_bytes()
    }
}

/// One way to the origins, ready to be measured.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) route: Route,
    /// Reaches the nginx that serves files.
    pub(crate) files: Endpoint,
    /// Reaches the bench's own origin: uploads, WebSockets and the camera.
    pub(crate) live: Endpoint,
    /// The processes in between, whose CPU time and memory are counted; empty for [`Route::Direct`].
    pub(crate) processes: Vec<u32>,
    /// Of those, the ones on the service's side, whose memory must not grow with what visitors do.
    pub(crate) service_processes: Vec<u32>,
}

impl Target {
    /// CPU seconds used so far in between, or none where nothing is in between.
    pub(crate) fn cpu_seconds(&self) -> Result<Option<f64>> {
        if self.processes.is_empty() {
            return Ok(None);
        }
        Ok(Some(process::cpu_time(&self.processes)?.as_secs_f64()))
    }
}
