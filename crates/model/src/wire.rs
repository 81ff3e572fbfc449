//! Names that appear on wires between visitor, service and agent.

/// Set by the service, and only by it, on its own errors: the code, 600–613.
pub const ERROR_HEADER: &str = "x-spoolway-error";
/// A client that cannot take a 6xx sends it with value `1` to get an ordinary status.
pub const PLAIN_STATUS_HEADER: &str = "x-spoolway-plain-status";
/// The same wish as a query argument, for WebSocket handshakes.
pub const PLAIN_STATUS_QUERY: &str = "spoolway-plain-status";
/// A WebSocket client that cannot set headers puts its credentials into this query argument.
pub const API_KEY_QUERY: &str = "oe_api_key";

/// Headers that begin with it belong to service and agent; neither visitors nor printers may send them.
pub const INTERNAL_PREFIX: &str = "spoolway-";
/// Service to agent: the request's [`RequestId`](crate::RequestId), for the agent's log.
pub const REQUEST_ID_HEADER: &str = "spoolway-request-id";
/// Service to agent, on requests below [`COMMAND_API_PREFIX`]: the [`Caller`](crate::Caller).
pub const CALLER_HEADER: &str = "spoolway-caller";
/// Paths of the command API begin with it, in any case. The agent answers them itself.
pub const COMMAND_API_PREFIX: &str = "/octoeverywhere-command-api/";
/// Agent to service on a response: the request failed before the printer answered; an
/// [`AgentFailure`](crate::link::AgentFailure). The body is a text for the log.
pub const AGENT_FAILURE_HEADER: &str = "spoolway-agent-failure";
/// Agent to service on the answer to a WebSocket opening: the printer switched protocols and the stream carries
/// WebSocket frames. Without it, the response is the printer's refusal.
pub const UPGRADED_HEADER: &str = "spoolway-upgraded";
/// Agent to service in the upgrade request: base64url of a JSON [`Hello`](crate::link::Hello).
pub const HELLO_HEADER: &str = "spoolway-hello";
/// Service to agent in the 101: base64url of a JSON [`Welcome`](crate::link::Welcome).
pub const WELCOME_HEADER: &str = "spoolway-welcome";

/// Where agents connect on the site's host.
pub const TUNNEL_PATH: &str = "/api/agent/tunnel";
/// The `Upgrade` token of the native tunnel, and the WebSocket sub-protocol of its fallback.
pub const TUNNEL_PROTOCOL: &str = "spoolway-tunnel";
/// `:authority` of requests that the service makes to the agent itself, not to the printer. Visitors cannot choose
/// the authority of a relayed request, so they cannot reach these.
pub const AGENT_AUTHORITY: &str = "spoolway-agent";
/// `:authority` of relayed requests.
pub const PRINTER_AUTHORITY: &str = "printer";
/// Path on [`AGENT_AUTHORITY`]: the response's body is a stream of [`AgentEvent`](crate::link::AgentEvent)s, one
/// JSON object a line.
pub const EVENTS_PATH: &str = "/events";
/// Path on [`AGENT_AUTHORITY`]: `POST` without a body tells the agent that visitors can reach its printer from now on.
pub const LINKED_PATH: &str = "/linked";
/// Path on [`AGENT_AUTHORITY`]: `POST` of a [`Drain`](crate::link::Drain) tells the agent to connect anew.
pub const DRAIN_PATH: &str = "/drain";
/// On [`AGENT_AUTHORITY`]: `POST` with a [`PrinterCommand`](crate::printing::PrinterCommand)'s name after it. 204;
/// 409 where it does not fit what the printer does, 501 where the printer cannot, 502 where it did not answer, with a
/// text for people.
pub const COMMAND_PATH: &str = "/command/";
/// On [`AGENT_AUTHORITY`]: `GET` with a camera's index and [`SNAPSHOT`] or [`STREAM`] after it.
pub const CAMERA_PATH: &str = "/camera/";
/// Last part of a camera's path: one picture, `image/jpeg`.
pub const SNAPSHOT: &str = "snapshot";
/// Last part of a camera's path: pictures without end, `multipart/x-mixed-replace`.
pub const STREAM: &str = "stream";
/// Path on [`AGENT_AUTHORITY`]: `POST` of a [`KeyRequest`](crate::link::KeyRequest), answered with a
/// [`KeyAnswer`](crate::link::KeyAnswer); 501 where the printer's software is not OctoPrint.
pub const OCTOPRINT_KEY_PATH: &str = "/octoprint-key";
/// Bytes of one camera's picture; no camera's are larger, and both ends hold one in memory.
pub const MAX_PICTURE: usize = 8 * 1024 * 1024;
/// On the site's host: agents without a token ask there for a code (`POST`) and what became of it (`GET`).
pub const PAIRING_PATH: &str = "/api/agent/pairing";
