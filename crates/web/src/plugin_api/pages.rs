//! The addresses that the plugin prints, shows and links to.

use std::time::SystemTime;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use model::PrinterId;
use relay::PluginPresence;
use serde::Deserialize;

use crate::assets::{ICON, STYLESHEET};
use crate::browser::Browser;
use crate::page::Page;
use crate::state::SiteState;

/// Where a code is typed.
const LINK: &str = "/link";

/// `/code`: the page that takes the code. Absolute, because the plugin may know the service by another name.
pub(super) async fn code(State(state): State<SiteState>) -> Response {
    Redirect::to(&state.url(LINK)).into_response()
}

#[derive(Deserialize)]
pub(super) struct GetStarted {
    printerid: Option<String>,
}

/// `/getstarted?printerid=`: the code need not be typed by somebody at the printer's own address. For everybody else the
/// id, which is no secret, opens nothing.
pub(super) async fn get_started(
    State(state): State<SiteState>,
    browser: Browser,
    Query(query): Query<GetStarted>,
) -> Response {
    let printer = query.printerid.and_then(|id| id.parse::<PrinterId>().ok());
    let presence = printer.and_then(|id| state.plugins.presence(&id, browser.address(), SystemTime::now()));
    let path = match presence {
        Some(PluginPresence::Waiting(code)) => format!("{LINK}?code={}", code.code.expose()),
        _ => LINK.to_owned(),
    };
    Redirect::to(&state.url(&path)).into_response()
}

#[derive(Template)]
#[template(path = "plugin/update.html")]
struct Update;

#[derive(Template)]
#[template(path = "plugin/support.html")]
struct Support;

#[derive(Template)]
#[template(path = "plugin/connection_check.html")]
struct ConnectionCheck;

/// `/pluginupdate`.
pub(super) async fn update() -> impl IntoResponse {
    Page(Update)
}

/// `/support`.
pub(super) async fn support() -> impl IntoResponse {
    Page(Support)
}

/// `/s/<topic>`: the plugin knows many topics, and this service one page.
pub(super) async fn topic(State(state): State<SiteState>) -> Response {
    Redirect::to(&state.url("/support")).into_response()
}

/// `/plugin/connectioncheck`: loaded unseen, to find out whether the service is reached.
pub(super) async fn connection_check() -> impl IntoResponse {
    Page(ConnectionCheck)
}
