//! The start page.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};

use crate::browser::Browser;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::state::{SignUp, SiteState};

#[derive(Template)]
#[template(path = "start.html")]
struct Start {
    layout: Layout,
    is_open: bool,
    pairing: bool,
    site: String,
}

pub(crate) async fn page(State(state): State<SiteState>, browser: Browser) -> Response {
    if browser.session().is_some() {
        return Redirect::to("/printers").into_response();
    }
    let layout = Layout::of(&browser);
    let page = Start {
        layout: layout.clone(),
        is_open: state.settings.sign_up == SignUp::Open,
        pairing: state.settings.pairing,
        site: state.origin(),
    };
    AppPage::new(&layout, page).into_response()
}
