//! The account's log.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::failure::PageFailure;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::signed_in::SignedIn;
use crate::state::SiteState;
use crate::text::iso;

const ROWS: u64 = 100;

#[derive(Template)]
#[template(path = "settings/audit_log.html")]
struct LogPage {
    layout: Layout,
    rows: Vec<Row>,
    older: Option<i64>,
}

struct Row {
    at: String,
    what: &'static str,
    subject: String,
    address: String,
}

#[derive(Deserialize)]
pub(crate) struct Before {
    before: Option<i64>,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Query(query): Query<Before>,
) -> Result<Response, PageFailure> {
    let entries = state.store.audit_log(signed_in.account(), query.before, ROWS).await?;
    let older = entries.last().filter(|_| entries.len() as u64 == ROWS).map(|entry| entry.id);
    let layout = Layout::of(&signed_in.browser);
    let rows = entries
        .into_iter()
        .map(|entry| Row {
            at: iso(entry.at),
            what: words(entry.kind),
            subject: entry.subject,
            address: entry.address.map(|address| address.to_string()).unwrap_or_default(),
        })
        .collect();
    Ok(AppPage::new(&layout.clone(), LogPage { layout, rows, older }).into_response())
}

fn words(kind: store::AuditKind) -> &'static str {
    use store::AuditKind as Kind;
    match kind {
        Kind::SignIn => "Signed in",
        Kind::SignInFailed => "A sign-in failed",
        Kind::SignOut => "Signed out",
        Kind::PasswordChanged => "Password changed",
        Kind::EmailChanged => "Address changed",
        Kind::PasskeyAdded => "Passkey added",
        Kind::PasskeyRemoved => "Passkey removed",
        Kind::TotpEnabled => "One-time codes switched on",
        Kind::TotpDisabled => "One-time codes switched off",
        Kind::RecoveryCodesRenewed => "Recovery codes renewed",
        Kind::PrinterLinked => "Printer linked",
        Kind::PrinterUnlinked => "Printer unlinked",
        Kind::EnrolmentIssued => "Token for another agent issued",
        Kind::AgentRefused => "An agent with a wrong key was refused",
        Kind::PrinterRenamed => "Printer renamed",
        Kind::PrinterTransferred => "Printer offered to somebody",
        Kind::MemberAdded => "Somebody invited to a printer",
        Kind::MemberJoined => "Somebody took the access that they were offered",
        Kind::MemberLeft => "Somebody gave up their access to a printer",
        Kind::MemberRemoved => "Somebody's access to a printer ended",
        Kind::AppConnected => "App connected",
        Kind::AppRevoked => "App disconnected",
        Kind::FullControlGiven => "Full control given to an app",
        Kind::FullControlTaken => "Full control taken from an app",
        Kind::NativeMessageSent => "App spoke to the printer in its own language",
        Kind::ShareCreated => "Shared Connection made",
        Kind::ShareRevoked => "Connection ended",
        Kind::ShareOpened => "Link opened",
        Kind::LiveLinkCreated => "Live Link made",
        Kind::LiveLinkEnded => "Live Link ended",
        Kind::OwnerViewOpened => "Full interface opened",
        Kind::CommandSent => "Command sent",
        Kind::AccountExported => "Account exported",
        Kind::WebhookSet => "Webhook set by an app",
        Kind::WebhookRemoved => "Webhook removed by an app",
    }
}
