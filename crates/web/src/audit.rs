//! The owner's record of what happened in an account.

use std::net::IpAddr;
use std::time::SystemTime;

use model::{AccountId, PrinterId};
use store::{AuditEvent, AuditKind};

use crate::browser::Browser;
use crate::state::SiteState;

/// Longest text of an entry.
const MAX_SUBJECT: usize = 200;

/// Writes an entry about a sign-in that failed, while the answer is on its way: how long it takes must not tell whether
/// there is such an account.
pub(crate) fn note_failed_sign_in(state: &SiteState, account: &AccountId, browser: &Browser) {
    let (state, account, browser) = (state.clone(), account.clone(), browser.clone());
    tokio::spawn(async move {
        let kind = AuditKind::SignInFailed;
        note(&state, &account, kind, None, browser.user_agent(), browser.address()).await;
    });
}

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
