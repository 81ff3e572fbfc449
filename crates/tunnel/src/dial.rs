//! The agent's way to the service: address, TCP, TLS, upgrade, and the fallback.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper_util::rt::TokioIo;
use model::Secret;
use model::link::{Hello, Refusal, Welcome};
use model::wire;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use url::{Host, Url};

use crate::accept::{decode, encode};
use crate::agent_side::PrinterStream;
use crate::pooled_io::PooledIo;
use crate::socket::tune;
use crate::transport::{RawIo, TunnelIo, WithEarlyBytes};
use crate::websocket_io::WebSocketIo;

/// From the first packet to the answer to the upgrade.
const DIAL_TIMEOUT: Duration = Duration::from_secs(20);
/// A refusal is a short JSON text.
const MAX_REFUSAL: usize = 16 * 1024;

/// Where the service is.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(Url);

/// A service address that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ServerUrlError {
    /// No URL at all.
    #[error("`{0}` is not a URL; write it like `https://spoolway.example`")]
    NotAUrl(String),
    /// Some other scheme.
    #[error("the service's URL must begin with `https://` or `http://`")]
    Scheme,
    /// A user, path, query or fragment.
    #[error("the service's URL is a host and nothing else, like `https://spoolway.example`")]
    MoreThanAHost,
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;
    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let url = Url::parse(text).map_err(|_| ServerUrlError::NotAUrl(text.to_owned()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ServerUrlError::Scheme);
        }
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        if bare { Ok(Self(url)) } else { Err(ServerUrlError::MoreThanAHost) }
    }
}

impl ServerUrl {
    fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether it names this machine, in which case nobody can listen in between.
    fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            // RFC 6761 §6.3: `localhost` and what is below it is this machine.
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }

    fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How to reach the service, and how to know that it is the right one.
#[derive(Clone)]
pub struct DialOptions {
    /// Its address.
    pub server: ServerUrl,
    /// Which certificates to trust; see [`tls_config`].
    pub tls: Arc<rustls::ClientConfig>,
    /// Allows plain HTTP to another machine: whoever listens in between then holds the printer's key.
    pub insecure: bool,
}

impl DialOptions {
    /// Whether nobody can listen in between, or the person who runs the agent accepts that.
    fn may_connect(&self) -> bool {
        self.server.is_tls() || self.server.is_loopback() || self.insecure
    }
}

/// Why the service was not reached.
#[derive(Debug, Error)]
pub enum DialError {
    /// Plain HTTP to another machine without leave.
    #[error(
        "`{0}` is not encrypted and not on this machine; use `https://`, or `--insecure` if you accept that others can take over the printer"
    )]
    PlainHttp(ServerUrl),
    /// The name has no address, or nothing answers there.
    #[error("cannot connect to `{server}`")]
    Connect {
        /// Where to.
        server: ServerUrl,
        /// What went wrong.
        source: io::Error,
    },
    /// The service's certificate is not to be trusted, or TLS failed otherwise.
    #[error("cannot make a secure connection to `{server}`")]
    Tls {
        /// Where to.
        server: ServerUrl,
        /// What went wrong.
        source: io::Error,
    },
    /// The connection broke during the upgrade, or what answered does not speak HTTP.
    #[error("`{server}` did not answer the upgrade in HTTP")]
    Http {
        /// Where to.
        server: ServerUrl,
        /// What went wrong.
        source: hyper::Error,
    },
    /// Nothing came back in time.
    #[error("`{0}` did not answer within {seconds} seconds", seconds = DIAL_TIMEOUT.as_secs())]
    Timeout(ServerUrl),
    /// The service said no.
    #[error("the service refuses this printer: {}", .0.message)]
    Refused(Refusal),
    /// Something else than a Spoolway service answered both ways of upgrading.
    #[error(
        "`{server}` answered {status} to the upgrade: it is no Spoolway service, or a proxy in front of it does not pass upgrades on"
    )]
    NotUpgraded {
        /// Where to.
        server: ServerUrl,
        /// The answer to the last try.
        status: StatusCode,
    },
}

/// Trusts the system's certificate authorities and those in the PEM file `extra_ca`.
///
/// # Errors
/// If the file cannot be read or holds no certificate, or if there is no authority at all to trust.
pub fn tls_config(extra_ca: Option<&Path>) -> io::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = extra_ca {
        let failed =
            |what: &str| io::Error::other(format!("cannot read certificates from `{}`: {what}", path.display()));
        let mut found = false;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error.to_string()))? {
            let certificate = certificate.map_err(|error| failed(&error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(&error.to_string()))?;
            found = true;
        }
        if !found {
            return Err(failed("the file holds none"));
        }
    }
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // Servers take the client's first choice. AES-128 is as safe for this and costs a quarter less than AES-256, which
    // the library puts first.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // The upgrade needs HTTP/1.1: HTTP/2 has none.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A connection of the agent's to the service, upgraded.
