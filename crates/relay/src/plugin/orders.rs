//! Visitors' commands on their way to a plugin (command-api.md 14).
//!
//! The service's door has judged them by what their connection may do. The plugin itself looks at nothing: it takes
//! commands by their beginning, with any method, from anybody. So what goes out is the command as it was judged, and
//! what our own agent would refuse is refused here.

use bytes::Bytes;
use http::uri::Uri;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use model::wire::COMMAND_API_PREFIX;
use model::{Caller, CallerKind};
use percent_encoding::percent_decode_str;

use crate::commands::{Ask, ask_of};
use crate::link::{LinkBody, LinkBodyError};

/// Not supported on this platform (command-api.md 2).
pub(super) const NOT_SUPPORTED: u16 = 788;
/// The printer's own passwords are told to nobody over a plugin, which does not mask them.
const FORBIDDEN: (u16, &str) = (403, "this is not done over this printer's plugin");
const WRONG_METHOD: (u16, &str) = (400, "this command does not take that method; use POST");
/// As the plugin spells its MQTT.
const MQTT: &str = "proxy/mqtt";

/// A command, as the plugin is to get it.
#[derive(Debug)]
pub(super) struct Order {
    /// The command behind the prefix, decoded and in lower case.
    name: String,
    query: Option<String>,
}

impl Order {
    /// Reads a command that has passed the service's door.
    ///
    /// # Errors
    /// What is answered in place of the plugin: a status of the command API, and why.
    pub(super) fn read(request: &Request<()>, caller: Caller) -> Result<Self, (u16, &'static str)> {
        let path = request.uri().path();
        let ask = ask_of(path).ok_or(FORBIDDEN)?;
        let decoded = percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase();
        let name = decoded.strip_prefix(COMMAND_API_PREFIX).ok_or(FORBIDDEN)?.trim_end_matches('/').to_owned();
        let is_owner = caller.kind == CallerKind::Owner;
        // Where the cameras' pictures come from is any address that the plugin can reach.
        let sets_cameras = name.starts_with("set-") && name.contains("webcam");
        if matches!(ask, Ask::Never | Ask::Secrets | Ask::Misspelled) || (sets_cameras && !is_owner) {
            return Err(FORBIDDEN);
        }
        let acts = matches!(ask, Ask::Act | Ask::ActOnAgent | Ask::Native);
        let takes = match *request.method() {
            Method::POST => true,
            Method::PUT => name.starts_with("files/upload"),
            Method::GET => !acts || caller.kind == CallerKind::App,
            Method::HEAD => !acts,
            _ => false,
        };
        if !takes {
            return Err(WRONG_METHOD);
        }
        Ok(Self { name, query: request.uri().query().map(str::to_owned) })
    }

    /// Whether a WebSocket may be opened on it.
    pub(super) fn is_mqtt(&self) -> bool {
        self.name == MQTT
    }

    /// Where the plugin gets it.
    pub(super) fn uri(&self) -> Option<Uri> {
        let query = self.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        Uri::try_from(format!("{COMMAND_API_PREFIX}{}{query}", self.name)).ok()
    }
}

/// The plugin's way of saying no.
pub(super) fn refusal(http_status: StatusCode, status: u16, reason: &str) -> Response<LinkBody> {
    let mut response = own_response(format!("{{\"Status\":{status},\"Error\":\"{reason}\"}}").into());
    *response.status_mut() = http_status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/json"));
    response
}

/// A response that no printer made.
pub(super) fn own_response(body: Bytes) -> Response<LinkBody> {
    let body = Full::new(body).map_err(|never: std::convert::Infallible| -> LinkBodyError { match never {} });
    Response::new(Box::pin(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: CallerKind, method: &str, command: &str) -> Result<String, u16> {
        let caller = Caller { kind, may_control: true, has_full_control: kind == CallerKind::Owner };
        let uri = format!("/OctoEverywhere-command-api/{command}");
        let request = Request::builder().method(method).uri(uri).body(()).expect("the requests of this test are right");
        let order = Order::read(&request, caller).map_err(|(status, _)| status)?;
        Ok(order.uri().expect("it is a target").to_string())
    }

    #[test]
    fn what_goes_out_is_what_was_judged() {
        use CallerKind::{App, Owner, Shared};
        let plain = |command: &str| Ok(format!("{COMMAND_API_PREFIX}{command}"));
        for (kind, method, command, expected) in [
            (App, "GET", "STATUS", plain("status")),
            (App, "GET", "st%61tus/?Index=%2F", plain("status?Index=%2F")),
            (App, "GET", "pausexyz", plain("pausexyz")),
            (Owner, "GET", "pause", Err(400)),
            (Shared, "GET", "cancel", Err(400)),
            (App, "HEAD", "cancel", Err(400)),
            (App, "DELETE", "status", Err(400)),
            (App, "PUT", "files/upload?path=gcode/a", plain("files/upload?path=gcode/a")),
            (App, "PUT", "pause", Err(400)),
            (Owner, "POST", "send-command", plain("send-command")),
            (Owner, "POST", "set-local-plugin-webcam-items", plain("set-local-plugin-webcam-items")),
            (App, "POST", "set-local-plugin-webcam-itemsx", Err(403)),
            (App, "POST", "SET-default-webcam", Err(403)),
            (Owner, "POST", "get-connection-info", Err(403)),
            (Owner, "POST", "get-connection-infox", Err(403)),
            (Owner, "POST", "rekey", Err(403)),
            (Owner, "POST", "rek%65yx", Err(403)),
            (Owner, "POST", "/rekey", Err(403)),
            (Owner, "POST", "x/../rekey", Err(403)),
        ] {
            assert_eq!(read(kind, method, command), expected, "{kind:?} {method} {command}");
        }
    }
}
