//! What service and agent say to each other about the link itself.
//!
//! Fields may be added, never removed or renamed; readers ignore what they do not know.

use serde::{Deserialize, Serialize};

use crate::ids::PrinterId;

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

/// What the agent knows of the printer's software.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PrinterStatus {
    /// Whether its software answered when it was last asked.
    pub reachable: bool,
    /// `octoprint`, `moonraker`, `virtual`, or `unknown`.
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
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum AgentEvent {
    /// The printer's software came, went, or turned out to be another version.
    PrinterStatus(PrinterStatus),
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