pub type DialledIo = TunnelIo<Box<dyn PrinterStream>>;

/// A way to ask for the upgrade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// `spoolway-tunnel`.
    #[default]
    Raw,
    /// A WebSocket.
    WebSocket,
}

/// Dials the service and introduces the agent; tries `preferred` first and the other way if something in between
/// refuses it. Returns which one worked.
///
/// # Errors
/// See [`DialError`].
pub async fn dial(
    options: &DialOptions,
    preferred: Upgrade,
    hello: &Hello,
    key: &Secret,
) -> Result<(DialledIo, Welcome, Upgrade), DialError> {
    if !options.may_connect() {
        return Err(DialError::PlainHttp(options.server.clone()));
    }
    let other = if preferred == Upgrade::Raw { Upgrade::WebSocket } else { Upgrade::Raw };
    match dial_one(options, preferred, hello, key).await {
        Ok((io, welcome)) => Ok((io, welcome, preferred)),
        // A proxy that cannot pass the upgrade on answers something of its own, or cuts the connection.
        Err(DialError::NotUpgraded { .. } | DialError::Http { .. }) => {
            dial_one(options, other, hello, key).await.map(|(io, welcome)| (io, welcome, other))
        }
        Err(error) => Err(error),
    }
}

async fn dial_one(
    options: &DialOptions,
    upgrade: Upgrade,
    hello: &Hello,
    key: &Secret,
) -> Result<(DialledIo, Welcome), DialError> {
    let attempt = async {
        let io = connect(options).await?;
        request_upgrade(options, io, upgrade, hello, key).await
    };
    match tokio::time::timeout(DIAL_TIMEOUT, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(DialError::Timeout(options.server.clone())),
    }
}

/// What the service answers to a plain request.
pub struct ServiceAnswer {
    /// Its status.
    pub status: StatusCode,
    /// When it wants to be asked again, if it says so.
    pub retry_after: Option<Duration>,
    /// Its body; short.
    pub body: Bytes,
}

/// Asks the service something over HTTP, outside of any link; `key` proves who asks.
///
/// # Errors
/// See [`DialError`].
pub async fn ask(
    options: &DialOptions,
    method: Method,
    path: &'static str,
    key: &Secret,
    body: Bytes,
) -> Result<ServiceAnswer, DialError> {
    if !options.may_connect() {
        return Err(DialError::PlainHttp(options.server.clone()));
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let Ok(host) = HeaderValue::from_str(&options.server.authority()) {
        headers.insert(header::HOST, host);
    }
    if let Some(authorization) = bearer(key) {
        headers.insert(header::AUTHORIZATION, authorization);
    }
    let exchange = async {
        let failed = |source| DialError::Http { server: options.server.clone(), source };
        let io = TokioIo::new(connect(options).await?);
        let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.map_err(failed)?;
        tokio::spawn(connection);
        let response = send.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| value.parse().ok()).map(Duration::from_secs);
        // One that is too long or breaks off has nothing to say that we would understand.
        let body = Limited::new(response.into_body(), MAX_REFUSAL).collect().await;
        Ok(ServiceAnswer { status, retry_after, body: body.map(|body| body.to_bytes()).unwrap_or_default() })
    };
    match tokio::time::timeout(DIAL_TIMEOUT, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => Err(DialError::Timeout(options.server.clone())),
    }
}

