//! The command API at the service's door: which requests are commands, and who may give which.
//!
//! The agent decides the same once more. This is here because a connection's rights are known only here, and because
//! the existing plugin, which looks at neither methods nor rights and takes commands by their beginning, gets nothing
//! but what has passed here.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use model::wire::COMMAND_API_PREFIX;
use model::{Caller, CallerKind};
use percent_encoding::percent_decode_str;
use store::Role;

use crate::access::read_api_key;
use crate::body::RelayBody;
use crate::grant::{Entrance, Grant};

/// Encodings in encodings are undone this often when it is asked whether a path could mean a command.
const MAX_ROUNDS: usize = 4;

/// Commands that only read, by how they begin.
const READING: [&str; 6] = ["ping", "status", "webcam/list", "webcam/snapshot", "webcam/stream", "list-webcam"];
/// Commands about the agent itself, and files that the printer's own login may guard: visitors with a link have no
/// business with them here.
const NOT_FOR_SHARED_READING: [&str; 5] =
    ["get-plugin-logs", "get-local-plugin-webcam-items", "files/list", "files/details", "files/download"];
/// The same, of those that change something.
const NOT_FOR_SHARED: [&str; 2] = ["set-local-plugin-webcam-items", "set-default-webcam"];

/// What a request asks of the command API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To see something.
    Read,
    /// To see something of the agent itself, or the printer's files.
    ReadAgent,
    /// To change something.
    Act,
    /// To change something of the agent itself.
    ActOnAgent,
    /// Something that nothing can check.
    Native,
    /// How the printer is reached, with its passwords.
    Secrets,
    /// To speak MQTT with the printer.
    Mqtt,
    /// Something that nobody may do from afar.
    Never,
    /// A command in a spelling that no app uses and that others may read in another way.
    Misspelled,
}

/// What the path asks; `None` where it is none of the command API's, however it is read.
///
/// Commands are told by how they begin, because the existing plugin takes them so.
pub(crate) fn ask_of(path: &str) -> Option<Ask> {
    let once = percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase();
    let Some(name) = once.strip_prefix(COMMAND_API_PREFIX) else {
        return could_mean_a_command(path).then_some(Ask::Misspelled);
    };
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte));
    // A slash that was encoded may be none to others.
    let has_hidden_slash = path.matches('/').count() != once.matches('/').count();
    if !is_plain || has_hidden_slash || name.contains("//") || name.starts_with('/') {
        return Some(Ask::Misspelled);
    }
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
    Some(match name {
        name if name.starts_with("rekey") => Ask::Never,
        name if name.starts_with("get-connection-info") => Ask::Secrets,
        name if name.starts_with("send-command") => Ask::Native,
        name if name.starts_with("proxy/") => Ask::Mqtt,
        _ if begins(&NOT_FOR_SHARED_READING) => Ask::ReadAgent,
        _ if begins(&NOT_FOR_SHARED) => Ask::ActOnAgent,
        _ if begins(&READING) => Ask::Read,
        _ => Ask::Act,
    })
}

/// Whether the path leads below the prefix for somebody who decodes more often, or puts dots and slashes in order.
fn could_mean_a_command(path: &str) -> bool {
    let mut path = path.to_ascii_lowercase();
    let wanted = COMMAND_API_PREFIX.trim_matches('/');
    for _ in 0..MAX_ROUNDS {
        if leads_there(&path.replace('\\', "/"), wanted) {
            return true;
        }
        path = percent_decode_str(&path).decode_utf8_lossy().to_ascii_lowercase();
    }
    false
}

fn leads_there(path: &str, wanted: &str) -> bool {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty() && *segment != ".") {
        if segment == ".." {
            segments.pop();
        } else {
            segments.push(segment);
        }
    }
    segments.len() > 1 && segments.first() == Some(&wanted)
}

