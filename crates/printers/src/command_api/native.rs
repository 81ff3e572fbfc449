//! `send-command`: messages in the printer's own language, checked as far as anybody but the printer can.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::CommandApi;
use super::arguments::{Arguments, missing};
use crate::platforms::{CommandFailure, NativeCommand, NativeHttp, Outcome, Transport};

/// The longest that anybody may wait.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(1800);
/// Unless they say otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a path of the printer's.
const MAX_PATH: usize = 4096;
/// Headers of one message.
const MAX_HEADERS: usize = 50;

impl CommandApi {
    pub(super) async fn send_native(&self, arguments: &Arguments) -> Outcome<Value> {
        let (transport, command) = read(arguments)?;
        let platform = self.platform()?;
        if platform.facts().transport != Some(transport) {
            return Err(CommandFailure::NotSupported);
        }
        if transport != Transport::Http {
            self.shared.context.publisher.check()?;
        }
        let answer = timeout(command.timeout, platform.send_native(&command)).await;
        let answer =
            answer.map_err(|_| CommandFailure::Failed("the printer has not answered in time".to_owned()))??;
        Ok(json!({
            "TransportType": transport.as_str(),
            "Request": command.request,
            "ResponseReceived": answer.response.is_some(),
            "Response": answer.response,
            "IsError": answer.is_error,
            "WaitForResponse": command.wait_for_response,
            "TimeoutSec": command.timeout.as_secs(),
        }))
    }
}

fn read(arguments: &Arguments) -> Outcome<(Transport, NativeCommand)> {
    let bad = |message: &str| CommandFailure::BadArguments(message.to_owned());
    let name = arguments.text(&["TransportType"])?.ok_or_else(|| missing("TransportType"))?;
    let transport = Transport::from_name(name).ok_or_else(|| bad("`TransportType` must be http, websocket or mqtt"))?;
    let request = arguments.get(&["Request"]).ok_or_else(|| missing("Request"))?;
    let request = request.as_object().ok_or_else(|| bad("`Request` must be an object"))?.clone();
    let seconds = match arguments.get(&["TimeoutSec"]) {
        Some(Value::String(text)) => {
            let number: Option<f64> = text.trim().parse().ok();
            number.filter(|number| number.fract() == 0.0).ok_or_else(|| bad("`TimeoutSec` must be a whole number"))?
        }
        _ => arguments.whole(&["TimeoutSec"], MAX_TIMEOUT.as_secs() as u32)?.map_or(TIMEOUT.as_secs_f64(), f64::from),
    };
    if !(1.0..=MAX_TIMEOUT.as_secs_f64()).contains(&seconds) {
        return Err(bad("`TimeoutSec` must be from 1 to 1800"));
    }
    let http = if transport == Transport::Http { Some(read_http(arguments, &request)?) } else { None };
    let wait_for_response = arguments.truth(&["WaitForResponse"])?.unwrap_or(true) || http.is_some();
    Ok((transport, NativeCommand { request, http, wait_for_response, timeout: Duration::from_secs(seconds as u64) }))
}

fn read_http(arguments: &Arguments, request: &Map<String, Value>) -> Outcome<NativeHttp> {
    let bad = |message: &str| CommandFailure::BadArguments(message.to_owned());
    let path = arguments.text(&["Path"])?.ok_or_else(|| missing("Path"))?;
    // Anything else could send the printer's key to another host.
    let is_path = path.starts_with('/')
        && !path.starts_with("//")
        && !path.contains("://")
        && !path.contains('\\')
        && path.len() <= MAX_PATH
        && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_path {
        return Err(bad("`Path` must begin with one slash, and be no address of another host"));
    }
    let method = arguments.text(&["Method"])?.unwrap_or("GET").to_ascii_uppercase();
    let method = match method.as_str() {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => {
            Method::from_bytes(method.as_bytes()).map_err(|_| bad("`Method` is no method"))?
        }
        _ => return Err(bad("`Method` must be GET, HEAD, POST, PUT, PATCH or DELETE")),
    };
    let mut headers = HeaderMap::new();
    if let Some(given) = arguments.get(&["Headers"]) {
        let given = given.as_object().filter(|given| given.len() <= MAX_HEADERS);
        for (name, value) in given.ok_or_else(|| bad("`Headers` must be an object, and short"))? {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("a header's name cannot be used"))?;
            let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
            let value = value.ok_or_else(|| bad("a header's value cannot be used"))?;
            if !is_ours(&name) {
                headers.insert(name, value);
            }
        }
    }
    let body = match (arguments.text(&["BodyText"])?, arguments.text(&["BodyBase64"])?) {
        (None, None) if request.is_empty() && matches!(method, Method::GET | Method::HEAD) => Bytes::new(),
        (None, None) => {
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            Bytes::from(Value::Object(request.clone()).to_string())
        }
        (Some(_), Some(_)) => return Err(bad("only one of `BodyText` and `BodyBase64` can be sent")),
        _ if !request.is_empty() => return Err(bad("with a body, `Request` must be empty")),
        (Some(text), None) => Bytes::from(text.to_owned()),
        (None, Some(encoded)) => Bytes::from(STANDARD.decode(encoded).map_err(|_| bad("`BodyBase64` is no base64"))?),
    };
    Ok(NativeHttp { path: path.to_owned(), method, headers, body })
}

