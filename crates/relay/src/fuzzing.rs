//! Entry points to what reads a stranger's bytes, for the fuzzers and for the replay of their corpora.
//!
//! Nothing here decides anything, and nothing of the service uses it: each item hands on to the one that does the
//! work, so that the insides of the crate stay its own.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Request, Uri, Version, request};
use model::link::AgentEvent;
use model::{RelayError, RequestId, SecretHash};
use store::{ConnectionRecord, PasswordHash};

use crate::access::{self, AppKeys, Credential};
use crate::agent_events::EventReader;
use crate::authority::Authority;
use crate::edge::head_guard::{self, HeadFault};
use crate::frame_buffers::{FrameBuffer, PieceBuffer};
use crate::frames::FrameLimits;
use crate::headers;
use crate::password_page;
use crate::screening;
use crate::shared_password::SharedPasswords;
use crate::webcam::{self, BoundaryFinder};

pub use crate::agent_events::MAX_EVENT;
pub use crate::edge::head_guard::MAX_KEPT;
pub use crate::frame_buffers::PIECE;
pub use crate::frames::{MAX_FRAGMENTS, MAX_HEADER, MAX_MESSAGE};
pub use crate::headers::{COOKIE_PREFIX, MAX_SET_COOKIE};
pub use crate::password_page::PATH as PASSWORD_PATH;

/// Who makes a request, and how it reached us.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Its address.
    pub address: IpAddr,
    /// Whether its own connection is encrypted.
    pub is_https: bool,
    /// The host that it asked for.
    pub authority: Authority,
}

impl Visitor {
    fn inner(&self) -> headers::Visitor {
        headers::Visitor { address: self.address, is_https: self.is_https, authority: self.authority.clone() }
    }
}

/// Whether a request may go on at all, and if so, whether it opens a WebSocket.
pub fn screen(parts: &request::Parts) -> Option<bool> {
    screening::screen(parts).ok()
}

/// Changes the headers of a request on its way to the printer.
pub fn prepare_request(headers: &mut HeaderMap, visitor: &Visitor, request_id: &RequestId) {
    headers::prepare_request(headers, &visitor.inner(), request_id);
}

/// Changes the target of a request on its way to the printer.
pub fn remove_own_arguments(uri: &mut Uri) {
    headers::remove_own_arguments(uri);
}

/// Changes the headers of a response on its way to the visitor.
pub fn prepare_response(headers: &mut HeaderMap, visitor: &Visitor, version: Version) {
    headers::prepare_response(headers, &visitor.inner(), version);
}

/// Follows the heads of an HTTP/1 connection.
#[derive(Debug, Default)]
pub struct HeadGuard(head_guard::HeadGuard);

/// What is said of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadVerdict {
    /// Two ways of telling the body's length.
    pub ambiguous_length: bool,
    /// A line that does not end in CRLF.
    pub bare_line_feed: bool,
    /// A coding besides `chunked`.
    pub unknown_coding: bool,
    /// A target with a fragment.
    pub fragment: bool,
    /// Whether the next head can be found.
    pub can_continue: bool,
}

impl HeadGuard {
    /// Bytes were read from the visitor.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.0.handle_bytes(bytes);
    }

    /// The next request was read.
    pub fn handle_request(&mut self, headers: &HeaderMap) -> HeadVerdict {
        let verdict = self.0.handle_request(headers);
        HeadVerdict {
            ambiguous_length: verdict.fault == Some(HeadFault::AmbiguousLength),
            bare_line_feed: verdict.fault == Some(HeadFault::BareLineFeed),
            unknown_coding: verdict.fault == Some(HeadFault::UnknownCoding),
            fragment: verdict.fault == Some(HeadFault::Fragment),
            can_continue: verdict.can_continue,
        }
    }
}

/// What a client shows to get in, as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A user and a password.
    Basic(String, String),
    /// A token.
    Bearer(String),
    /// Something that says nothing.
    Unusable,
}

impl From<Credential> for Shown {
    fn from(credential: Credential) -> Self {
        match credential {
            Credential::Basic(user, password) => Self::Basic(user, password),
            Credential::Bearer(token) => Self::Bearer(token),
        }
    }
}

/// Reads `Authorization`.
pub fn read_authorization(headers: &HeaderMap) -> Option<Shown> {
    access::read_authorization(headers).map(|read| read.map_or(Shown::Unusable, Shown::from))
}

