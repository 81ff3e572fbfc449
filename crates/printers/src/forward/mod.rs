//! Plain forwarding: what comes through the tunnel goes to the printer's own web interface, and back.
//!
//! The tunnel carries structure, never bytes of HTTP/1.1. Each request is framed anew here, with one method of telling
//! its length, so that a printer's lax server cannot be made to see two requests where the service saw one.

#[doc(hidden)]
pub mod fuzzing;

mod headers;
mod no_web;
mod pool;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use model::link::AgentFailure;
use model::wire;
use tunnel::agent_side::{Answer, PrinterHandler};
use tunnel::body::RecvBody;

use crate::connector::{ConnectError, PrinterConnector};
use crate::printer_url::PrinterUrl;

use no_web::no_web_interface;
use pool::{Pool, PooledBody};

/// A printer on the same LAN answers at once or is not there; the visitor is waiting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the printer's software is told who its visitor is.
///
/// Software that trusts addresses (Moonraker's `trusted_clients`, OctoPrint's `autologinLocal`) gives more rights to
/// a visitor who seems to sit beside it, so the real address is passed on unless the owner wants otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VisitorAddress {
    /// `X-Forwarded-For` and `X-Real-IP` carry the visitor's address.
    #[default]
    Forward,
    /// The printer sees only the agent.
    Hide,
}

/// Forwards requests to one printer.
pub struct Forwarder {
    /// `None` where the printer has no web interface.
    shared: Option<Arc<Shared>>,
}

struct Shared {
    connector: PrinterConnector,
    visitor_address: VisitorAddress,
    pool: Pool,
}

/// Body of a forwarded response: the printer's, or a text of ours.
pub type ForwardBody = Either<PooledBody, Full<Bytes>>;

impl Forwarder {
    /// Forwards to the web interface of `target`, if it has one; `tls` is used where its scheme is `https`.
    ///
    /// # Errors
    /// If the host's name cannot stand in a certificate.
    pub fn new(
        target: &PrinterUrl,
        tls: &Arc<rustls::ClientConfig>,
        visitor_address: VisitorAddress,
    ) -> Result<Self, ConnectError> {
        let Some(web) = target.web() else { return Ok(Self { shared: None }) };
        let connector = PrinterConnector::new(web, tls, CONNECT_TIMEOUT)?;
        let pool = Pool::new(connector.clone());
        Ok(Self { shared: Some(Arc::new(Shared { connector, visitor_address, pool })) })
    }
}

impl PrinterHandler for Forwarder {
    type Body = ForwardBody;

    fn call(&self, request: Request<RecvBody>) -> BoxFuture<'static, Answer<ForwardBody>> {
        let Some(shared) = self.shared.clone() else {
            return ready(Answer::Response(no_web_interface().map(Either::Right))).boxed();
        };
        async move {
            let request_id = headers::take_request_id(&mut request.headers().clone());
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let outcome = if request.extensions().get::<h2::ext::Protocol>().is_some() {
                websocket::open(&shared, request).await
            } else {
                shared.forward(request).await.map(Answer::Response)
            };
            match outcome {
                Ok(answer) => {
                    tracing::debug!(%request_id, %method, path, "answered");
                    answer
                }
                Err(error) => {
                    tracing::warn!(%request_id, %method, path, %error, "the printer did not answer");
                    Answer::Response(failure_response(&error))
                }
            }
        }
        .boxed()
    }
}

impl Shared {
    async fn forward(&self, mut request: Request<RecvBody>) -> Result<Response<ForwardBody>, ForwardError> {
        headers::prepare_request(&mut request, self)?;
        headers::announce_body(&mut request);
        let mut response = self.pool.send(request).await?;
        headers::prepare_response(response.headers_mut(), self.connector.target());
        Ok(response.map(Either::Left))
    }
}

/// Why a request got no answer of the printer's.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the request cannot be passed on")]
    Request(#[from] http::Error),
    #[error("the printer's software broke off: {0}")]
    BrokeOff(#[source] hyper::Error),
    #[error("the printer's software does not answer in HTTP: {0}")]
    Protocol(#[source] hyper::Error),
    #[error("the printer's software answered the WebSocket handshake wrongly")]
    Handshake,
}

impl From<hyper::Error> for ForwardError {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() { Self::Protocol(error) } else { Self::BrokeOff(error) }
    }
}

impl ForwardError {
    fn failure(&self) -> AgentFailure {
        match self {
            Self::Connect(_) | Self::BrokeOff(_) => AgentFailure::TargetUnreachable,
            Self::Protocol(_) | Self::Handshake => AgentFailure::TargetProtocol,
            Self::Request(_) => AgentFailure::Internal,
        }
    }
}

fn failure_response(error: &ForwardError) -> Response<ForwardBody> {
    let mut response = Response::new(Either::Right(Full::from(error.to_string())));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    let name = HeaderValue::from_static(error.failure().name());
    response.headers_mut().insert(wire::AGENT_FAILURE_HEADER, name);
    response
}
