//! A small HTTP client that hides nothing.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Nothing that a test waits for takes this long.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) async fn send(address: SocketAddr, request: http::request::Builder, body: impl Into<Bytes>) -> Reply {
    let response = open(address, request, body).await;
    let (parts, body) = response.into_parts();
    let body = tokio::time::timeout(LONG, body.collect()).await.unwrap().unwrap().to_bytes();
    Reply { status: parts.status, headers: parts.headers, body }
}

/// A response whose body has yet to come.
pub(crate) async fn open(
    address: SocketAddr,
    request: http::request::Builder,
    body: impl Into<Bytes>,
) -> http::Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = request.header("host", address.to_string()).body(Full::new(body.into())).unwrap();
    tokio::time::timeout(LONG, sender.send_request(request)).await.unwrap().unwrap()
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Reply {
    send(address, Request::get(path), "").await
}

/// Waits until `condition` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
