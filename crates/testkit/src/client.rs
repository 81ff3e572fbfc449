//! Clients: HTTP/1.1 and HTTP/2 with any host name, with and without TLS, raw bytes, WebSockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::ext::ReasonPhrase;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tunnel::dial::tls_config;

use crate::certificates::TestCertificates;
use crate::wait::LIMIT;

/// What browsers take; the library's own limit is 16 KiB.
const MAX_HEADER_LIST: u32 = 256 * 1024;

/// The version of HTTP that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS, by prior knowledge.
    Http2,
}

impl Protocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Http1, Self::Http2];

    /// As `http` names it.
    pub fn version(self) -> Version {
        match self {
            Self::Http1 => Version::HTTP_11,
            Self::Http2 => Version::HTTP_2,
        }
    }
}

/// Any error.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Body of a client's request.
type ClientBody = UnsyncBoxBody<Bytes, BoxError>;

/// The bytes of a client's connection.
pub trait ClientIo: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ClientIo for T {}

/// Sends requests to one address, whatever host they name.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    protocol: Protocol,
    tls: Option<TlsConnector>,
}

/// A response with its whole body.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its status.
    pub status: StatusCode,
    /// The words behind the status, where they are not the usual ones. HTTP/2 has none.
    pub reason: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or how reading it failed.
    pub body: Result<Bytes, String>,
}

impl Exchange {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body.as_ref().unwrap()).into_owned()
    }

    /// A header as text, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Client {
    /// For the service at `address`, in HTTP/1.1.
    pub fn new(address: SocketAddr) -> Self {
        Self::speaking(Protocol::Http1, address)
    }

    /// For the service at `address`, in `protocol`.
    pub fn speaking(protocol: Protocol, address: SocketAddr) -> Self {
        Self { address, protocol, tls: None }
    }

    /// Speaks TLS and trusts `certificates`. The protocol is offered as the only one.
    #[must_use]
    pub fn over_tls(mut self, certificates: &TestCertificates) -> Self {
        let mut config = (*tls_config(Some(&certificates.authority)).unwrap()).clone();
        config.alpn_protocols = match self.protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        self.tls = Some(TlsConnector::from(Arc::new(config)));
        self
    }

    /// Gets a path of `host` with further headers.
    pub async fn get(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Exchange {
        let mut request = Request::get(path).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.exchange(request.body(Full::default()).unwrap()).await
    }

    /// Sends a request on a connection of its own and reads the whole response.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Exchange {
        let response = tokio::time::timeout(LIMIT, self.send(request)).await.unwrap().unwrap();
        tokio::time::timeout(LIMIT, Exchange::read(response)).await.unwrap()
    }

    /// Sends a request on a connection of its own; the body is read by the caller.
    ///
    /// # Errors
    /// If no response comes.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, hyper::Error>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.connect(&host_of(&request)).await?.send(request).await
    }

    /// Opens a connection for requests to `host`.
    ///
    /// # Errors
    /// If HTTP cannot be spoken on it.
    pub async fn connect(&self, host: &str) -> Result<Connection, hyper::Error> {
        let io = TokioIo::new(self.open(host).await);
        let sender = match self.protocol {
            Protocol::Http1 => {
                let (sender, driver) = http1::handshake(io).await?;
                tokio::spawn(driver.with_upgrades());
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                    .max_header_list_size(MAX_HEADER_LIST)
                    .handshake(io)
                    .await?;
                tokio::spawn(driver);
                Sender::Http2(sender)
            }
        };
        Ok(Connection { sender, scheme: if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP } })
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// A connection's bytes, TLS handshake done.
    async fn open(&self, host: &str) -> Box<dyn ClientIo> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let Some(connector) = &self.tls else { return Box::new(stream) };
        let name = host.split(':').next().unwrap_or_default().to_owned();
        Box::new(connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap())
    }
}

/// An open connection; requests follow one another on it, or run beside each other in HTTP/2.
pub struct Connection {
    sender: Sender,
    scheme: Scheme,
}

enum Sender {
    Http1(http1::SendRequest<ClientBody>),
    Http2(http2::SendRequest<ClientBody>),
}

impl Connection {
    /// Sends a request; the body is read by the caller.
    ///
    /// # Errors
    /// If no response comes.
    pub async fn send<B>(&mut self, request: Request<B>) -> Result<Response<Incoming>, hyper::Error>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                let host = host_of(&request);
                request.headers_mut().remove(header::HOST);
                let mut uri = std::mem::take(request.uri_mut()).into_parts();
                uri.scheme = Some(self.scheme.clone());
                uri.authority = Some(host.parse::<Authority>().unwrap());
                *request.uri_mut() = Uri::from_parts(uri).unwrap();
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

impl Exchange {
    /// Reads a response to its end.
    pub async fn read(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let reason = parts.extensions.get::<ReasonPhrase>();
        let reason = reason.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
        let body = body.collect().await.map(|body| body.to_bytes()).map_err(|error| error.to_string());
        Self { status: parts.status, reason, headers: parts.headers, body }
    }
}

fn host_of<B>(request: &Request<B>) -> String {
    request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned()
}

/// A TCP connection to send anything on.
pub async fn connect_raw(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Sends bytes and reads until the other side closes or is silent for `quiet`. Returns what came and whether the
/// connection was closed.
pub async fn raw_exchange(address: SocketAddr, bytes: &[u8], quiet: Duration) -> (Vec<u8>, bool) {
    let mut stream = connect_raw(address).await;
    // The other side may refuse, and close, before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut received = Vec::new();
    loop {
        let mut buffer = [0; 16 * 1024];
        match tokio::time::timeout(quiet, stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return (received, true),
            Ok(Ok(length)) => received.extend_from_slice(&buffer[..length]),
            Err(_) => return (received, false),
        }
    }
}

/// Opens a WebSocket at `path` of `host` with further headers.
///
/// # Errors
/// [`Error::Http`] with the response, if it is refused.
pub async fn websocket(
    address: SocketAddr,
    host: &str,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{host}{path}").into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    tokio_tungstenite::client_async(request, stream).await.map(|(socket, _)| socket)
}
