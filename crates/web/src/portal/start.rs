//! The way to the question: who is it, which printer, may they, and then the question itself.

use askama::Template;
use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use store::{OwnPrinter, Role};

use super::app::{App, PortalFailure};
use super::logo::Logos;
use super::request::PortalRequest;
use crate::browser::Browser;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::state::SiteState;

/// What `appId` and the others lead to, for somebody who is not signed in.
#[derive(Template)]
#[template(path = "portal/welcome.html")]
struct Welcome {
    layout: Layout,
    app: String,
    back: String,
    cancel: String,
}

/// There is no printer yet, or not the one that the app named.
#[derive(Template)]
#[template(path = "portal/no_printer.html")]
struct NoPrinter {
    layout: Layout,
    app: String,
    /// Whether the app named one.
    is_named: bool,
    back: String,
    others: Vec<Choice>,
    cancel: String,
}

/// There are several.
#[derive(Template)]
#[template(path = "portal/choose.html")]
struct Choose {
    layout: Layout,
    app: String,
    printers: Vec<Choice>,
    cancel: String,
}

struct Choice {
    name: String,
    path: String,
}

/// The owner's plan includes no apps.
#[derive(Template)]
#[template(path = "portal/no_plan.html")]
struct NoPlan {
    layout: Layout,
    app: String,
    plan: String,
    cancel: String,
}

/// The question.
#[derive(Template)]
#[template(path = "portal/consent.html")]
struct Consent {
    layout: Layout,
    app: App,
    logo: Option<String>,
    printer: String,
    receiver: String,
    request: PortalRequest,
    /// The name of an OctoPrint key that the app wants and the printer can have.
    key_name: Option<String>,
    problem: Option<&'static str>,
}

pub(super) async fn page(
    State(state): State<SiteState>,
    Extension(logos): Extension<Logos>,
    RawQuery(query): RawQuery,
    browser: Browser,
    layout: Layout,
) -> Result<Response, PortalFailure> {
    let request = PortalRequest::read(query.as_deref().unwrap_or_default());
    let app = App::of(&state, &request, &layout).await?;
    let cancel = app.without_success("cancelled").to_string();
    let Some(session) = browser.session() else {
        let page = Welcome { layout: layout.clone(), app: app.name, back: request.path(), cancel };
        return Ok(AppPage::new(&layout, page).into_response());
    };
    let mut printers = state.store.printers_of(&session.account.id).await?;
    // Access is the owner's to give.
    printers.retain(|printer| printer.role == Role::Owner);
    let is_named = !request.printer_id.is_empty();
    let named = printers.iter().find(|printer| printer.summary.id.as_str() == request.printer_id);
    let printer = match (named, printers.as_slice()) {
        (Some(printer), _) => printer,
        (None, [only]) if !is_named => only,
        (None, [_, _, ..]) if !is_named => {
            let printers = choices(&printers, &request);
            let page = Choose { layout: layout.clone(), app: app.name, printers, cancel };
            return Ok(AppPage::new(&layout, page).into_response());
        }
        (None, _) => {
            let (others, back) = (choices(&printers, &request), request.path());
            let page = NoPrinter { layout: layout.clone(), app: app.name, is_named, back, others, cancel };
            return Ok(AppPage::new(&layout, page).into_response());
        }
    };
    if !session.account.plan.supporter {
        let cancel = app.without_success("not_supporter").to_string();
        let plan = session.account.plan.name.clone();
        let page = NoPlan { layout: layout.clone(), app: app.name, plan, cancel };
        return Ok(AppPage::new(&layout, page).into_response());
    }
    Ok(consent(&state, &logos, &layout, app, printer, request, None))
}

/// Asks, or asks again.
pub(super) fn consent(
    state: &SiteState,
    logos: &Logos,
    layout: &Layout,
    app: App,
    printer: &OwnPrinter,
    request: PortalRequest,
    problem: Option<&'static str>,
) -> Response {
    let form_target = app.form_target();
    let template = Consent {
        layout: layout.clone(),
        logo: logos.path(&request.logo_url, &state.outbound),
        printer: printer.summary.name.clone(),
        receiver: app.receiver(),
        key_name: key_name(&request, printer).map(str::to_owned),
        request: request.with_printer(&printer.summary.id),
        app,
        problem,
    };
    let page = AppPage::new(layout, template);
    match form_target {
        Some(target) => page.with_form_target(target).into_response(),
        None => page.into_response(),
    }
}

/// The name of the key that the app wants, if the printer's software has such keys.
pub(super) fn key_name<'a>(request: &'a PortalRequest, printer: &OwnPrinter) -> Option<&'a str> {
    let is_octoprint = printer.summary.seen.software.eq_ignore_ascii_case("octoprint");
    request.octoprint_key_name().filter(|_| is_octoprint)
}

fn choices(printers: &[OwnPrinter], request: &PortalRequest) -> Vec<Choice> {
    let choice = |printer: &OwnPrinter| Choice {
        name: printer.summary.name.clone(),
        path: request.with_printer(&printer.summary.id).path(),
    };
    printers.iter().map(choice).collect()
}
