//! Accounts, plans, printers and connections, kept in a database.
//!
//! Callers see domain methods and plain values, never tables. Which database is underneath is nobody else's business:
//! SQLite today, and nothing but [`database_url`] and [`Store::open`] knows it.
//!
//! Three promises shape the code:
//!
//! - What a method has acknowledged survives a crash of the process at any moment.
//! - "Unknown", "dead" and "wrong" are said only when the database said so. A database that is locked, full, gone or
//!   damaged is [`StoreError::Unavailable`] or [`StoreError::Damaged`], because shipped apps delete their stored
//!   connection on the former.
//! - Whoever changes what somebody may do writes a row to the change feed in the same transaction, so that every
//!   service that runs on the database hears of it ([`Store::changes_since`]).
//!
//! This crate knows nothing of HTTP, of error codes on the wire, or of clocks: the time is an argument.

mod accounts;
mod agents;
mod app_tokens;
mod audit;
mod beta;
mod changes;
mod connections;
mod database_url;
mod entity;
mod error;
mod export;
mod identities;
mod live_links;
mod lookup;
mod members;
mod migration;
mod own_connections;
mod owner_visits;
mod pairing;
mod passkeys;
mod password;
mod plans;
mod printers;
mod profile;
mod prune;
mod records;
mod registered_apps;
mod roles;
mod sealing;
mod sessions;
mod site;
mod store;
mod text;
mod time;
mod tokens;
mod totp;
mod webhooks;

pub use app_tokens::{AppConnectionRecord, AppTokenLookup};
pub use audit::{AuditEntry, AuditEvent, AuditKind};
pub use connections::{NewAppConnection, NewSharedConnection};
pub use database_url::DatabaseUrl;
pub use error::{StoreError, Subject};
pub use export::AccountExport;
pub use identities::Identity;
pub use live_links::{LiveEnd, LiveLinkRecord, LiveLinkSummary};
pub use members::{Member, PrinterInvitation};
pub use own_connections::{AppIdentity, Usage};
pub use owner_visits::OwnerVisitRecord;
pub use pairing::{NewPairing, PairingCode, PairingRecord, PairingState};
pub use passkeys::Passkey;
pub use password::{PasswordHash, PasswordRefused};
pub use printers::NewPrinter;
pub use profile::{AccountProfile, LoginRecord, TotpRecord};
pub use prune::Pruned;
pub use records::{
    AccountSummary, AgentAuth, AgentSeen, BetaGrant, Change, ChangeSubject, ConnectionCredentials, ConnectionKind,
    ConnectionLookup, ConnectionRecord, ConnectionSummary, DeathReason, EnrolOutcome, Listing, PlanSummary,
    PrinterSummary, SiteAddress,
};
pub use registered_apps::RegisteredApp;
pub use roles::{OwnPrinter, Role};
pub use sessions::{NewSession, SessionRecord, SessionSummary};
pub use store::Store;
pub use text::{EmailAddress, Feature, Name, TextError};
pub use tokens::{TokenPurpose, TokenRecord};
pub use webhooks::Webhook;
