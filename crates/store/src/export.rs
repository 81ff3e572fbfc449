//! What the service knows about an account, for its owner to take along. No secrets, nor links that open something.

use std::time::SystemTime;

use model::AccountId;
use serde::Serialize;

use crate::audit::AuditEntry;
use crate::error::StoreError;
use crate::records::ConnectionKind;
use crate::roles::Role;
use crate::store::Store;
use crate::time::to_milliseconds;

/// All that is known about an account. It is written as JSON; times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountExport {
    /// The account itself.
    pub account: ExportedAccount,
    /// Browsers that are signed in.
    pub sessions: Vec<ExportedSession>,
    /// Passkeys.
    pub passkeys: Vec<ExportedPasskey>,
    /// Accounts at identity providers.
    pub identities: Vec<ExportedIdentity>,
    /// Printers that the account owns or was given a role on.
    pub printers: Vec<ExportedPrinter>,
    /// Apps and links to its own printers.
    pub connections: Vec<ExportedConnection>,
    /// Live links.
    pub live_links: Vec<ExportedLiveLink>,
    /// What happened, newest first.
    pub log: Vec<ExportedEvent>,
}

/// The account itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedAccount {
    pub id: String,
    pub email: String,
    pub email_verified: bool,
    pub is_administrator: bool,
    pub has_password: bool,
    pub has_second_factor: bool,
    pub plan: String,
    pub created_at: i64,
}

/// A browser that is signed in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedSession {
    pub user_agent: String,
    pub address: Option<String>,
    pub created_at: i64,
    pub last_seen_at: i64,
}

/// A passkey.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedPasskey {
    pub name: String,
    pub created_at: i64,
    pub last_used_at: Option<i64>,
}

/// An account at an identity provider.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedIdentity {
    pub issuer: String,
    pub subject: String,
    pub created_at: i64,
}

/// A printer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedPrinter {
    pub id: String,
    pub name: String,
    pub role: String,
    pub software: String,
    pub software_version: String,
    pub agent_version: String,
    pub lan_ip: String,
    pub created_at: i64,
    pub last_connected_at: Option<i64>,
    pub members: Vec<ExportedMember>,
}

/// Somebody with a role on a printer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedMember {
    pub email: String,
    pub role: String,
    pub created_at: i64,
}

/// An app's access or a link.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedConnection {
    pub id: String,
    pub kind: &'static str,
    pub printer_id: String,
    pub app_name: Option<String>,
    pub app_id: Option<String>,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub last_used_at: Option<i64>,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub has_full_control: bool,
}

/// A live link.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedLiveLink {
    pub printer_id: String,
    pub created_at: i64,
    pub ended_at: Option<i64>,
}

/// An entry of the account's log.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedEvent {
    pub at: i64,
    pub kind: &'static str,
    pub printer_id: Option<String>,
    pub subject: String,
    pub address: Option<String>,
}

impl Store {
    /// All that is known about an account, without secrets.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn export_account(&self, id: &AccountId, now: SystemTime) -> Result<AccountExport, StoreError> {
        let account = self.account(id).await?;
        let mut printers = Vec::new();
        for printer in self.printers_of(id).await? {
            let members = match printer.role {
                Role::Owner => self.members(id, &printer.summary.id).await,
                _ => Ok(Vec::new()),
            };
            let members = match members {
                // Removed or handed over while this was written.
                Err(StoreError::NotFound { .. }) => continue,
                members => members?,
            };
            let summary = printer.summary;
            printers.push(ExportedPrinter {
                id: summary.id.into(),
                name: summary.name,
                role: printer.role.to_string(),
                software: summary.seen.software,
                software_version: summary.seen.software_version,
                agent_version: summary.seen.agent_version,
                lan_ip: summary.seen.lan_ip,
                created_at: to_milliseconds(summary.created_at),
                last_connected_at: summary.last_connected_at.map(to_milliseconds),
                members: members
                    .into_iter()
                    .map(|member| ExportedMember {
                        email: member.email.to_string(),
                        role: member.role.to_string(),
                        created_at: to_milliseconds(member.created_at),
                    })
                    .collect(),
            });
        }
        Ok(AccountExport {
            sessions: self.sessions(id, now).await?.into_iter().map(export_session).collect(),
            passkeys: self
                .passkeys(id)
                .await?
                .into_iter()
                .map(|passkey| ExportedPasskey {
                    name: passkey.name,
                    created_at: to_milliseconds(passkey.created_at),
                    last_used_at: passkey.last_used_at.map(to_milliseconds),
                })
                .collect(),
            identities: self
                .identities(id)
                .await?
                .into_iter()
                .map(|identity| ExportedIdentity {
                    issuer: identity.issuer,
                    subject: identity.subject,
                    created_at: to_milliseconds(identity.created_at),
                })
                .collect(),
            printers,
            connections: self.connections_of(id, None).await?.into_iter().map(export_connection).collect(),
            live_links: self
                .live_links_of(id, None)
                .await?
                .into_iter()
                .map(|link| ExportedLiveLink {
                    printer_id: link.printer.into(),
                    created_at: to_milliseconds(link.created_at),
                    ended_at: link.ended_at.map(to_milliseconds),
                })
                .collect(),
            log: self.whole_log(id).await?.into_iter().map(export_event).collect(),
            account: ExportedAccount {
                id: account.id.into(),
                email: account.email.to_string(),
                email_verified: account.email_verified,
                is_administrator: account.is_admin,
                has_password: account.has_password,
                has_second_factor: account.has_totp,
                plan: account.plan.name,
                created_at: to_milliseconds(account.created_at),
            },
        })
    }

    /// In pages; the log is bounded.
    async fn whole_log(&self, id: &AccountId) -> Result<Vec<AuditEntry>, StoreError> {
        const PAGE: u64 = 1000;
        let mut log = Vec::new();
        loop {
            let page = self.audit_log(id, log.last().map(|entry: &AuditEntry| entry.id), PAGE).await?;
            if page.is_empty() {
                return Ok(log);
            }
            log.extend(page);
        }
    }
}

fn export_session(session: crate::sessions::SessionSummary) -> ExportedSession {
    ExportedSession {
        user_agent: session.user_agent,
        address: session.address.map(|address| address.to_string()),
        created_at: to_milliseconds(session.created_at),
        last_seen_at: to_milliseconds(session.last_seen_at),
    }
}

fn export_connection(connection: crate::records::ConnectionSummary) -> ExportedConnection {
    ExportedConnection {
        id: connection.id.into(),
        kind: match connection.kind {
            ConnectionKind::App => "app",
            ConnectionKind::Shared => "shared",
        },
        printer_id: connection.printer.into(),
        app_name: connection.app_name,
        app_id: connection.app_id,
        created_at: to_milliseconds(connection.created_at),
        expires_at: connection.expires_at.map(to_milliseconds),
        last_used_at: connection.last_used_at.map(to_milliseconds),
        bytes_up: connection.bytes_up,
        bytes_down: connection.bytes_down,
        has_full_control: connection.has_full_control,
    }
}

fn export_event(entry: AuditEntry) -> ExportedEvent {
    ExportedEvent {
        at: to_milliseconds(entry.at),
        kind: entry.kind.name(),
        printer_id: entry.printer.map(String::from),
        subject: entry.subject,
        address: entry.address.map(|address| address.to_string()),
    }
}
