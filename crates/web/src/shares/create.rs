//! Making a Live Link, a Shared Connection, or an App Connection by hand.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::Secret;
use serde::Deserialize;
use store::{AppIdentity, AuditKind, LiveEnd, Name, PasswordHash, Role, TextError};

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
    link: Made,
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
    let title = "The Live Link is made";
    let printer = printer.summary.name;
    Ok(made(&signed_in, Made { title, printer, url, short_url: Some(short), has_password: false }))
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
    let expires = expiry(&form.days, now)?;
    let password = if form.password.is_empty() { None } else { Some(hash(&state, form.password).await?) };
    let has_password = password.is_some();
    let id = &printer.summary.id;
    let made_connection =
        state.store.create_shared_connection_of(signed_in.account(), id, password.as_ref(), expires, now).await?;
    note(&state, &signed_in, AuditKind::ShareCreated, &printer).await;
    let (scheme, domain) = (&state.names.scheme, &state.names.printers_domain);
    let url = format!("{scheme}://shared-{}.{domain}", made_connection.label);
    let title = "The link is made";
    Ok(made(&signed_in, Made { title, printer: printer.summary.name, url, short_url: None, has_password }))
}

/// When something ends that lasts so many days; never if the field is empty.
fn expiry(days: &str, now: SystemTime) -> Result<Option<SystemTime>, PageFailure> {
    let days = match days.trim() {
        "" => return Ok(None),
        days => days.parse::<u32>().ok().filter(|days| (1..=MAX_SHARE_DAYS).contains(days)),
    };
    let days = days.ok_or_else(|| PageFailure::BadRequest("the link lasts 1 to 3,650 days".to_owned()))?;
    Ok(Some(now + Duration::from_secs(u64::from(days) * 86_400)))
}

#[derive(Deserialize)]
pub(crate) struct AppForm {
    printer: String,
    name: String,
    #[serde(default)]
    days: String,
}

#[derive(Template)]
#[template(path = "shares/app_made.html")]
struct AppMadePage {
    layout: Layout,
    app: String,
    printer: String,
    url: String,
    basic_user: String,
    basic_password: String,
    bearer: String,
    app_token: String,
}

/// What the portal does for an app that knows of it, for all others.
pub(crate) async fn app(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<AppForm>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &form.printer, Role::Owner).await?;
    if !signed_in.session.account.plan.supporter {
        return Err(PageFailure::Forbidden("Your plan does not include connections of apps."));
    }
    let now = SystemTime::now();
    let name: Name = form.name.parse().map_err(|error: TextError| PageFailure::BadRequest(error.to_string()))?;
    let expires = expiry(&form.days, now)?;
    let identity = AppIdentity { app_id: None, name };
    let (account, id) = (signed_in.account(), &printer.summary.id);
    let new = state.store.create_app_connection_of(account, id, &identity, expires, now).await?;
    let address = signed_in.browser.address();
    let name = identity.name.as_str();
    crate::audit::note(&state, account, AuditKind::AppConnected, Some(id), name, address).await;
    let layout = Layout::of(&signed_in.browser);
    let (scheme, domain) = (&state.names.scheme, &state.names.printers_domain);
    let page = AppMadePage {
        layout: layout.clone(),
        app: name.to_owned(),
        printer: printer.summary.name,
        url: format!("{scheme}://app-{}.{domain}", new.label),
        basic_user: new.basic_user.clone(),
        basic_password: new.basic_password.expose().to_owned(),
        bearer: new.bearer.expose().to_owned(),
        app_token: new.app_token.expose().to_owned(),
    };
    Ok(AppPage::new(&layout, page).into_response())
}

async fn hash(state: &SiteState, password: String) -> Result<PasswordHash, PageFailure> {
    let _turn = state.attempts.hashing_turn().await?;
    let password = Secret::new(password);
    tokio::task::spawn_blocking(move || PasswordHash::create(&password))
        .await
        .map_err(|_| PageFailure::Internal("hashing a password broke off"))?
        .map_err(|refused| PageFailure::BadRequest(refused.to_string()))
}

/// A link, to be shown.
pub(crate) struct Made {
    pub(crate) title: &'static str,
    pub(crate) printer: String,
    pub(crate) url: String,
    pub(crate) short_url: Option<String>,
    pub(crate) has_password: bool,
}

pub(crate) fn made(signed_in: &SignedIn, link: Made) -> Response {
    let layout = Layout::of(&signed_in.browser);
    let qr = Qr::of(&link.url);
    let page = MadePage { layout: layout.clone(), link, qr };
    AppPage::new(&layout, page).into_response()
}

async fn note(state: &SiteState, signed_in: &SignedIn, kind: AuditKind, printer: &store::OwnPrinter) {
    let (id, address) = (&printer.summary.id, signed_in.browser.address());
    crate::audit::note(state, signed_in.account(), kind, Some(id), &printer.summary.name, address).await;
}