/// Headers that say whom a request is for, how long it is, how it travels, and who asks.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "host"
            | "content-length"
            | "transfer-encoding"
            | "connection"
            | "upgrade"
            | "te"
            | "trailer"
            | "keep-alive"
            | "expect"
            | "x-api-key"
            | "authorization"
            | "cookie"
    ) || name.starts_with("proxy-")
        || name.starts_with(model::wire::INTERNAL_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &Value) -> Outcome<(Transport, NativeCommand)> {
        read(&Arguments::read(text.to_string().as_bytes(), None)?)
    }

    fn with(changes: Value) -> Value {
        let mut all = json!({"TransportType": "http", "Request": {}, "Path": "/api/x"});
        for (name, value) in changes.as_object().into_iter().flatten() {
            all[name.as_str()] = value.clone();
        }
        all
    }

    #[test]
    fn defaults_are_those_of_the_interface() {
        let (transport, command) = command(&with(json!({}))).expect("it is whole");
        assert_eq!((transport, command.timeout, command.wait_for_response), (Transport::Http, TIMEOUT, true));
        let http = command.http.expect("it is HTTP");
        assert_eq!((http.method, http.body.len(), http.headers.len()), (Method::GET, 0, 0));
        let (_, command) = self::command(&json!({"transporttype": "WebSocket", "request": {"Method": "x"},
            "WaitForResponse": false, "TimeoutSec": "30.0"}))
        .expect("it is whole");
        assert_eq!((command.timeout.as_secs(), command.wait_for_response, command.http.is_none()), (30, false, true));
    }

    #[test]
    fn bodies_come_from_one_place() {
        let http = |changes| command(&with(changes)).map(|(_, command)| command.http.expect("it is HTTP"));
        let post = http(json!({"Method": "post", "Request": {"a": 1}})).expect("it is whole");
        assert_eq!((&post.body[..], post.headers.len()), (&b"{\"a\":1}"[..], 1));
        assert_eq!(post.headers[header::CONTENT_TYPE], "application/json");
        let text = http(json!({"Method": "PUT", "BodyText": "x", "Headers": {"Content-Type": "text/plain",
            "Host": "evil", "X-API-KEY": "y", "spoolway-x": "z", "Proxy-Authorization": "q"}}))
        .expect("it is whole");
        assert_eq!((&text.body[..], text.headers.len()), (&b"x"[..], 1));
        assert_eq!(http(json!({"Method": "PUT", "BodyBase64": "eA=="})).map(|http| http.body), Ok(Bytes::from("x")));
    }

    #[test]
    fn everything_else_is_refused() {
        for changes in [
            json!({"TransportType": "carrier pigeon"}),
            json!({"TransportType": null}),
            json!({"Request": null}),
            json!({"Request": []}),
            json!({"TimeoutSec": 0}),
            json!({"TimeoutSec": 1801}),
            json!({"TimeoutSec": 1.5}),
            json!({"TimeoutSec": "inf"}),
            json!({"TimeoutSec": "soon"}),
            json!({"TimeoutSec": true}),
            json!({"Path": null}),
            json!({"Path": "api"}),
            json!({"Path": "//evil.example/"}),
            json!({"Path": "/x?u=http://evil.example/"}),
            json!({"Path": "/\\evil.example/"}),
            json!({"Path": "/a b"}),
            json!({"Path": format!("/{}", "a".repeat(5000))}),
            json!({"Method": "CONNECT"}),
            json!({"Method": "GET\r\nX: y"}),
            json!({"Headers": []}),
            json!({"Headers": {"a b": "c"}}),
            json!({"Headers": {"a": "b\r\nc: d"}}),
            json!({"BodyText": "a", "BodyBase64": "YQ=="}),
            json!({"BodyText": "a", "Request": {"b": 1}}),
            json!({"BodyBase64": "%"}),
            json!({"WaitForResponse": "no"}),
        ] {
            let refused = command(&with(changes.clone()));
            assert!(matches!(refused, Err(CommandFailure::BadArguments(_))), "{changes}");
        }
    }
}
