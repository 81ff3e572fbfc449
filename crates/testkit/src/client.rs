//! Clients: HTTP/1.1 with any host name, raw bytes, WebSockets.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::wait::LIMIT;

/// Sends requests to one address, whatever host they name.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    address: SocketAddr,
}

/// A response with its whole body.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its status.
    pub status: StatusCode,
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
    /// For the service at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
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
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(LIMIT, body.collect()).await.unwrap();
        let body = body.map(|body| body.to_bytes()).map_err(|error| error.to_string());
        Exchange { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request on a connection of its own; the body is read by the caller.
    pub async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, hyper::Error>
    where
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        send.send_request(request).await
    }
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
