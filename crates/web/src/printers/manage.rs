//! What an owner does with a printer besides watching it: name it, share it with other accounts, unlink it.

use std::time::SystemTime;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use model::{AccountId, PrinterId, Secret};
use serde::Deserialize;
use store::{AuditEvent, AuditKind, EmailAddress, Name, OwnPrinter, Role};

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::printers::printer_of;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

#[derive(Template)]
#[template(path = "printers/manage.html")]
struct ManagePage {
    layout: Layout,
    id: String,
    name: String,
    is_owner: bool,
    members: Vec<MemberRow>,
    /// Shown once.
    token: Option<String>,
    invitation: Option<Invited>,
    site: String,
}

struct MemberRow {
    account: String,
    email: String,
    role: &'static str,
    is_owner: bool,
}

struct Invited {
    email: String,
    url: String,
    was_mailed: bool,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &id, Role::Viewer).await?;
    show(&state, &signed_in, &printer, None, None).await
}

#[derive(Deserialize)]
pub(crate) struct Rename {
    name: String,
}

pub(crate) async fn rename(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    OwnForm(form): OwnForm<Rename>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &id, Role::Owner).await?;
    let name: Name = form.name.parse().map_err(|error: store::TextError| PageFailure::BadRequest(error.to_string()))?;
    state.store.rename_own_printer(signed_in.account(), &printer.summary.id, &name, SystemTime::now()).await?;
    note(&state, &signed_in, AuditKind::PrinterRenamed, &printer, name.as_str()).await;
    Ok(Redirect::to(&format!("/view/{id}")).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Confirmed {
    #[serde(default)]
    confirm: String,
}

pub(crate) async fn unlink(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    OwnForm(form): OwnForm<Confirmed>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &id, Role::Owner).await?;
    if form.confirm.trim() != printer.summary.name {
        return Err(PageFailure::BadRequest("type the printer's name to unlink it; nothing was changed".to_owned()));
    }
    state.store.unlink_printer(signed_in.account(), &printer.summary.id, SystemTime::now()).await?;
    note(&state, &signed_in, AuditKind::PrinterUnlinked, &printer, &printer.summary.name).await;
    Ok(Redirect::to("/printers").into_response())
}

#[derive(Deserialize)]
pub(crate) struct Nothing {}

/// A token with which another agent takes this printer's place, for instance on a new computer.
pub(crate) async fn issue_token(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    OwnForm(Nothing {}): OwnForm<Nothing>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &id, Role::Owner).await?;
    let issued = state.store.issue_enrolment(&printer.summary.id, SystemTime::now()).await?;
    note(&state, &signed_in, AuditKind::EnrolmentIssued, &printer, &printer.summary.name).await;
    show(&state, &signed_in, &printer, Some(issued.token), None).await
}

#[derive(Deserialize)]
pub(crate) struct Invite {
    email: String,
    role: String,
}

pub(crate) async fn invite(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    OwnForm(form): OwnForm<Invite>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &id, Role::Owner).await?;
    let email: EmailAddress =
        form.email.parse().map_err(|error: store::TextError| PageFailure::BadRequest(error.to_string()))?;
    let role: Role = form.role.parse()?;
    state.attempts.costly_form(signed_in.browser.address())?;
    let token =
        state.store.invite_member(signed_in.account(), &printer.summary.id, &email, role, SystemTime::now()).await?;
    let url = state.url(&format!("/printers/join?token={}", token.expose()));
    let kind = if role == Role::Owner { AuditKind::PrinterTransferred } else { AuditKind::MemberAdded };
    note(&state, &signed_in, kind, &printer, &format!("{email} was invited as {}", role.as_str())).await;
    let was_mailed = mail(&state, &email, &printer, &url);
    show(&state, &signed_in, &printer, None, Some(Invited { email: email.to_string(), url, was_mailed })).await
}

#[derive(Deserialize)]
pub(crate) struct Remove {
    account: String,
}

pub(crate) async fn remove_member(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    OwnForm(form): OwnForm<Remove>,
) -> Result<Response, PageFailure> {
    let account = form.account.parse().map_err(|_| PageFailure::NotFound)?;
    let now = SystemTime::now();
    if account == *signed_in.account() {
        let printer = printer_of(&state, &signed_in, &id, Role::Viewer).await?;
        state.store.leave_printer(signed_in.account(), &printer.summary.id, now).await?;
        let subject = format!("{}: {}", printer.summary.name, signed_in.session.account.email);
        note(&state, &signed_in, AuditKind::MemberLeft, &printer, &subject).await;
        note_for_owner(&state, &signed_in, AuditKind::MemberLeft, &printer.summary.id, &subject).await;
        return Ok(Redirect::to("/printers").into_response());
    }
    let printer = printer_of(&state, &signed_in, &id, Role::Owner).await?;
    let members = state.store.members(signed_in.account(), &printer.summary.id).await?;
    let email = members.into_iter().find(|member| member.account == account).map(|member| member.email.to_string());
    state.store.remove_member(signed_in.account(), &printer.summary.id, &account, now).await?;
    let subject = format!("{}: {}", printer.summary.name, email.unwrap_or_default());
    note(&state, &signed_in, AuditKind::MemberRemoved, &printer, &subject).await;
    Ok(Redirect::to(&format!("/printers/{id}/settings")).into_response())
}

