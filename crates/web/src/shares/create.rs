//! Making a Live Link or a Shared Connection.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::Secret;
use serde::Deserialize;
use store::{AuditKind, LiveEnd, PasswordHash, Role};

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::printers::printer_of;
use crate::qr::Qr;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

/// Two years, as the App API has it.
pub(crate) const MAX_LIVE_HOURS: u32 = 17_520;
/// Shared Connections may last ten years; whoever wants more leaves the field empty.
const MAX_SHARE_DAYS: u32 = 3650;

#[derive(Template)]
#[template(path = "shares/made.html")]
struct MadePage {
    layout: Layout,
    title: &'static str,
    printer: String,
    url: String,
    short_url: Option<String>,
    has_password: bool,
    qr: Option<Qr>,
}

#[derive(Deserialize)]
pub(crate) struct LiveForm {
    printer: String,
    /// `print`, or hours.
    until: String,
}

pub(crate) async fn live(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<LiveForm>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &form.printer, Role::Owner).await?;
    let now = SystemTime::now();
    let end = if form.until == "print" {
        let status = state.live.status(&printer.summary.id).await;
        let running = status.and_then(|status| status.state).filter(|state| state.phase.is_active());
        let Some(running) = running else {
            return Err(PageFailure::BadRequest("nothing is being printed; choose a time instead".to_owned()));
        };
        LiveEnd::WithPrint { print_id: running.print_id.unwrap_or_default() }
    } else {
        let hours = form.until.parse::<u32>().ok().filter(|hours| (1..=MAX_LIVE_HOURS).contains(hours));
        let hours = hours.ok_or_else(|| PageFailure::BadRequest("a Live Link lasts 1 to 17,520 hours".to_owned()))?;
        LiveEnd::At(now + Duration::from_secs(u64::from(hours) * 3600))
    };
    let id = state.store.create_live_link(signed_in.account(), &printer.summary.id, end, None, now).await?;
    note(&state, &signed_in, AuditKind::LiveLinkCreated, &printer).await;
    let (url, short) = (state.url(&format!("/live/{id}")), state.url(&format!("/l/{id}")));
    Ok(made(&signed_in, "The Live Link is made", &printer, url, Some(short), false))
}

#[derive(Deserialize)]
pub(crate) struct SharedForm {
    printer: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    days: String,
}

pub(crate) async fn shared(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<SharedForm>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &form.printer, Role::Owner).await?;
    let now = SystemTime::now();
    let expires = match form.days.trim() {
        "" => None,
        days => {
            let days = days.parse::<u32>().ok().filter(|days| (1..=MAX_SHARE_DAYS).contains(days));
            let days = days.ok_or_else(|| PageFailure::BadRequest("the link lasts 1 to 3,650 days".to_owned()))?;
            Some(now + Duration::from_secs(u64::from(days) * 86_400))
        }
    };
    let password = if form.password.is_empty() { None } else { Some(hash(&state, form.password).await?) };
    let has_password = password.is_some();
    let id = &printer.summary.id;
    let made_connection =
        state.store.create_shared_connection_of(signed_in.account(), id, password.as_ref(), expires, now).await?;
    note(&state, &signed_in, AuditKind::ShareCreated, &printer).await;
    let (scheme, domain) = (&state.names.scheme, &state.names.printers_domain);
    let url = format!("{scheme}://shared-{}.{domain}", made_connection.label);
    Ok(made(&signed_in, "The link is made", &printer, url, None, has_password))
}

async fn hash(state: &SiteState, password: String) -> Result<PasswordHash, PageFailure> {
    let _turn = state.attempts.hashing_turn().await?;
    let password = Secret::new(password);
    tokio::task::spawn_blocking(move || PasswordHash::create(&password))
        .await
        .map_err(|_| PageFailure::Internal("hashing a password broke off"))?
        .map_err(|refused| PageFailure::BadRequest(refused.to_string()))
}

fn made(
    signed_in: &SignedIn,
    title: &'static str,
    printer: &store::OwnPrinter,
    url: String,
    short_url: Option<String>,
    has_password: bool,
) -> Response {
    let layout = Layout::of(&signed_in.browser);
    let page = MadePage {
        layout: layout.clone(),
        title,
        printer: printer.summary.name.clone(),
        qr: Qr::of(&url),
        url,
        short_url,
        has_password,
    };
    AppPage::new(&layout, page).into_response()
}

async fn note(state: &SiteState, signed_in: &SignedIn, kind: AuditKind, printer: &store::OwnPrinter) {
    let (id, address) = (&printer.summary.id, signed_in.browser.address());
    crate::audit::note(state, signed_in.account(), kind, Some(id), &printer.summary.name, address).await;
}
