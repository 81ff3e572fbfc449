//! Messages in a printer's own language (`send-command`).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Map, Value};

/// How a platform's native messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Http,
    Websocket,
    Mqtt,
}

impl Transport {
    /// Its name on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Websocket => "websocket",
            Self::Mqtt => "mqtt",
        }
    }

    /// Reads a name, in any case.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Http, Self::Websocket, Self::Mqtt]
            .into_iter()
            .find(|transport| transport.as_str().eq_ignore_ascii_case(name))
    }
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct NativeCommand {
    /// The message itself; what it means is the platform's.
    pub(crate) request: Map<String, Value>,
    /// Present where the transport is [`Transport::Http`].
    pub(crate) http: Option<NativeHttp>,
    /// Whether anybody wants to know what the printer says to it.
    pub(crate) wait_for_response: bool,
    /// How long to wait for that, 1 to 1800 seconds.
    pub(crate) timeout: Duration,
}

/// The rest of a message that is an HTTP request.
#[derive(Clone, Debug)]
pub(crate) struct NativeHttp {
    /// Begins with exactly one `/`.
    pub(crate) path: String,
    pub(crate) method: Method,
    /// Without any that say whom the request is for, how long it is, or who asks.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the printer said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NativeAnswer {
    /// `None` where nobody waited.
    pub(crate) response: Option<Value>,
    /// Whether the printer calls it an error.
    pub(crate) is_error: bool,
}