#[derive(Template)]
#[template(path = "printers/join.html")]
struct JoinPage {
    layout: Layout,
    token: String,
    printer: String,
    role: &'static str,
    is_transfer: bool,
}

#[derive(Deserialize)]
pub(crate) struct Join {
    token: String,
}

pub(crate) async fn join_page(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    axum::extract::Query(link): axum::extract::Query<Join>,
) -> Result<Response, PageFailure> {
    state.attempts.link_code(signed_in.account())?;
    let now = SystemTime::now();
    let token = Secret::new(link.token.as_str());
    let invitation = state.store.printer_invitation(&token, now).await?;
    // Whoever came by the link some other way learns nothing of the printer.
    let invitation = invitation.filter(|invitation| invitation.email == signed_in.session.account.email);
    let invitation = invitation.ok_or(PageFailure::BadRequest(
        "this invitation was used, has expired, or was sent to another address than this account's".to_owned(),
    ))?;
    let layout = Layout::of(&signed_in.browser);
    let page = JoinPage {
        layout: layout.clone(),
        token: link.token,
        printer: invitation.printer_name,
        role: invitation.role.as_str(),
        is_transfer: invitation.role == Role::Owner,
    };
    Ok(AppPage::new(&layout, page).into_response())
}

pub(crate) async fn join(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Join>,
) -> Result<Response, PageFailure> {
    let token = Secret::new(form.token);
    let now = SystemTime::now();
    // A printer that is handed over leaves its owner, who has to read of it all the same.
    let invitation = state.store.printer_invitation(&token, now).await?;
    let before = match invitation {
        Some(invitation) => state.store.printer_owner(&invitation.printer).await?,
        None => None,
    };
    let joined = state.store.accept_printer_invitation(signed_in.account(), &token, now).await?;
    match joined {
        Some((printer, role)) => {
            let kind = AuditKind::MemberJoined;
            let subject = format!("{} is {} now", signed_in.session.account.email, role.as_str());
            let address = signed_in.browser.address();
            for account in before.iter().chain([signed_in.account()]) {
                crate::audit::note(&state, account, kind, Some(&printer), &subject, address).await;
            }
            Ok(Redirect::to(&format!("/view/{printer}")).into_response())
        }
        None => Err(PageFailure::BadRequest("this invitation was used, or has expired".to_owned())),
    }
}

async fn show(
    state: &SiteState,
    signed_in: &SignedIn,
    printer: &OwnPrinter,
    token: Option<Secret>,
    invitation: Option<Invited>,
) -> Result<Response, PageFailure> {
    let is_owner = printer.role == Role::Owner;
    let row = |account: &AccountId, email: &EmailAddress, role: Role| MemberRow {
        account: account.to_string(),
        email: email.to_string(),
        role: role.as_str(),
        is_owner: role == Role::Owner,
    };
    // Everybody else sees what they are themselves, and may leave.
    let members = if is_owner {
        let members = state.store.members(signed_in.account(), &printer.summary.id).await?;
        members.iter().map(|member| row(&member.account, &member.email, member.role)).collect()
    } else {
        vec![row(signed_in.account(), &signed_in.session.account.email, printer.role)]
    };
    let layout = Layout::of(&signed_in.browser);
    let page = ManagePage {
        layout: layout.clone(),
        id: printer.summary.id.to_string(),
        name: printer.summary.name.clone(),
        is_owner,
        members,
        token: token.map(|token| token.expose().to_owned()),
        invitation,
        site: state.origin(),
    };
    Ok(AppPage::new(&layout, page).into_response())
}

async fn note(state: &SiteState, signed_in: &SignedIn, kind: AuditKind, printer: &OwnPrinter, subject: &str) {
    let address = signed_in.browser.address();
    crate::audit::note(state, signed_in.account(), kind, Some(&printer.summary.id), subject, address).await;
}

/// The same in the log of the printer's owner.
async fn note_for_owner(state: &SiteState, signed_in: &SignedIn, kind: AuditKind, printer: &PrinterId, subject: &str) {
    let event = AuditEvent {
        kind,
        printer: Some(printer.clone()),
        subject: subject.to_owned(),
        address: Some(signed_in.browser.address()),
    };
    if let Err(error) = state.store.audit_owner(printer, event, SystemTime::now()).await {
        tracing::error!(%printer, ?kind, %error, "an event was not noted in the owner's log");
    }
}

/// Sends an invitation, where the service sends mail.
fn mail(state: &SiteState, email: &EmailAddress, printer: &OwnPrinter, url: &str) -> bool {
    let Some(mailer) = state.mailer.clone() else { return false };
    if state.attempts.mail(email).is_err() {
        return false;
    }
    let text = format!(
        "Hello,\n\n{} invites you to the 3D printer \"{}\" on {}.\nOpen this link within seven days, and sign in with \
         this address:\n\n{url}\n",
        printer.summary.owner, printer.summary.name, state.names.domain
    );
    let email = email.clone();
    tokio::spawn(async move {
        if let Err(error) = mailer.send(&email, "An invitation to a 3D printer", text).await {
            tracing::error!(error = &error as &dyn std::error::Error, "an invitation was not sent");
        }
    });
    true
}
