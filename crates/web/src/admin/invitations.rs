//! Inviting people.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::{EmailAddress, TextError, TokenPurpose};

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::signed_in::Administrator;
use crate::state::SiteState;
use crate::text::iso;

const LIFETIME: Duration = Duration::from_secs(7 * 86_400);

#[derive(Template)]
#[template(path = "admin/invitations.html")]
struct InvitationsPage {
    layout: Layout,
    rows: Vec<Row>,
    /// Shown once.
    made: Option<String>,
    was_mailed: bool,
}

struct Row {
    id: String,
    email: String,
    expires: String,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    Administrator(signed_in): Administrator,
) -> Result<Response, PageFailure> {
    show(&state, &Layout::of(&signed_in.browser), None, false).await
}

#[derive(Deserialize)]
pub(crate) struct Invite {
    #[serde(default)]
    email: String,
}

pub(crate) async fn invite(
    State(state): State<SiteState>,
    Administrator(signed_in): Administrator,
    OwnForm(form): OwnForm<Invite>,
) -> Result<Response, PageFailure> {
    let email = match form.email.trim() {
        "" => None,
        text => Some(text.parse().map_err(|error: TextError| PageFailure::BadRequest(error.to_string()))?),
    };
    let email: Option<EmailAddress> = email;
    let now = SystemTime::now();
    let token = state.store.issue_token(TokenPurpose::Invitation, None, email.as_ref(), None, LIFETIME, now).await?;
    let url = state.url(&format!("/sign-up?token={}", token.expose()));
    let mut was_mailed = false;
    if let (Some(email), Some(mailer)) = (email, state.mailer.clone())
        && state.attempts.mail(&email).is_ok()
    {
        was_mailed = true;
        let text = format!(
            "Hello,\n\nyou are invited to make an account on {}, which brings people to their 3D printers.\nThis link \
             works once, within seven days:\n\n{url}\n",
            state.names.domain
        );
        tokio::spawn(async move {
            if let Err(error) = mailer.send(&email, "An invitation to Spoolway", text).await {
                tracing::error!(error = &error as &dyn std::error::Error, "an invitation was not sent");
            }
        });
    }
    show(&state, &Layout::of(&signed_in.browser), Some(url), was_mailed).await
}

#[derive(Deserialize)]
pub(crate) struct Withdraw {
    id: String,
}

pub(crate) async fn withdraw(
    State(state): State<SiteState>,
    Administrator(_): Administrator,
    OwnForm(form): OwnForm<Withdraw>,
) -> Result<Response, PageFailure> {
    let id = form.id.parse().map_err(|_| PageFailure::NotFound)?;
    state.store.withdraw_invitation(&id).await?;
    Ok(Redirect::to("/admin/invitations").into_response())
}

async fn show(
    state: &SiteState,
    layout: &Layout,
    made: Option<String>,
    was_mailed: bool,
) -> Result<Response, PageFailure> {
    let rows = state.store.invitations(SystemTime::now()).await?;
    let rows = rows
        .into_iter()
        .map(|row| Row {
            id: row.id.to_string(),
            email: row.email.map(|email| email.to_string()).unwrap_or_default(),
            expires: iso(row.expires_at),
        })
        .collect();
    Ok(AppPage::new(layout, InvitationsPage { layout: layout.clone(), rows, made, was_mailed }).into_response())
}
