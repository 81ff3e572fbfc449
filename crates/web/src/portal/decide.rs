//! The owner's answer, and what the app is sent back with.

use std::time::{Duration, SystemTime};

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use model::{PrinterId, Secret};
use serde::Deserialize;
use store::{AppIdentity, AuditKind, ConnectionKind, Name, NewAppConnection, Role, SiteAddress};
use url::Url;

use super::app::{App, PortalFailure};
use super::logo::Logos;
use super::request::PortalRequest;
use super::start::{consent, key_name};
use crate::audit;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

/// The printer's software makes a key within a second or two; the person waits meanwhile.
const KEY_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
pub(super) struct Decision {
    #[serde(flatten)]
    request: PortalRequest,
    decision: String,
    /// Ticked by whoever knows the unregistered app.
    trust: Option<String>,
    /// Ticked unless the owner wants no key made.
    make_key: Option<String>,
    /// Ticked by an owner who lets the app send messages that nothing can check.
    full_control: Option<String>,
}

pub(super) async fn decide(
    State(state): State<SiteState>,
    Extension(logos): Extension<Logos>,
    layout: Layout,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<Decision>,
) -> Result<Response, PortalFailure> {
    let request = form.request;
    // Nothing of the form is taken on trust: the page that it came from may have been changed by its reader.
    let app = App::of(&state, &request, &layout).await?;
    if form.decision != "allow" {
        return Ok(leave(&app.without_success("cancelled")));
    }
    let account = &signed_in.session.account;
    let printer: PrinterId = request.printer_id.parse().map_err(|_| PageFailure::NotFound)?;
    let printer = state.store.printer_of(&account.id, &printer).await?;
    if printer.role != Role::Owner {
        return Err(PageFailure::Forbidden("Only the printer's owner can give an app access to it.").into());
    }
    if !account.plan.supporter {
        return Ok(leave(&app.without_success("not_supporter")));
    }
    if !app.is_registered && form.trust.is_none() {
        let problem = Some("Confirm that you know the app, or cancel.");
        return Ok(consent(&state, &logos, &layout, app, &printer, request, problem));
    }
    let name: Name = app.name.parse().map_err(|_| PageFailure::BadRequest("the app has no usable name".to_owned()))?;
    let identity = AppIdentity { app_id: Some(request.app_id.trim().to_owned()), name };
    let id = &printer.summary.id;
    let new = state.store.create_app_connection_of(&account.id, id, &identity, None, SystemTime::now()).await?;
    let address = signed_in.browser.address();
    audit::note(&state, &account.id, AuditKind::AppConnected, Some(id), &app.name, address).await;
    if form.full_control.is_some() {
        state.store.set_full_control_of(&account.id, &new.id, true, SystemTime::now()).await?;
        audit::note(&state, &account.id, AuditKind::FullControlGiven, Some(id), &app.name, address).await;
    }
    let wanted = key_name(&request, &printer).filter(|_| form.make_key.is_some());
    let key = match wanted {
        Some(name) => octoprint_key(&state, id, name).await,
        None => None,
    };
    Ok(leave(&with_success(&state, &app, &new, id, key.as_ref())))
}

/// Makes the key if it can be made; the connection works without it.
async fn octoprint_key(state: &SiteState, printer: &PrinterId, name: &str) -> Option<Secret> {
    match tokio::time::timeout(KEY_TIMEOUT, state.live.octoprint_key(printer, name)).await {
        Ok(Ok(key)) => Some(key),
        Ok(Err(error)) => {
            tracing::info!(%printer, %error, "no OctoPrint key was made for an app");
            None
        }
        Err(_) => {
            tracing::info!(%printer, "no OctoPrint key was made for an app in time");
            None
        }
    }
}

/// The way back with all that was made. Apps differ in which of the spellings they read, and some demand all.
fn with_success(
    state: &SiteState,
    app: &App,
    new: &NewAppConnection,
    printer: &PrinterId,
    octoprint_key: Option<&Secret>,
) -> Url {
    let names = &state.names;
    let site = SiteAddress {
        scheme: names.scheme.clone(),
        domain: names.domain.to_string(),
        printers_domain: names.printers_domain.to_string(),
    };
    let url = site.connection_url(ConnectionKind::App, &new.label);
    let user_url = state.url(&format!("/view/{printer}"));
    let password = new.basic_password.expose();
    let mut parameters = vec![
        ("success", "true"),
        ("id", new.id.as_str()),
        ("url", &url),
        ("appApiToken", new.app_token.expose()),
        ("printername", &new.printer_name),
        ("userPrinterAccessUrl", &user_url),
        ("authBasicHttpUser", &new.basic_user),
        ("authBasicHttpPassword", password),
        ("authbasichttpuser", &new.basic_user),
        ("authbasichttppassword", password),
        ("authBearerToken", new.bearer.expose()),
    ];
    if let Some(address) = &new.printer_lan_ip {
        parameters.push(("printerLastKnownLocalIp", address));
    }
    if let Some(key) = octoprint_key {
        parameters.push(("octoPrintApiKey", key.expose()));
    }
    app.return_url.with_parameters(&parameters)
}

/// Sends the browser on. The address holds secrets, so nothing on the way may keep it or pass it on.
fn leave(to: &Url) -> Response {
    let Ok(location) = HeaderValue::from_str(to.as_str()) else {
        return PageFailure::Internal("a return URL fits no header").into_response();
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}
