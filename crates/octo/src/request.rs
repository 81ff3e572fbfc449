//! A visitor's request as the plugin wants it (tunnel.md 6.1, 6.3, 7.1), and what must not reach it.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request};
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::latin1;
use crate::wire::{HttpHeader, HttpInitialContext, PathKind, ServerHost};

/// Below this path, in any case, the plugin answers itself (tunnel.md 6.2).
const COMMAND_PREFIX: &str = "/octoeverywhere-command-api/";
/// Headers by which the plugin is told to do something else than to ask the printer (tunnel.md 6.2).
const INTERNAL_PREFIX: &str = "oe-";
/// The only WebSockets that the Elegoo flavour can open (tunnel.md 7.1).
const ELEGOO_WEBSOCKETS: &str = "/websocket";

/// Commands that nothing may give from afar: one erases the plugin's identity, the other tells the printer's passwords
/// (command-api.md 14). The plugin takes commands by their beginning.
const FORBIDDEN_COMMANDS: [&str; 2] = ["rekey", "get-connection-info"];
/// The only command that is a WebSocket; any other would end the session (tunnel.md 7.1).
const MQTT_COMMAND: &str = "/octoeverywhere-command-api/proxy/mqtt";

/// These belong to one connection, or are made anew behind the plugin.
const NOT_SENT: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::HOST,
];

/// Why a request is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The target is no path: it would be glued to the printer's host name.
    #[error("the target does not begin with `/`")]
    Target,
    /// The target is the plugin's own, and not the printer's.
    #[error("the target is one of the plugin's own commands")]
    Command,
    /// The method opens tunnels.
    #[error("the method cannot be relayed")]
    Method,
    /// There is no usable host name of the visitor's.
    #[error("the host is missing or malformed")]
    Host,
    /// The plugin's flavour has no such WebSocket, and would end its session.
    #[error("this printer has no such WebSocket")]
    WebSocket,
}

/// The head of an HTTP request. `authority` is what stands in the visitor's address bar.
pub(crate) fn http_context(request: &Request<()>, authority: &Authority) -> Result<HttpInitialContext, RequestError> {
    if is_command(path_of(request)) {
        return Err(RequestError::Command);
    }
    let mut context = context(request, authority)?;
    with_cookie(&mut context, request);
    Ok(context)
}

/// The head of a command. Only what cannot be read in another way is one: the plugin looks at nothing but the path's
/// beginning.
pub(crate) fn command_context(
    request: &Request<()>,
    authority: &Authority,
) -> Result<HttpInitialContext, RequestError> {
    let name = path_of(request).strip_prefix(COMMAND_PREFIX).ok_or(RequestError::Command)?;
    let is_plain =
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_/".contains(&byte));
    let is_forbidden = FORBIDDEN_COMMANDS.iter().any(|forbidden| name.starts_with(forbidden));
    if name.is_empty() || !is_plain || name.starts_with('/') || name.contains("//") || is_forbidden {
        return Err(RequestError::Command);
    }
    let mut context = context(request, authority)?;
    with_cookie(&mut context, request);
    Ok(context)
}

/// What is wanted of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// One picture.
    Snapshot,
    /// Pictures without end.
    Stream,
}

/// The head by which the service itself asks for a camera's picture: not by a path, but by headers that visitors cannot
/// send (tunnel.md 6.2).
pub(crate) fn camera_context(picture: Picture, index: usize, authority: &Authority) -> HttpInitialContext {
    let name = match picture {
        Picture::Snapshot => "oe-snapshot",
        Picture::Stream => "oe-webcamstream",
    };
    let header = |key: &str, value: String| HttpHeader { key: Some(key.to_owned()), value: Some(value) };
    HttpInitialContext {
        path: Some("/".to_owned()),
        path_type: PathKind::Relative,
        method: Some(Method::GET.as_str().to_owned()),
        octo_host: Some(authority.as_str().to_owned()),
        headers: Some(vec![
            header("host", authority.as_str().to_owned()),
            header(name, "1".to_owned()),
            header("oe-webcam-index", index.to_string()),
            header("cookie", String::new()),
        ]),
        ..HttpInitialContext::default()
    }
}

fn path_of(request: &Request<()>) -> &str {
    request.uri().path_and_query().map_or("", PathAndQuery::path)
}

fn with_cookie(context: &mut HttpInitialContext, request: &Request<()>) {
    // Without one, the plugin sends the last cookies that this printer set, whoever's they were (tunnel.md 6.3).
    if !request.headers().contains_key(header::COOKIE) {
        let empty = HttpHeader { key: Some("cookie".to_owned()), value: Some(String::new()) };
        context.headers.get_or_insert_default().push(empty);
    }
}

/// The head of a WebSocket's opening; `protocol` is what the visitor was promised.
pub(crate) fn websocket_context(
    request: &Request<()>,
    authority: &Authority,
    protocol: Option<&HeaderValue>,
    host: ServerHost,
) -> Result<HttpInitialContext, RequestError> {
    let path = path_of(request);
    if host == ServerHost::Elegoo && !path.starts_with(ELEGOO_WEBSOCKETS) {
        return Err(RequestError::WebSocket);
    }
    if is_command(path) {
        return Err(RequestError::Command);
    }
    websocket(request, authority, protocol)
}

/// The head of a WebSocket for the printer's own MQTT, where it has one.
pub(crate) fn mqtt_context(
    request: &Request<()>,
    authority: &Authority,
    protocol: Option<&HeaderValue>,
    host: ServerHost,
) -> Result<HttpInitialContext, RequestError> {
    if path_of(request) != MQTT_COMMAND {
        return Err(RequestError::Command);
    }
    if !host.has_mqtt() {
        return Err(RequestError::WebSocket);
    }
    websocket(request, authority, protocol)
}

