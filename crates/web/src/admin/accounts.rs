//! All accounts: their plans, who is an administrator, and their end.

use std::time::SystemTime;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::EmailAddress;

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::settings::prove_again;
use crate::signed_in::Administrator;
use crate::state::SiteState;
use crate::text::iso;

#[derive(Template)]
#[template(path = "admin/accounts.html")]
struct AccountsPage {
    layout: Layout,
    accounts: Vec<Row>,
    plans: Vec<String>,
    is_cut_off: bool,
    own: String,
}

struct Row {
    email: String,
    plan: String,
    n_printers: u64,
    is_admin: bool,
    created: String,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    Administrator(signed_in): Administrator,
) -> Result<Response, PageFailure> {
    let accounts = state.store.accounts().await?;
    let plans = state.store.plans().await?;
    let layout = Layout::of(&signed_in.browser);
    let page = AccountsPage {
        layout: layout.clone(),
        is_cut_off: accounts.is_cut_off,
        accounts: accounts
            .rows
            .into_iter()
            .map(|account| Row {
                email: account.email.to_string(),
                plan: account.plan,
                n_printers: account.n_printers,
                is_admin: account.is_admin,
                created: iso(account.created_at),
            })
            .collect(),
        plans: plans.rows.into_iter().map(|plan| plan.plan.name).collect(),
        own: signed_in.session.account.email.to_string(),
    };
    Ok(AppPage::new(&layout, page).into_response())
}

#[derive(Deserialize)]
pub(crate) struct SetPlan {
    email: String,
    plan: String,
}

pub(crate) async fn set_plan(
    State(state): State<SiteState>,
    Administrator(_): Administrator,
    OwnForm(form): OwnForm<SetPlan>,
) -> Result<Response, PageFailure> {
    state.store.set_account_plan(&address(&form.email)?, &form.plan, SystemTime::now()).await?;
    Ok(Redirect::to("/admin/accounts").into_response())
}

#[derive(Deserialize)]
pub(crate) struct SetAdministrator {
    email: String,
    administrator: bool,
    #[serde(default)]
    password: String,
}

pub(crate) async fn set_administrator(
    State(state): State<SiteState>,
    Administrator(signed_in): Administrator,
    OwnForm(form): OwnForm<SetAdministrator>,
) -> Result<Response, PageFailure> {
    prove_again(&state, &signed_in, form.password).await?;
    let email = address(&form.email)?;
    state.store.set_admin(&email, form.administrator, SystemTime::now()).await?;
    tracing::info!(by = %signed_in.account(), is_admin = form.administrator, "an account's rights were changed");
    Ok(Redirect::to("/admin/accounts").into_response())
}

#[derive(Deserialize)]
pub(crate) struct Delete {
    email: String,
    #[serde(default)]
    confirm: String,
    #[serde(default)]
    password: String,
}

pub(crate) async fn delete(
    State(state): State<SiteState>,
    Administrator(signed_in): Administrator,
    OwnForm(form): OwnForm<Delete>,
) -> Result<Response, PageFailure> {
    let email = address(&form.email)?;
    if email == signed_in.session.account.email {
        return Err(PageFailure::BadRequest("delete your own account in the settings".to_owned()));
    }
    if !form.confirm.trim().eq_ignore_ascii_case(email.as_str()) {
        return Err(PageFailure::BadRequest("type the account's address to delete it; nothing was changed".to_owned()));
    }
    prove_again(&state, &signed_in, form.password).await?;
    state.store.delete_account(&email, SystemTime::now()).await?;
    tracing::info!(by = %signed_in.account(), "an account was deleted");
    Ok(Redirect::to("/admin/accounts").into_response())
}

fn address(text: &str) -> Result<EmailAddress, PageFailure> {
    text.parse().map_err(|error: store::TextError| PageFailure::BadRequest(error.to_string()))
}