/// Reads `oe_api_key`, in each way that it can be meant.
pub fn read_api_key(uri: &Uri) -> Option<Vec<Shown>> {
    access::read_api_key(uri).map(|key| key.readings().into_iter().map(Shown::from).collect())
}

/// Whether a request opens an App Connection with these secrets, and if so, whether `Authorization` did.
pub fn opens_app_connection(
    basic_user: &str,
    basic_password: &SecretHash,
    bearer: &SecretHash,
    headers: &HeaderMap,
    handshake_uri: Option<&Uri>,
) -> Option<bool> {
    let keys = AppKeys { basic_user, basic_password, bearer };
    keys.check(access::read_authorization(headers).as_ref(), handshake_uri.and_then(access::read_api_key).as_ref())
}

/// The printer's bytes of a WebSocket, cut into frames that may leave.
#[derive(Default)]
pub struct PrinterFrames(PieceBuffer);

impl PrinterFrames {
    /// Bytes came from the printer.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.0.bytes.extend_from_slice(bytes);
    }

    /// The next piece for the visitor.
    ///
    /// # Errors
    /// If the printer broke the protocol or a limit.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, RelayError> {
        Ok(self.0.next_piece()?.map(|piece| [&piece.head, &piece.rest[..]].concat()))
    }
}

/// The visitor's bytes of a WebSocket.
pub struct VisitorFrames {
    frames: FrameBuffer,
    limits: FrameLimits,
    started: Instant,
}

impl VisitorFrames {
    /// For a WebSocket whose ends agreed on extensions, or did not.
    pub fn new(has_extensions: bool) -> Self {
        let started = Instant::now();
        Self { frames: FrameBuffer::new(has_extensions), limits: FrameLimits::new(started), started }
    }

    /// Bytes came from the visitor. Time stands still.
    ///
    /// # Errors
    /// The close code, if the visitor went over a limit.
    pub fn handle_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>, pongs: &mut Vec<Vec<u8>>) -> Result<(), u16> {
        self.frames.bytes.extend_from_slice(bytes);
        let taken = self.frames.take(&mut self.limits, self.started, out, |pong| pongs.push(pong));
        taken.map_err(|limit| limit.close_code())
    }
}

/// Whether a response is a webcam stream, and if so, where it may be cut.
pub fn webcam_cuts(headers: &HeaderMap) -> Option<WebcamCuts> {
    webcam::is_webcam_stream(headers).then(|| WebcamCuts(BoundaryFinder::new(headers)))
}

/// Finds where a webcam stream may be cut.
pub struct WebcamCuts(BoundaryFinder);

impl WebcamCuts {
    /// How much of the next piece may pass, if the stream can be cut in it.
    pub fn cut_in(&mut self, piece: &[u8]) -> Option<usize> {
        self.0.cut_in(piece)
    }
}

/// Reads what an agent reports.
#[derive(Default)]
pub struct Events(EventReader);

impl Events {
    /// Bytes came from the agent. Returns whether the agent is still listened to.
    pub fn handle_bytes(&mut self, bytes: &[u8], mut handle: impl FnMut(AgentEvent)) -> bool {
        let read = self.0.handle_bytes(bytes, |event| {
            if let Ok(event) = event {
                handle(event);
            }
        });
        read.is_ok()
    }
}

/// Where the password page leads back to.
pub fn safe_target(target: Option<&str>) -> String {
    password_page::safe_target(target)
}

/// A field of the password page's form, or of its query.
pub fn form_field(form: &str, name: &str) -> Option<String> {
    password_page::field(form, name)
}

/// Where a browser is sent that has not given the password yet.
pub fn password_page_location(uri: &Uri) -> Option<HeaderValue> {
    password_page::redirect_to(uri).headers().get(http::header::LOCATION).cloned()
}

/// Whether the password page's form was sent by the password page.
pub fn is_same_origin(request: &Request<()>, visitor: &Visitor) -> bool {
    password_page::is_same_origin(request.headers(), &visitor.inner())
}

/// The cookie of a Shared Connection.
#[derive(Default)]
pub struct SharedCookies(SharedPasswords);

impl SharedCookies {
    /// A cookie that opens the connection.
    pub fn issue(&self, connection: &ConnectionRecord, hash: &PasswordHash, now: SystemTime) -> Option<HeaderValue> {
        self.0.cookie(connection, hash, true, now)
    }

    /// Whether a request has one.
    pub fn open(
        &self,
        connection: &ConnectionRecord,
        hash: &PasswordHash,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> bool {
        self.0.cookie_opens(connection, hash, headers, now)
    }
}