fn bearer(key: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn connect(options: &DialOptions) -> Result<Box<dyn PrinterStream>, DialError> {
    let server = &options.server;
    let failed = |source| DialError::Connect { server: server.clone(), source };
    // Not every system's resolver knows the names below `localhost`.
    let host = if server.is_loopback() && server.host().ends_with("localhost") { "localhost" } else { server.host() };
    let tcp = TcpStream::connect((host, server.port())).await.map_err(failed)?;
    tune(&tcp).map_err(failed)?;
    if !server.is_tls() {
        return Ok(Box::new(tcp));
    }
    let failed = |source| DialError::Tls { server: server.clone(), source };
    let name = match server.host().parse::<IpAddr>() {
        Ok(address) => ServerName::IpAddress(address.into()),
        Err(_) => ServerName::try_from(server.host().to_owned()).map_err(|error| failed(io::Error::other(error)))?,
    };
    let connector = TlsConnector::from(Arc::clone(&options.tls));
    let tls = connector.connect(name, PooledIo::new(tcp)).await.map_err(failed)?;
    Ok(Box::new(tls))
}

async fn request_upgrade(
    options: &DialOptions,
    io: Box<dyn PrinterStream>,
    upgrade: Upgrade,
    hello: &Hello,
    key: &Secret,
) -> Result<(DialledIo, Welcome), DialError> {
    let server = &options.server;
    let failed = |source| DialError::Http { server: server.clone(), source };
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
    tokio::spawn(connection.with_upgrades());
    let websocket_key = STANDARD.encode(getrandom::u64().unwrap_or_default().to_le_bytes().repeat(2));
    let request = upgrade_request(server, upgrade, &websocket_key, hello, key);
    let response = send.send_request(request).await.map_err(failed)?;

    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let body = Limited::new(response.into_body(), MAX_REFUSAL).collect().await;
        let refusal = body.ok().and_then(|body| serde_json::from_slice::<Refusal>(&body.to_bytes()).ok());
        return Err(refusal.map_or(DialError::NotUpgraded { server: server.clone(), status }, DialError::Refused));
    }
    let headers = response.headers();
    let welcome: Option<Welcome> = decode(headers, wire::WELCOME_HEADER);
    let accepted = upgrade == Upgrade::Raw
        || headers
            .get(header::SEC_WEBSOCKET_ACCEPT)
            .is_some_and(|accept| accept == &derive_accept_key(websocket_key.as_bytes()));
    let Some(welcome) = welcome.filter(|_| accepted) else {
        return Err(DialError::NotUpgraded { server: server.clone(), status });
    };
    let upgraded = hyper::upgrade::on(response).await.map_err(failed)?;
    let raw = match upgraded.downcast::<TokioIo<Box<dyn PrinterStream>>>() {
        Ok(parts) if parts.read_buf.is_empty() => RawIo::Direct(parts.io.into_inner()),
        Ok(parts) => RawIo::Boxed(Box::new(WithEarlyBytes { early: parts.read_buf, io: parts.io.into_inner() })),
        Err(upgraded) => RawIo::Boxed(Box::new(TokioIo::new(upgraded))),
    };
    let io = match upgrade {
        Upgrade::Raw => TunnelIo::Raw(raw),
        Upgrade::WebSocket => TunnelIo::WebSocket(Box::new(WebSocketIo::new(raw, Role::Client).await)),
    };
    Ok((io, welcome))
}

fn upgrade_request(
    server: &ServerUrl,
    upgrade: Upgrade,
    websocket_key: &str,
    hello: &Hello,
    key: &Secret,
) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static(wire::TUNNEL_PATH);
    let headers = request.headers_mut();
    let mut insert = |name, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    insert(header::HOST, HeaderValue::from_str(&server.authority()).ok());
    insert(header::CONNECTION, HeaderValue::from_str("Upgrade").ok());
    insert(header::USER_AGENT, HeaderValue::from_str(&format!("spoolway-agent/{}", hello.agent_version)).ok());
    insert(header::AUTHORIZATION, bearer(key));
    let mut packed = encode(hello);
    packed.set_sensitive(true);
    insert(header::HeaderName::from_static(wire::HELLO_HEADER), Some(packed));
    match upgrade {
        Upgrade::Raw => insert(header::UPGRADE, HeaderValue::from_str(wire::TUNNEL_PROTOCOL).ok()),
        Upgrade::WebSocket => {
            insert(header::UPGRADE, HeaderValue::from_str("websocket").ok());
            insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_str("13").ok());
            insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_str(websocket_key).ok());
            insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(wire::TUNNEL_PROTOCOL).ok());
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_url_is_a_host_only() {
        for good in ["https://spoolway.example", "http://127.0.0.1:8080/", "https://[::1]:8443"] {
            assert!(good.parse::<ServerUrl>().is_ok(), "{good}");
        }
        for (bad, error) in [
            ("ftp://a", ServerUrlError::Scheme),
            ("https://a/b", ServerUrlError::MoreThanAHost),
            ("https://u:p@a", ServerUrlError::MoreThanAHost),
            ("https://a/?q", ServerUrlError::MoreThanAHost),
            ("a.example", ServerUrlError::NotAUrl("a.example".into())),
        ] {
            assert_eq!(bad.parse::<ServerUrl>(), Err(error), "{bad}");
        }
    }

    #[tokio::test]
    async fn plain_http_is_for_this_machine_only() {
        let options = DialOptions {
            server: "http://192.0.2.1".parse().expect("it is a URL"),
            tls: tls_config(None).expect("the system has authorities"),
            insecure: false,
        };
        let hello = Hello {
            protocol: 1,
            printer_id: None,
            enrolment_token: None,
            agent_version: String::new(),
            capabilities: vec![],
            printer: Default::default(),
        };
        let outcome = dial(&options, Upgrade::Raw, &hello, &Secret::generate()).await;
        assert!(matches!(outcome.err(), Some(DialError::PlainHttp(_))));
    }
}
