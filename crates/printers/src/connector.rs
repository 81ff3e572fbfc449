//! A connection to a printer's software.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::PrinterUrl;

/// Bytes to and from a printer's software.
pub trait PrinterIo: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> PrinterIo for T {}

/// Why a printer's software cannot be connected to. The texts are for the person who runs the agent.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The host's name has no address.
    #[error("the name `{0}` cannot be resolved; check its spelling, or use the printer's IP address")]
    NameNotResolved(String, #[source] io::Error),
    /// The host is there, but nothing listens on the port.
    #[error("nothing listens at `{0}`; is the printer's software running, and is the port right?")]
    Refused(PrinterUrl, #[source] io::Error),
    /// No answer in time.
    #[error("`{0}` does not answer; is the printer switched on and in this network?")]
    Timeout(PrinterUrl),
    /// There is no way to the host.
    #[error("`{0}` cannot be reached from this network")]
    Unreachable(PrinterUrl, #[source] io::Error),
    /// It does not speak TLS, or its certificate is not to be trusted.
    #[error("`{0}` cannot be spoken to over TLS: {1}")]
    Tls(PrinterUrl, String),
}

/// An open connection.
pub struct Connection {
    /// The bytes.
    pub io: Box<dyn PrinterIo>,
    /// The address of this machine that the connection leaves from.
    pub local: IpAddr,
}

/// Opens connections to one printer's software.
#[derive(Clone)]
pub struct PrinterConnector {
    target: PrinterUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
}

impl PrinterConnector {
    /// Connects to `target` within `timeout`; `tls` is used where its scheme is `https`.
    ///
    /// # Errors
    /// If the host's name cannot stand in a certificate.
    pub fn new(target: PrinterUrl, tls: &Arc<rustls::ClientConfig>, timeout: Duration) -> Result<Self, ConnectError> {
        let plain = Self { target, tls: None, timeout };
        if plain.target.scheme_is_https() { plain.over_tls(tls) } else { Ok(plain) }
    }

    /// The same over TLS, whatever the scheme says.
    ///
    /// # Errors
    /// If the host's name cannot stand in a certificate.
    pub(crate) fn over_tls(self, tls: &Arc<rustls::ClientConfig>) -> Result<Self, ConnectError> {
        let host = self.target.host();
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => ServerName::try_from(host.to_owned())
                .map_err(|error| ConnectError::Tls(self.target.clone(), error.to_string()))?,
        };
        Ok(Self { tls: Some((TlsConnector::from(Arc::clone(tls)), name)), ..self })
    }

    /// The printer's address.
    pub fn target(&self) -> &PrinterUrl {
        &self.target
    }

    /// Opens one connection.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        let tcp = timeout_at(deadline, self.connect_tcp())
            .await
            .map_err(|_| ConnectError::Timeout(self.target.clone()))??;
        let unreachable = |error| ConnectError::Unreachable(self.target.clone(), error);
        tcp.set_nodelay(true).map_err(unreachable)?;
        let local = tcp.local_addr().map_err(unreachable)?.ip();
        let Some((connector, name)) = &self.tls else { return Ok(Connection { io: Box::new(tcp), local }) };

        let failed = |reason: &dyn std::fmt::Display| ConnectError::Tls(self.target.clone(), reason.to_string());
        let tls = timeout_at(deadline, connector.connect(name.clone(), tcp))
            .await
            .map_err(|_| failed(&"no answer to the handshake"))?
            .map_err(|error| failed(&error))?;
        Ok(Connection { io: Box::new(tls), local })
    }

    async fn connect_tcp(&self) -> Result<TcpStream, ConnectError> {
        let host = self.target.host();
        // Not every resolver knows the names below `localhost`, which are this machine (RFC 6761 §6.3).
        let name = if host.ends_with(".localhost") { "localhost" } else { host };
        let not_resolved = |error| ConnectError::NameNotResolved(host.to_owned(), error);
        let addresses: Vec<SocketAddr> = lookup_host((name, self.target.port())).await.map_err(not_resolved)?.collect();
        if addresses.is_empty() {
            return Err(not_resolved(io::ErrorKind::NotFound.into()));
        }
        TcpStream::connect(&addresses[..]).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::Refused(self.target.clone(), error),
            io::ErrorKind::TimedOut => ConnectError::Timeout(self.target.clone()),
            _ => ConnectError::Unreachable(self.target.clone(), error),
        })
    }
}
