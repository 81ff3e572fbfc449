//! The owner's record of what happened in an account.

use std::net::IpAddr;
use std::time::SystemTime;

use model::{AccountId, PrinterId};
use store::{AuditEvent, AuditKind};

use crate::state::SiteState;

/// Longest text of an entry.
const MAX_SUBJECT: usize = 200;

/// Writes an entry. What was done is done: a failure to note it is logged, and nothing more.
pub(crate) async fn note(
    state: &SiteState,
    account: &AccountId,
    kind: AuditKind,
    printer: Option<&PrinterId>,
    subject: &str,
    address: IpAddr,
) {
    let subject = subject.chars().filter(|c| !c.is_control()).take(MAX_SUBJECT).collect();
    let event = AuditEvent { kind, printer: printer.cloned(), subject, address: Some(address) };
    if let Err(error) = state.store.audit(account, event, SystemTime::now()).await {
        tracing::error!(%account, ?kind, %error, "an event was not noted in the account's log");
    }
}
