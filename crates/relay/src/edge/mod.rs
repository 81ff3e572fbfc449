//! Where strangers arrive: TCP, TLS, HTTP, and bounds on all that they may cost before anything is known of them.

pub(crate) mod head_guard;
mod io;
mod limits;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tunnel::frame_meter::{CLIENT_PREFACE_LENGTH, MeteredIo};
use tunnel::pooled_io::PooledIo;

use crate::body::RelayBody;
use crate::relay::Relay;
use crate::respond::plain_response;
use crate::timeouts::Timeouts;
use head_guard::{HeadFault, HeadGuard, MAX_HEAD};

pub use self::io::EdgeIo;
pub use limits::{ConnectionGuard, ConnectionLimits, DEFAULT_PER_ADDRESS, LimitReached};
pub use tls::{CertificateError, CertificateFiles, Certificates};

/// Header lines of a request. OctoPrint's own pages send about twenty.
const MAX_HEADERS: usize = 100;
/// hyper reads and writes in steps up to this; it grows to it only while a body flows.
const MAX_BUFFER: usize = 128 * 1024;
/// Requests at once on one HTTP/2 connection.
const MAX_HTTP2_STREAMS: u32 = 100;
/// Streams that a visitor may reset before they were looked at, or that break the protocol, before the connection is
/// ended (CVE-2023-44487, CVE-2025-8671).
const MAX_HTTP2_RESETS: usize = 50;
/// What a visitor's upload may have under way.
const HTTP2_STREAM_WINDOW: u32 = 1024 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// After an error of the listener itself, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How an HTTP/2 connection begins (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) is_tls: bool,
}

/// Serves one listener.
#[derive(Clone)]
pub struct Edge {
    /// Handles the requests.
    pub relay: Arc<Relay>,
    /// Speaks TLS with these certificates, or none.
    pub certificates: Option<Certificates>,
    /// Shared by all listeners.
    pub limits: ConnectionLimits,
    /// Connections, to wait for at the end.
    pub tracker: TaskTracker,
    /// No more connections, and no more requests on those that are open.
    pub shutdown: CancellationToken,
}

