//! Messages in a printer's own language (`send-command`).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Map, Value, json};

use super::{CommandFailure, Outcome};
use crate::software_client::SoftwareClient;

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

/// Passes a message on to software that speaks HTTP.
pub(super) async fn pass_http(client: &SoftwareClient, command: &NativeCommand) -> Outcome<NativeAnswer> {
    let http = command.http.as_ref().ok_or(CommandFailure::NotSupported)?;
    let answer = client.pass(http).await?;
    let body = answer.body();
    let mut response = json!({
        "StatusCode": answer.status.as_u16(),
        "Headers": texts(answer.headers()),
        "Url": format!("{}{}", client.target(), http.path),
        "BodySizeBytes": body.len(),
    });
    match (serde_json::from_slice::<Value>(body), std::str::from_utf8(body)) {
        (Ok(json), _) => response["BodyAsJson"] = json,
        (_, Ok(text)) => response["BodyAsText"] = json!(text),
        _ => response["BodyAsBase64"] = json!(STANDARD.encode(body)),
    }
    Ok(NativeAnswer { response: Some(response), is_error: answer.status.as_u16() >= 400 })
}

/// Headers as texts; those that are none are left out, and so are cookies, which are the agent's own.
fn texts(headers: &HeaderMap) -> Value {
    let pairs = headers.iter().filter(|(name, _)| **name != http::header::SET_COOKIE);
    pairs.filter_map(|(name, value)| Some((name.as_str().to_owned(), json!(value.to_str().ok()?)))).collect()
}
