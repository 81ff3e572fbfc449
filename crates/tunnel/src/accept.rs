//! The service's side of an agent's arrival: reading the upgrade request, answering it, taking the connection over.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use model::Secret;
use model::link::{Hello, Refusal, RefusalReason, Welcome};
use model::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::websocket_io::WebSocketIo;

/// A hello with every field at its longest is under 2 KiB.
const MAX_HELLO: usize = 8 * 1024;

/// How the agent asked to have its connection upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `Upgrade: spoolway-tunnel`: raw bytes after the 101.
    Raw,
    /// A WebSocket whose binary messages carry the same bytes.
    WebSocket {
        /// The `Sec-WebSocket-Accept` to answer with.
        accept: String,
    },
}

/// An agent at the door.
#[derive(Debug)]
pub struct Arrival {
    /// How its bytes will travel.
    pub transport: Transport,
    /// How it introduces itself.
    pub hello: Hello,
    /// The secret that proves who it is.
    pub key: Secret,
}

/// An upgrade request that is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ArrivalError {
    /// Neither of the two upgrades.
    #[error("expected an upgrade to `spoolway-tunnel`, or a WebSocket with that sub-protocol")]
    NoUpgrade,
    /// No usable `Authorization: Bearer`.
    #[error("the agent's key is missing")]
    NoKey,
    /// The hello is missing, too long or no JSON of the right shape.
    #[error("the hello cannot be read")]
    BadHello,
}

impl Arrival {
    /// Reads an agent's request.
    ///
    /// # Errors
    /// If it is no upgrade to a tunnel, or does not say who it is.
    pub fn read<B>(request: &Request<B>) -> Result<Self, ArrivalError> {
        let headers = request.headers();
        let transport = Transport::read(headers).ok_or(ArrivalError::NoUpgrade)?;
        let key = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .filter(|key| (32..=256).contains(&key.len()))
            .ok_or(ArrivalError::NoKey)?;
        let hello = decode(headers, wire::HELLO_HEADER).ok_or(ArrivalError::BadHello)?;
        Ok(Self { transport, hello, key: Secret::new(key) })
    }
}

impl Transport {
    fn read(headers: &HeaderMap) -> Option<Self> {
        if has_token(headers, header::UPGRADE, wire::TUNNEL_PROTOCOL) {
            return Some(Self::Raw);
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
        let is_websocket = has_token(headers, header::UPGRADE, "websocket")
            && has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, wire::TUNNEL_PROTOCOL)
            && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
            && STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16);
        is_websocket.then(|| Self::WebSocket { accept: derive_accept_key(key.as_bytes()) })
    }

    /// The 101 that accepts the agent.
    pub fn accept_response<B: Default>(&self, welcome: &Welcome) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        match self {
            Self::Raw => {
                headers.insert(header::UPGRADE, HeaderValue::from_static(wire::TUNNEL_PROTOCOL));
            }
            Self::WebSocket { accept } => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(wire::TUNNEL_PROTOCOL));
                if let Ok(accept) = HeaderValue::from_str(accept) {
                    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
                }
            }
        }
        headers.insert(wire::WELCOME_HEADER, encode(welcome));
        response
    }

    /// Takes the connection over once the 101 is out. `T` is the transport that the server runs on; with it known,
    /// bytes pass without a detour through dynamic dispatch.
    ///
    /// # Errors
    /// If the connection broke before the upgrade was complete.
    pub async fn take_over<T>(&self, upgrade: OnUpgrade) -> Result<TunnelIo<T>, hyper::Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let upgraded = upgrade.await?;
        let raw = match upgraded.downcast::<TokioIo<T>>() {
            Ok(parts) if parts.read_buf.is_empty() => RawIo::Direct(parts.io.into_inner()),
            Ok(parts) => RawIo::Boxed(Box::new(WithEarlyBytes { early: parts.read_buf, io: parts.io.into_inner() })),
            Err(upgraded) => RawIo::Boxed(Box::new(TokioIo::new(upgraded))),
        };
        Ok(match self {
            Self::Raw => TunnelIo::Raw(raw),
            Self::WebSocket { .. } => TunnelIo::WebSocket(Box::new(WebSocketIo::new(raw, Role::Server).await)),
        })
    }
}