impl Edge {
    /// Accepts connections until the shutdown.
    pub async fn serve(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shutdown.cancelled() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let ip: IpAddr = address.ip().to_canonical();
            let is_trusted = self.relay.trusted_proxies.iter().any(|network| network.contains(&ip));
            let guard = match self.limits.admit(ip, is_trusted) {
                Ok(guard) => guard,
                Err(limit) => {
                    let limit = match limit {
                        LimitReached::Total => "total",
                        LimitReached::Address => "address",
                    };
                    ::metrics::counter!("spoolway_visitor_connections_refused_total", "limit" => limit).increment(1);
                    continue;
                }
            };
            let edge = self.clone();
            self.tracker.spawn(edge.serve_connection(stream, address, guard));
        }
    }

    async fn serve_connection(self, stream: TcpStream, address: SocketAddr, guard: ConnectionGuard) {
        if tunnel::socket::tune(&stream).is_err() {
            return;
        }
        let peer = Peer { address, is_tls: self.certificates.is_some() };
        let Timeouts { handshake, write_stall, .. } = self.relay.timeouts;
        let (io, is_http2) = match &self.certificates {
            Some(certificates) => {
                let acceptor = TlsAcceptor::from(certificates.current());
                match tokio::time::timeout(handshake, acceptor.accept(PooledIo::new(stream))).await {
                    Ok(Ok(stream)) => {
                        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        (EdgeIo::tls(stream, write_stall, guard), is_http2)
                    }
                    Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
                    Err(_) => return tracing::debug!("a TLS handshake took too long"),
                }
            }
            None => match tokio::time::timeout(handshake, begins_http2(&stream)).await {
                Ok(Ok(is_http2)) => (EdgeIo::plain(stream, write_stall, guard), is_http2),
                Ok(Err(_)) | Err(_) => return,
            },
        };
        if is_http2 { self.serve_http2(io, peer).await } else { self.serve_http1(io, peer).await }
    }

    async fn serve_http1(self, mut io: EdgeIo, peer: Peer) {
        let heads = io.guard_heads();
        let relay = self.relay;
        let head_limit = relay.timeouts.head;
        let service = service_fn(move |request| {
            let (relay, heads) = (Arc::clone(&relay), Arc::clone(&heads));
            async move { Ok::<_, std::convert::Infallible>(guarded(relay, request, peer, &heads).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_limit)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a visitor's connection ended");
        }
    }

    async fn serve_http2(self, io: EdgeIo, peer: Peer) {
        let relay = self.relay;
        let timeouts = relay.timeouts;
        let requests = Arc::new(AtomicU64::new(0));
        let begun = Arc::clone(&requests);
        let service = service_fn(move |request| {
            let relay = Arc::clone(&relay);
            begun.fetch_add(1, Ordering::Relaxed);
            async move {
                let mut response = relay.handle(request, peer).await;
                // HTTP/2 has no connection headers (RFC 9113 §8.2.2).
                response.headers_mut().remove(header::CONNECTION);
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_HTTP2_STREAMS)
            .max_pending_accept_reset_streams(MAX_HTTP2_RESETS)
            .max_local_error_reset_streams(MAX_HTTP2_RESETS)
            .max_header_list_size(MAX_HEAD as u32)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_send_buf_size(MAX_BUFFER)
            .keep_alive_interval(timeouts.http2_keep_alive)
            .keep_alive_timeout(timeouts.http2_keep_alive)
            .enable_connect_protocol()
            .serve_connection(TokioIo::new(MeteredIo::new(io, CLIENT_PREFACE_LENGTH)), service);
        let mut connection = std::pin::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => Some(outcome),
            () = self.shutdown.cancelled() => None,
            () = no_more_requests(&requests, &timeouts) => None,
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => {
                connection.as_mut().graceful_shutdown();
                if requests.load(Ordering::Relaxed) > 0 {
                    connection.await
                } else {
                    // Perhaps not even the preface has come, without which there is no orderly end.
                    tokio::time::timeout(timeouts.handshake, connection).await.unwrap_or(Ok(()))
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a visitor's connection ended");
        }
    }
}

/// Resolves when no request has begun on an HTTP/2 connection for so long that it is only held open. What has begun may
/// last longer.
async fn no_more_requests(requests: &AtomicU64, timeouts: &Timeouts) {
    let mut seen = 0;
    let mut limit = timeouts.head;
    loop {
        tokio::time::sleep(limit).await;
        let begun = requests.load(Ordering::Relaxed);
        if begun == seen {
            return;
        }
        seen = begun;
        limit = timeouts.http2_idle;
    }
}

/// Refuses a head that cannot be told apart from two; ends a connection on which the next head could not be found.
async fn guarded(
    relay: Arc<Relay>,
    request: Request<Incoming>,
    peer: Peer,
    heads: &Mutex<HeadGuard>,
) -> Response<RelayBody> {
    let verdict = heads.lock().handle_request(request.headers());
    if let Some(fault) = verdict.fault {
        let (status, text) = match fault {
            HeadFault::AmbiguousLength => {
                (StatusCode::BAD_REQUEST, "the request tells its length in more than one way")
            }
            HeadFault::BareLineFeed => (StatusCode::BAD_REQUEST, "a line of the request does not end in CRLF"),
            HeadFault::UnknownCoding => (StatusCode::NOT_IMPLEMENTED, "the only transfer coding here is `chunked`"),
            HeadFault::Fragment => (StatusCode::BAD_REQUEST, "the request's target has a fragment"),
        };
        return plain_response(status, text);
    }
    // Where no switch follows, what stands behind an upgrade request may have been meant for the other protocol. A
    // visitor who was not asked for a body may send it, or not.
    let in_doubt = [header::UPGRADE, header::EXPECT].iter().any(|name| request.headers().contains_key(name));
    let must_close = in_doubt || !verdict.can_continue || request.version() == Version::HTTP_10;
    let mut response = relay.handle(request, peer).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // What follows is another protocol's, and kept by nobody.
        *heads.lock() = HeadGuard::Switched;
    } else if must_close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether a plain connection begins with HTTP/2's preface; looks without taking.
async fn begins_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut start = [0; HTTP2_PREFACE.len()];
    loop {
        let length = stream.peek(&mut start).await?;
        if length == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if start.get(..length) != HTTP2_PREFACE.get(..length) {
            return Ok(false);
        }
        if length == start.len() {
            return Ok(true);
        }
        // Only a peer that stops in the middle of the preface gets here; the handshake's limit ends the wait.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