/// What a grant may do, whatever the request looks like.
pub(crate) fn caller_of(grant: &Grant) -> Caller {
    let (kind, has_full_control) = match grant {
        // Apps control printers: that is what they were connected for. What nothing can check needs the owner's word.
        Grant::Connection(connection) if Entrance::from(connection.kind) == Entrance::App => {
            (CallerKind::App, connection.has_full_control)
        }
        // A link gives the printer's own interface, whose own login stays in force. Commands would go past that login,
        // with the key that the agent has.
        Grant::Connection(_) => {
            return Caller { kind: CallerKind::Shared, may_control: false, has_full_control: false };
        }
        Grant::Owner(visit) => (CallerKind::Owner, visit.record.role == Role::Owner),
    };
    Caller { kind, may_control: true, has_full_control }
}

/// Whether the path asks for what nothing can check.
pub(crate) fn is_native(path: &str) -> bool {
    ask_of(path) == Some(Ask::Native)
}

/// What becomes of a request.
pub(crate) enum Judgement {
    /// It is no command.
    NoCommand,
    /// It goes on, with this said of its caller.
    Passes(Caller),
    /// It is answered here.
    Refused(Box<Response<RelayBody>>),
}

/// A request to a printer's host, as far as rights depend on it.
pub(crate) struct Asker<'a> {
    pub(crate) parts: &'a Parts,
    /// What it may do if it has caused the request itself.
    pub(crate) caller: Caller,
    pub(crate) is_websocket: bool,
    /// Whether the request comes from a page of this very host, or from no page at all.
    pub(crate) is_own_page: bool,
}

/// Decides whether a request may go on.
pub(crate) fn judge(asker: &Asker<'_>) -> Judgement {
    let Some(ask) = ask_of(asker.parts.uri.path()) else { return Judgement::NoCommand };
    let mut caller = asker.caller;
    caller.may_control &= (asker.is_own_page && !is_foreign(&asker.parts.headers)) || is_explicit(asker);
    let refused = |reason| Judgement::Refused(Box::new(refusal(reason, asker.is_websocket, &asker.parts.method)));
    if asker.is_websocket && ask != Ask::Mqtt {
        return refused("there is no WebSocket at this address");
    }
    let may = match ask {
        Ask::Read => true,
        Ask::ReadAgent => caller.kind != CallerKind::Shared,
        Ask::Act | Ask::Mqtt => caller.may_control,
        Ask::ActOnAgent => caller.may_control && caller.kind != CallerKind::Shared,
        Ask::Native => caller.may_control && caller.has_full_control,
        Ask::Secrets => caller.kind == CallerKind::Owner && caller.has_full_control,
        Ask::Never => false,
        Ask::Misspelled => return refused("this address is spelled in a way that nothing here uses"),
    };
    if may { Judgement::Passes(caller) } else { refused("this connection may not do that, or not from this page") }
}

/// Whether whoever made the request has put the credentials into it, and not a browser by itself. With `GET` that
/// cannot be told: the link alone would be an order.
fn is_explicit(asker: &Asker<'_>) -> bool {
    if asker.is_websocket {
        return read_api_key(&asker.parts.uri).is_some();
    }
    asker.parts.method != Method::GET && asker.parts.headers.contains_key(header::AUTHORIZATION)
}

/// Whether a browser says that a page of another origin has caused the request. Hosts of one domain are one site to a
/// browser, and other printers' pages are on them.
fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

/// As the agent would answer, so that apps do not take the connection for broken.
fn refusal(reason: &str, is_websocket: bool, method: &Method) -> Response<RelayBody> {
    let envelope = format!("{{\"Status\":403,\"Error\":\"{reason}\"}}");
    let body = if *method == Method::HEAD { RelayBody::Empty } else { RelayBody::Full(Bytes::from(envelope)) };
    let mut response = Response::new(body);
    // A WebSocket that is answered with a success has been opened.
    *response.status_mut() = if is_websocket { StatusCode::FORBIDDEN } else { StatusCode::OK };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// How long the printer may take over a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandPace {
    /// Homing takes two minutes.
    Order,
    /// Files are stored and analysed first.
    Files,
}

impl CommandPace {
    /// Of the command with that path.
    pub(crate) fn of(path: &str) -> Self {
        let path = path.to_ascii_lowercase();
        let is = |name: &str| path.strip_prefix(COMMAND_API_PREFIX).is_some_and(|command| command.starts_with(name));
        if is("files/upload") || is("files/download") { Self::Files } else { Self::Order }
    }
}

#[cfg(test)]
mod tests;