fn websocket(
    request: &Request<()>,
    authority: &Authority,
    protocol: Option<&HeaderValue>,
) -> Result<HttpInitialContext, RequestError> {
    let mut context = context_of(request, authority)?;
    context.method = Some("GET".to_owned());
    let headers = context.headers.get_or_insert_default();
    headers.retain(|header| header.key.as_deref() != Some(header::SEC_WEBSOCKET_PROTOCOL.as_str()));
    // Of a list, the plugin offers each as it stands between the commas, with the blanks (tunnel.md 7.1).
    if let Some(protocol) = protocol {
        headers.push(HttpHeader {
            key: Some(header::SEC_WEBSOCKET_PROTOCOL.as_str().to_owned()),
            value: Some(latin1::to_text(protocol.as_bytes().trim_ascii())),
        });
    }
    Ok(context)
}

fn context(request: &Request<()>, authority: &Authority) -> Result<HttpInitialContext, RequestError> {
    if request.method() == Method::CONNECT {
        return Err(RequestError::Method);
    }
    context_of(request, authority)
}

fn context_of(request: &Request<()>, authority: &Authority) -> Result<HttpInitialContext, RequestError> {
    let target = request.uri().path_and_query().ok_or(RequestError::Target)?;
    if !target.as_str().starts_with('/') {
        return Err(RequestError::Target);
    }
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(RequestError::Host);
    }
    Ok(HttpInitialContext {
        path: Some(target.as_str().to_owned()),
        path_type: PathKind::Relative,
        method: Some(request.method().as_str().to_owned()),
        octo_host: Some(authority.as_str().to_owned()),
        headers: Some(headers(request.headers(), authority)),
        ..HttpInitialContext::default()
    })
}

/// Of each name the plugin keeps the last value only, so the values are joined.
fn headers(headers: &HeaderMap, authority: &Authority) -> Vec<HttpHeader> {
    let host = HttpHeader { key: Some("host".to_owned()), value: Some(authority.as_str().to_owned()) };
    let sent = headers.keys().filter(|name| !NOT_SENT.contains(name) && !name.as_str().starts_with(INTERNAL_PREFIX));
    let joined = sent.map(|name| {
        let separator = if name == header::COOKIE { "; " } else { ", " };
        let values: Vec<String> =
            headers.get_all(name).iter().map(|value| latin1::to_text(value.as_bytes().trim_ascii())).collect();
        HttpHeader { key: Some(name.as_str().to_owned()), value: Some(values.join(separator)) }
    });
    std::iter::once(host).chain(joined).collect()
}

/// Whether anything on the way could take the path for one of the plugin's commands.
///
/// The plugin compares the beginning of what it gets, in any case. Libraries in between resolve dots and escapes, so
/// the path is read both as it is and as they could make it.
fn is_command(path: &str) -> bool {
    let decoded = percent_decode_str(path).decode_utf8_lossy().to_lowercase().replace('\\', "/");
    let mut resolved = vec![""];
    for segment in decoded.split('/').filter(|segment| !segment.is_empty() && *segment != ".") {
        if segment == ".." {
            resolved.pop();
        } else {
            resolved.push(segment);
        }
    }
    let resolved =
        format!("/{}/", resolved.iter().filter(|segment| !segment.is_empty()).copied().collect::<Vec<_>>().join("/"));
    let raw = format!("{}/", path.to_lowercase());
    raw.starts_with(COMMAND_PREFIX) || resolved.starts_with(COMMAND_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_recognised_however_they_are_spelt() {
        for path in [
            "/octoeverywhere-command-api/status",
            "/octoeverywhere-command-api",
            "/OctoEverywhere-Command-API/rekey",
            "/octoeverywhere%2dcommand-api/status",
            "/octoeverywhere-command-api%2fstatus",
            "//octoeverywhere-command-api/status",
            "/./octoeverywhere-command-api/status",
            "/x/../octoeverywhere-command-api/status",
            "/x/%2e%2e/octoeverywhere-command-api/status",
            "/..//.%2f/octoeverywhere-command-api/status",
            "/\\octoeverywhere-command-api/status",
            "/octoeverywhere-command-api/../api/version",
        ] {
            assert!(is_command(path), "{path}");
        }
        for path in ["/", "/api/version", "/octoeverywhere-command-apis/x", "/x/octoeverywhere-command-api/y"] {
            assert!(!is_command(path), "{path}");
        }
    }

    #[test]
    fn only_commands_that_can_be_read_in_one_way_are_sent() {
        let authority = Authority::from_static("d.example");
        let sent = |path: &str| {
            let request = Request::builder().uri(path).body(()).expect("test targets are valid");
            command_context(&request, &authority).is_ok()
        };
        for path in ["status", "webcam/snapshot?index=%2f1", "files/list?path=a%20b", "anything-newer"] {
            assert!(sent(&format!("{COMMAND_PREFIX}{path}")), "{path}");
        }
        for path in [
            "",
            "rekey",
            "rekeyx",
            "rekey/",
            "get-connection-info",
            "get-connection-info-2",
            "Status",
            "sta%74us",
            "/rekey",
            "x//rekey",
            "./rekey",
            "ping%2f..%2frekey",
            "x;y",
        ] {
            assert!(!sent(&format!("{COMMAND_PREFIX}{path}")), "{path}");
        }
        assert!(
            !sent("/api/version")
                && !sent("/octoeverywhere-command-api")
                && !sent("/OctoEverywhere-Command-Api/status")
        );
    }
}
