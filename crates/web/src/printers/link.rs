//! Linking a printer: the person types the code that the agent shows, sees what it belongs to, and names it.

use std::time::SystemTime;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::{AuditKind, Name, PairingRecord};

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::signed_in::{SignedIn, local_path};
use crate::state::SiteState;
use crate::text::iso;

#[derive(Template)]
#[template(path = "printers/link.html")]
struct LinkPage {
    layout: Layout,
    code: String,
    to: String,
    found: Option<Found>,
    name: String,
    problem: Option<String>,
    site: String,
    pairing: bool,
}

struct Found {
    host: String,
    software: String,
    lan_ip: String,
    address: String,
    asked_at: String,
    agent_version: String,
}

impl From<&PairingRecord> for Found {
    fn from(record: &PairingRecord) -> Self {
        Self {
            host: record.host.clone(),
            software: format!("{} {}", record.software, record.software_version).trim().to_owned(),
            lan_ip: record.lan_ip.clone(),
            address: record.address.map(|address| address.to_string()).unwrap_or_default(),
            asked_at: iso(record.created_at),
            agent_version: record.agent_version.clone(),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct CodeQuery {
    code: Option<String>,
    to: Option<String>,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Query(query): Query<CodeQuery>,
) -> Result<Response, PageFailure> {
    let code = query.code.unwrap_or_default();
    let to = local_path(query.to.as_deref());
    if code.trim().is_empty() {
        return Ok(show(&state, &signed_in, "", to, None, String::new(), None));
    }
    state.attempts.link_code(signed_in.account())?;
    let record = state.store.pairing_by_code(&code, SystemTime::now()).await?;
    let problem = record.is_none().then(unknown);
    let name = record.as_ref().map(suggested_name).unwrap_or_default();
    Ok(show(&state, &signed_in, &code, to, record.as_ref(), name, problem))
}

#[derive(Deserialize)]
pub(crate) struct Claim {
    code: String,
    #[serde(default)]
    name: String,
    to: Option<String>,
    /// `link` or `deny`.
    answer: String,
}

pub(crate) async fn submit(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Claim>,
) -> Result<Response, PageFailure> {
    let now = SystemTime::now();
    state.attempts.link_code(signed_in.account())?;
    let to = local_path(form.to.as_deref());
    if form.answer == "deny" {
        state.store.deny_pairing(&form.code, now).await?;
        return Ok(Redirect::to("/printers").into_response());
    }
    let name = match form.name.parse::<Name>() {
        Ok(name) => name,
        Err(error) => {
            let record = state.store.pairing_by_code(&form.code, now).await?;
            let problem = Some(format!("That name does not work: {error}."));
            return Ok(show(&state, &signed_in, &form.code, to, record.as_ref(), form.name, problem));
        }
    };
    let Some(printer) = state.store.claim_pairing(&form.code, signed_in.account(), &name, now).await? else {
        return Ok(show(&state, &signed_in, &form.code, to, None, String::new(), Some(unknown())));
    };
    let (account, address) = (signed_in.account(), signed_in.browser.address());
    crate::audit::note(&state, account, AuditKind::PrinterLinked, Some(&printer), name.as_str(), address).await;
    let to = if to == "/printers" { format!("/view/{printer}") } else { to.to_owned() };
    Ok(Redirect::to(&to).into_response())
}

fn show(
    state: &SiteState,
    signed_in: &SignedIn,
    code: &str,
    to: &str,
    found: Option<&PairingRecord>,
    name: String,
    problem: Option<String>,
) -> Response {
    let layout = Layout::of(&signed_in.browser);
    let page = LinkPage {
        layout: layout.clone(),
        code: code.chars().take(16).collect(),
        to: to.to_owned(),
        found: found.map(Found::from),
        name,
        problem,
        site: state.origin(),
        pairing: state.settings.pairing,
    };
    AppPage::new(&layout, page).into_response()
}

fn suggested_name(record: &PairingRecord) -> String {
    if record.host.is_empty() { "My printer".to_owned() } else { record.host.clone() }
}

fn unknown() -> String {
    "That code is not known. Codes work for 15 minutes and once; the agent shows a new one when its code has expired."
        .to_owned()
}