use crate::transport::WithEarlyBytes;
pub use crate::transport::{RawIo, TunnelIo};

/// The refusal of an agent, as a response.
pub fn refusal_response<B: From<String>>(refusal: &Refusal) -> Response<B> {
    let status = match refusal.reason {
        RefusalReason::InvalidToken | RefusalReason::WrongKey => StatusCode::UNAUTHORIZED,
        RefusalReason::PrinterRemoved => StatusCode::GONE,
        RefusalReason::AgentTooOld | RefusalReason::ServiceTooOld => StatusCode::UPGRADE_REQUIRED,
        RefusalReason::Malformed => StatusCode::BAD_REQUEST,
        RefusalReason::Busy => StatusCode::TOO_MANY_REQUESTS,
        RefusalReason::Unavailable | RefusalReason::Unknown => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = serde_json::to_string(refusal).unwrap_or_default();
    let mut response = Response::new(B::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // What follows an upgrade request that was not granted is in doubt; a new attempt takes a new connection.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let Some(seconds) = refusal.retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Milliseconds since 1970, for [`Welcome::unix_time_ms`].
pub fn unix_time_ms(now: SystemTime) -> u64 {
    let elapsed = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// Packs a message for a header: base64url of its JSON.
pub fn encode<T: Serialize>(message: &T) -> HeaderValue {
    let json = serde_json::to_vec(message).unwrap_or_default();
    HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(json)).expect("base64url is visible ASCII")
}

/// Unpacks a message from a header.
pub fn decode<T: DeserializeOwned>(headers: &HeaderMap, name: &str) -> Option<T> {
    let value = headers.get(name).filter(|value| value.len() <= MAX_HELLO)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(value.as_bytes()).ok()?).ok()
}

/// Whether a comma-separated header has `token`, ignoring case.
pub fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|candidate| candidate.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use model::link::PrinterStatus;

    use super::*;

    fn hello() -> Hello {
        Hello {
            protocol: 1,
            printer_id: None,
            enrolment_token: Some("token".into()),
            agent_version: "0.1.0".into(),
            capabilities: vec![],
            printer: PrinterStatus::default(),
        }
    }

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (name, value) in headers {
            request.headers_mut().append(
                header::HeaderName::from_bytes(name.as_bytes()).expect("test names are valid"),
                HeaderValue::from_str(value).expect("test values are valid"),
            );
        }
        request
    }

    const KEY: &str = "Bearer 0123456789abcdef0123456789abcdef";

    #[test]
    fn both_upgrades_are_understood() {
        let hello_value = encode(&hello());
        let packed = hello_value.to_str().expect("base64 is text");
        let raw = request(&[("upgrade", "spoolway-tunnel"), ("authorization", KEY), (wire::HELLO_HEADER, packed)]);
        let arrival = Arrival::read(&raw).expect("it is complete");
        assert_eq!((arrival.transport, arrival.hello), (Transport::Raw, hello()));

        let websocket = request(&[
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "spoolway-tunnel"),
            ("authorization", KEY),
            (wire::HELLO_HEADER, packed),
        ]);
        let arrival = Arrival::read(&websocket).expect("it is complete");
        // RFC 6455 §1.3 gives this pair.
        assert_eq!(arrival.transport, Transport::WebSocket { accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into() });
    }

    #[test]
    fn what_is_missing_is_named() {
        let packed = encode(&hello());
        let packed = packed.to_str().expect("base64 is text");
        let upgrade = ("upgrade", "spoolway-tunnel");
        assert_eq!(Arrival::read(&request(&[])).err(), Some(ArrivalError::NoUpgrade));
        assert_eq!(Arrival::read(&request(&[upgrade])).err(), Some(ArrivalError::NoKey));
        let short = request(&[upgrade, ("authorization", "Bearer x"), (wire::HELLO_HEADER, packed)]);
        assert_eq!(Arrival::read(&short).err(), Some(ArrivalError::NoKey));
        for bad in ["", "%", "e30", &"A".repeat(MAX_HELLO + 1)] {
            let request = request(&[upgrade, ("authorization", KEY), (wire::HELLO_HEADER, bad)]);
            assert_eq!(Arrival::read(&request).err(), Some(ArrivalError::BadHello), "{bad:.9}");
        }
    }
}
