//! One printer: its camera, its print, its temperatures, its buttons.

use std::time::{SystemTime, UNIX_EPOCH};

use askama::Template;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;
use store::Role;

use crate::assets::{UPLOT, UPLOT_STYLESHEET, VIEW_SCRIPT};
use crate::failure::PageFailure;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::printers::card::Card;
use crate::printers::log::LogRows;
use crate::printers::printer_of;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

#[derive(Template)]
#[template(path = "printers/view.html")]
struct View {
    layout: Layout,
    /// As of [`LivePartial`], which this page includes.
    form_token: String,
    card: Card,
    owner_label: String,
    log: LogRows,
    lan_ip: String,
    agent_version: String,
    uplot: &'static str,
    uplot_stylesheet: &'static str,
    view_script: &'static str,
}

/// The cameras of a view, for when they come or go.
#[derive(Template)]
#[template(path = "printers/cameras_partial.html")]
pub(crate) struct CamerasPartial {
    pub(crate) card: Card,
}

/// The part of the view that changes by itself.
#[derive(Template)]
#[template(path = "printers/live_partial.html")]
pub(crate) struct LivePartial {
    pub(crate) form_token: String,
    pub(crate) card: Card,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(name): Path<String>,
) -> Result<Response, PageFailure> {
    let printer = match printer_of(&state, &signed_in, &name, Role::Viewer).await {
        Err(PageFailure::NotFound) => {
            // Apps and mails link to a printer by its name, too.
            let printers = state.store.printers_of(signed_in.account()).await?;
            let named = printers.into_iter().find(|printer| printer.summary.name.eq_ignore_ascii_case(name.trim()));
            let Some(named) = named else { return Err(PageFailure::NotFound) };
            return Ok(Redirect::to(&format!("/view/{}", named.summary.id)).into_response());
        }
        other => other?,
    };
    let id = &printer.summary.id;
    let live = state.live.status(id).await;
    let layout = Layout::of(&signed_in.browser);
    let seen = &printer.summary.seen;
    let page = View {
        form_token: layout.form_token.clone(),
        card: Card::new(&printer, live.as_ref(), SystemTime::now()),
        owner_label: printer.owner_label.to_string(),
        log: LogRows::of(&state, &printer),
        lan_ip: seen.lan_ip.clone(),
        agent_version: seen.agent_version.clone(),
        uplot: &UPLOT.path,
        uplot_stylesheet: &UPLOT_STYLESHEET.path,
        view_script: &VIEW_SCRIPT.path,
        layout: layout.clone(),
    };
    Ok(AppPage::new(&layout, page).into_response())
}

/// The chart's data: one row of times, and one for each heater.
#[derive(Serialize)]
pub(crate) struct Chart {
    /// Seconds since 1970.
    times: Vec<u64>,
    series: Vec<Series>,
}

#[derive(Serialize)]
struct Series {
    name: String,
    /// °C; none where the heater was not reported.
    actual: Vec<Option<f32>>,
}

pub(crate) async fn temperatures(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<Json<Chart>, PageFailure> {
    let printer = printer_of(&state, &signed_in, &id, Role::Viewer).await?;
    let samples = state.live.temperatures(&printer.summary.id);
    let mut names: Vec<String> = Vec::new();
    for sample in &samples {
        for temperature in &sample.temperatures {
            if !names.contains(&temperature.name) {
                names.push(temperature.name.clone());
            }
        }
    }
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let series = names
        .into_iter()
        .map(|name| Series {
            actual: samples
                .iter()
                .map(|sample| {
                    sample.temperatures.iter().find(|temperature| temperature.name == name).map(|found| found.actual)
                })
                .collect(),
            name,
        })
        .collect();
    Ok(Json(Chart { times: samples.iter().map(|sample| seconds(sample.at)).collect(), series }))
}
