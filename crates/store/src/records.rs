//! Plain values that the store takes and gives.

use std::time::SystemTime;

use model::{AccountId, ConnectionId, Label, Plan, PrinterId, SecretHash, SessionId};

use crate::password::PasswordHash;
use crate::text::{EmailAddress, Feature};

/// The two kinds of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionKind {
    /// One app's access to one printer.
    App,
    /// A link that its owner hands out.
    Shared,
}

/// What the store knows about a label or an id, as of the moment it was asked.
#[derive(Clone, Debug)]
pub enum ConnectionLookup {
    /// Nothing, and nothing that died within the last 400 days.
    Unknown,
    /// It existed and never will again.
    Dead(DeathReason),
    /// It exists. Whether it has expired is for the caller to say, who knows the time.
    Alive(Box<ConnectionRecord>),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeathReason {
    /// Its owner or the operator revoked it.
    Revoked,
    /// Its printer was removed from the account.
    PrinterRemoved,
    /// Its account was deleted.
    AccountDeleted,
    /// Its time is over. Only said of app tokens: elsewhere the caller compares the times.
    Expired,
}

/// A living connection, with all that decides about a request to it.
#[derive(Clone, Debug)]
pub struct ConnectionRecord {
    /// Its id.
    pub id: ConnectionId,
    /// App or shared.
    pub kind: ConnectionKind,
    /// The random part of its host name.
    pub label: Label,
    /// The printer that it leads to.
    pub printer: PrinterId,
    /// The owner's name for it.
    pub printer_name: String,
    /// The printer's owner.
    pub account: AccountId,
    /// The app's name; none on Shared Connections.
    pub app_name: Option<String>,
    /// When it stops working.
    pub expires_at: Option<SystemTime>,
    /// Who gets in.
    pub credentials: ConnectionCredentials,
    /// Whether it may send the printer messages that nothing can check. Never on Shared Connections.
    pub has_full_control: bool,
    /// What the owner's plan allows.
    pub plan: Plan,
}

/// Who gets in at a connection.
#[derive(Clone, Debug)]
pub enum ConnectionCredentials {
    /// An app, with either of the two.
    App {
        /// User name of the basic pair. Not a secret.
        basic_user: String,
        /// Password of the basic pair.
        basic_password: SecretHash,
        /// Bearer token.
        bearer: SecretHash,
    },
    /// Everybody who has the link.
    Open,
    /// Everybody who has the link and this password.
    Password(PasswordHash),
}

/// Something was changed that alters what somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in the feed. Places only grow, and become visible in order.
    pub seq: i64,
    /// What was changed.
    pub subject: ChangeSubject,
}

/// What a [`Change`] is about. A change to one of them may alter everything below it: an account's printers, a
/// printer's connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChangeSubject {
    /// An account was made or deleted, got another plan, address or rights, or a beta feature was granted or taken.
    Account(AccountId),
    /// A plan of this name was made or altered.
    Plan(String),
    /// A printer was added, renamed, enrolled or removed, or somebody's role on it changed.
    Printer(PrinterId),
    /// A connection was made or revoked.
    Connection(ConnectionId),
    /// A browser was signed out.
    Session(SessionId),
}

/// What became of an enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrolOutcome {
    /// The agent's key is the printer's.
    Enrolled {
        /// The printer that the token was for.
        printer: PrinterId,
        /// The owner's name for it.
        name: String,
    },
    /// The token is unknown, expired, or was used by another agent.
    InvalidToken,
}

/// Whether an agent is who it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentAuth {
    /// The key is the printer's.
    Accepted {
        /// The owner's name for the printer.
        name: String,
        /// The owner.
        account: AccountId,
    },
    /// The printer exists and has another key, or none yet.
    WrongKey,
    /// There is no such printer, or there is none any more.
    Removed,
}

/// What an agent said of itself and its printer when it connected. Empty texts are unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSeen {
    /// Version of the agent.
    pub agent_version: String,
    /// `octoprint`, `moonraker`, …
    pub software: String,
    /// Version of the printer's software.
    pub software_version: String,
    /// The agent's address on its LAN.
    pub lan_ip: String,
}

/// Where the service is reached, written by the service so that `admin` can print URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteAddress {
    /// `http` or `https`.
    pub scheme: String,
    /// Host of the site, with the port where it is not the scheme's own.
    pub domain: String,
    /// Domain of the printers' host names, with the port likewise.
    pub printers_domain: String,
}

impl SiteAddress {
    /// The root of a connection's URL: lower case, no trailing slash.
    pub fn connection_url(&self, kind: ConnectionKind, label: &Label) -> String {
        let prefix = match kind {
            ConnectionKind::App => "app",
            ConnectionKind::Shared => "shared",
        };
        format!("{}://{prefix}-{label}.{}", self.scheme, self.printers_domain)
    }

    /// The root of the site's URL, without a trailing slash.
    pub fn site_url(&self) -> String {
        format!("{}://{}", self.scheme, self.domain)
    }
}

/// A list that may have been cut off.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// The rows, oldest first.
    pub rows: Vec<T>,
    /// Whether there are more than the store gives at once.
    pub is_cut_off: bool,
}

/// An account in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSummary {
    /// Its id.
    pub id: AccountId,
    /// The owner's address, unique.
    pub email: EmailAddress,
    /// Name of its plan.
    pub plan: String,
    /// Whether a password was set.
    pub has_password: bool,
    /// Whether it runs the service.
    pub is_admin: bool,
    /// How many printers it has.
    pub n_printers: u64,
    /// When it was made.
    pub created_at: SystemTime,
}

/// A plan in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSummary {
    /// The plan.
    pub plan: Plan,
    /// How many accounts have it.
    pub n_accounts: u64,
}

/// A printer in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrinterSummary {
    /// Its id.
    pub id: PrinterId,
    /// The owner's name for it.
    pub name: String,
    /// The owner.
    pub account: AccountId,
    /// The owner's address.
    pub owner: EmailAddress,
    /// Whether an agent was enrolled.
    pub is_enrolled: bool,
    /// When it was added.
    pub created_at: SystemTime,
    /// When its agent last connected.
    pub last_connected_at: Option<SystemTime>,
    /// When its agent last disconnected; older than `last_connected_at` while it is connected.
    pub last_disconnected_at: Option<SystemTime>,
    /// What the agent said when it last connected.
    pub seen: AgentSeen,
}

/// A living connection in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSummary {
    /// Its id.
    pub id: ConnectionId,
    /// App or shared.
    pub kind: ConnectionKind,
    /// The random part of its host name.
    pub label: Label,
    /// The printer that it leads to.
    pub printer: PrinterId,
    /// The owner's name for the printer.
    pub printer_name: String,
    /// The owner's address.
    pub owner: EmailAddress,
    /// The app's name; none on Shared Connections.
    pub app_name: Option<String>,
    /// Whether the link asks for a password. Always on App Connections.
    pub has_credentials: bool,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it stops working.
    pub expires_at: Option<SystemTime>,
    /// When it was last used.
    pub last_used_at: Option<SystemTime>,
    /// What the app calls itself in its requests; none on Shared Connections and where the app did not say.
    pub app_id: Option<String>,
    /// Bytes that went to the printer.
    pub bytes_up: u64,
    /// Bytes that came from it.
    pub bytes_down: u64,
    /// Whether it may send the printer messages that nothing can check. Never on Shared Connections.
    pub has_full_control: bool,
}

/// A beta feature that was granted to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BetaGrant {
    /// The account's address.
    pub email: EmailAddress,
    /// The feature.
    pub feature: Feature,
    /// When it was granted.
    pub granted_at: SystemTime,
}
