//! A connected printer, as the rest of the relay sees it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use model::RelayError;
use model::link::PrinterStatus;
use model::printing::PrinterState;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::BoxError;
use crate::upload::UploadBody;

/// Something that takes requests for one printer and gives its responses.
pub trait Link: Send + Sync {
    /// Relays a request. Dropping the future, or the response's body, tells the agent that nobody waits any more.
    fn call(&self, request: Request<UploadBody>) -> BoxFuture<'_, Result<Response<LinkBody>, LinkError>>;

    /// Opens a WebSocket. The request has no body; the frames flow on the stream of [`Upgrade::Accepted`].
    fn open_websocket(&self, request: Request<()>) -> BoxFuture<'_, Result<Upgrade, LinkError>>;

    /// Asks the agent itself, which is no way for visitors. The agent's own failures are errors; every status is for the
    /// caller to read.
    fn call_agent(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<LinkBody>, LinkError>>;

    /// What the agent last said of its printer.
    fn printer_status(&self) -> PrinterStatus;

    /// What the printer does, if its agent says so.
    fn printer_state(&self) -> Option<PrinterState>;

    /// Version of the agent's software.
    fn agent_version(&self) -> String;

    /// Whether the agent said that it can do something, by its name in [`model::link::capability`].
    fn has_capability(&self, name: &str) -> bool;

    /// Since when the link stands.
    fn connected_at(&self) -> SystemTime;

    /// How long the last heartbeat took.
    fn round_trip(&self) -> Option<Duration>;

    /// Asks the agent to connect anew; this link goes on until its requests are done.
    fn drain(&self, spread: Duration);

    /// Ends the link when its requests are done.
    fn close_when_idle(&self);

    /// Ends the link at once.
    fn close(&self);

    /// Requests under way.
    fn open_streams(&self) -> usize;
}

/// In the extensions of a request: bytes of a response's body that its visitor may get. A link that has to keep what a
/// slow visitor does not take keeps no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownloadLimit(pub u64);

/// The body of a printer's response.
pub type LinkBody = std::pin::Pin<Box<dyn Body<Data = Bytes, Error = LinkBodyError> + Send>>;

/// A stream of WebSocket frames to and from the printer.
pub trait FrameStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> FrameStream for T {}

/// The printer's answer to a WebSocket opening.
pub enum Upgrade {
    /// It switched protocols; the head has the sub-protocol and extensions that it chose.
    Accepted(Response<()>, Box<dyn FrameStream>),
    /// It answered something else, to be passed on.
    Refused(Response<LinkBody>),
}

/// Why a request got no response of the printer's.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The link was lost.
    #[error("the link was lost")]
    Lost,
    /// No response within the limit.
    #[error("no response in time")]
    Timeout,
    /// The printer's software cannot be reached.
    #[error("the printer's software cannot be reached: {0}")]
    TargetUnreachable(String),
    /// The agent, or an unusable answer of the printer's.
    #[error("the agent failed: {0}")]
    Agent(String),
    /// The visitor's body went over the plan's limit.
    #[error("the request body is over the limit")]
    UploadTooLarge,
    /// The visitor's body broke off, or was no HTTP.
    #[error("the request body broke off")]
    VisitorGone(#[source] BoxError),
    /// The visitor sent the body so slowly that it only held things up.
    #[error("the request body came too slowly")]
    VisitorTooSlow,
}

impl LinkError {
    /// The code that the visitor gets.
    pub fn relay_error(&self) -> RelayError {
        match self {
            Self::Lost => RelayError::PrinterOffline,
            Self::Timeout | Self::TargetUnreachable(_) => RelayError::PrinterTimeout,
            Self::Agent(_) => RelayError::PluginError,
            Self::UploadTooLarge => RelayError::UploadTooLarge,
            Self::VisitorGone(_) | Self::VisitorTooSlow => RelayError::Unknown,
        }
    }
}

/// Why a response's body is not whole.
#[derive(Debug, Error)]
pub enum LinkBodyError {
    /// The link was lost.
    #[error("the link was lost")]
    Lost,
    /// The printer's side broke off.
    #[error("the printer's side broke off")]
    BrokeOff,
}
