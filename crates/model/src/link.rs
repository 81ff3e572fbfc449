//! What service and agent say to each other about the link itself.
//!
//! Fields may be added, never removed or renamed; readers ignore what they do not know.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::PrinterId;
use crate::printing::PrinterState;

/// The version of the native tunnel that this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// The oldest version of the native tunnel that this build still serves.
pub const MIN_PROTOCOL_VERSION: u32 = 1;

/// The agent introduces itself. Its key travels beside it, as `Authorization: Bearer`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Version of the tunnel, [`PROTOCOL_VERSION`].
    pub protocol: u32,
    /// The printer that the agent was enrolled as; absent on the first contact, which carries a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub printer_id: Option<PrinterId>,
    /// One-time enrolment token, on the first contact only. The key sent with it becomes the printer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment_token: Option<String>,
    /// Version of the agent's software.
    pub agent_version: String,
    /// Optional abilities, by name.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What is known of the printer at this moment.
    #[serde(default)]
    pub printer: PrinterStatus,
}

/// Names of optional abilities in [`Hello::capabilities`].
pub mod capability {
    /// It sends [`AgentEvent::PrinterState`](super::AgentEvent::PrinterState).
    pub const STATE: &str = "state";
    /// It passes on [`PrinterCommand`](crate::printing::PrinterCommand)s.
    pub const COMMANDS: &str = "commands";
    /// It fetches the pictures of the printer's cameras.
    pub const CAMERAS: &str = "cameras";
    /// It can ask OctoPrint for keys for apps.
    pub const OCTOPRINT_KEY: &str = "octoprint-key";
}

/// What the agent knows of the printer's software.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PrinterStatus {
    /// Whether its software answered when it was last asked.
    pub reachable: bool,
    /// `octoprint`, `moonraker`, `prusalink`, `bambu`, `elegoo-cc1`, `elegoo-cc2`, `virtual`, or `unknown`.
    pub software: String,
    /// The software's own version, empty if unknown.
    pub software_version: String,
    /// The agent's address on its LAN, empty if unknown.
    pub lan_ip: String,
    /// What is wrong, for people; empty if nothing is.
    pub problem: String,
}

/// The service accepts an agent.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// Version of the tunnel that the service will speak.
    pub protocol: u32,
    /// The printer's id, to be kept and sent from then on.
    pub printer_id: PrinterId,
    /// The owner's name for the printer.
    pub printer_name: String,
    /// Version of the service's software.
    pub service_version: String,
    /// The service's clock, milliseconds since 1970.
    pub unix_time_ms: u64,
}

/// Why the service refuses an agent; the body of a refused upgrade.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The reason.
    pub reason: RefusalReason,
    /// The same for people, with what to do.
    pub message: String,
    /// When to try again, in seconds. Absent: when something has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// Reasons of a [`Refusal`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The enrolment token is unknown, used, or expired.
    InvalidToken,
    /// The key is not the one that this printer was enrolled with.
    WrongKey,
    /// The printer is unknown or was removed from its account.
    PrinterRemoved,
    /// The agent's tunnel version is older than the service supports.
    AgentTooOld,
    /// The service's tunnel version is older than the agent's.
    ServiceTooOld,
    /// The hello cannot be read.
    Malformed,
    /// Too many attempts, or the service is overloaded or going down.
    Busy,
    /// The service cannot tell right now.
    Unavailable,
    /// A reason that this build does not know.
    #[serde(other)]
    Unknown,
}

/// Something that the agent tells the service over the tunnel.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum AgentEvent {
    /// The printer's software came, went, or turned out to be another version.
    PrinterStatus(PrinterStatus),
    /// What the printer does has changed. Sent when a link begins, and at most once a second.
    PrinterState(PrinterState),
    /// An event that this build does not know.
    #[serde(other)]
    Unknown,
}

/// The service will go away: connect anew, then let this link's streams finish.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Agents wait a random part of this many milliseconds, so that they do not all come at once.
    pub spread_ms: u64,
}

/// An app wants a key of OctoPrint's.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct KeyRequest {
    /// The app's name, as OctoPrint will list it.
    pub app: String,
}

/// The key of an app. It does not print.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeyAnswer {
    /// What the app sends as `X-Api-Key`.
    pub api_key: String,
}

impl fmt::Debug for KeyAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyAnswer(…)")
    }
}

/// An agent that has no token asks for a code, which its owner types in on the site. Its key travels beside it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PairingRequest {
    /// The name of the machine that the agent runs on.
    pub host: String,
    /// As [`PrinterStatus::software`].
    pub software: String,
    /// As [`PrinterStatus::software_version`].
    pub software_version: String,
    /// Version of the agent's software.
    pub agent_version: String,
    /// As [`PrinterStatus::lan_ip`].
    pub lan_ip: String,
}

/// The code for an agent's owner.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PairingOffer {
    /// Letters and digits, to be typed in.
    pub code: String,
    /// Where to type it in.
    pub url: String,
    /// The same with the code in it, for the QR code.
    pub url_with_code: String,
    /// How long the code is good for.
    pub expires_in_seconds: u32,
    /// How often the agent may ask what became of it.
    pub poll_seconds: u32,
}

/// What became of a code.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case", rename_all_fields = "camelCase", tag = "state")]
pub enum PairingAnswer {
    /// Nobody has typed it in.
    Pending,
    /// The agent's key is now this printer's.
    Linked {
        /// The printer's id, to be kept.
        printer_id: PrinterId,
        /// The owner's name for it.
        printer_name: String,
    },
    /// Somebody has said that this is not their printer.
    Denied,
}

/// Why the agent has no answer of the printer's to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentFailure {
    /// Refused, unreachable, connect timeout, name not resolved, or TLS failed: 602.
    TargetUnreachable,
    /// The printer's answer is no HTTP: 612.
    TargetProtocol,
    /// The agent's own fault: 612.
    Internal,
}

impl AgentFailure {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TargetUnreachable => "target-unreachable",
            Self::TargetProtocol => "target-protocol",
            Self::Internal => "internal",
        }
    }

    /// Reads a name; unknown ones count as the agent's own fault.
    pub fn from_name(name: &[u8]) -> Self {
        match name {
            b"target-unreachable" => Self::TargetUnreachable,
            b"target-protocol" => Self::TargetProtocol,
            _ => Self::Internal,
        }
    }
}
