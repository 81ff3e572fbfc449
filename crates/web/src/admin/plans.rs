//! Plans and their limits.

use std::time::{Duration, SystemTime};

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use model::WebcamWindow;
use serde::Deserialize;

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::signed_in::Administrator;
use crate::state::SiteState;

#[derive(Template)]
#[template(path = "admin/plans.html")]
struct PlansPage {
    layout: Layout,
    plans: Vec<Row>,
}

struct Row {
    name: String,
    supporter: bool,
    upload: String,
    download: String,
    stream: String,
    window: String,
    total: String,
    n_accounts: u64,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    Administrator(signed_in): Administrator,
) -> Result<Response, PageFailure> {
    let plans = state.store.plans().await?;
    let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let layout = Layout::of(&signed_in.browser);
    let rows = plans
        .rows
        .into_iter()
        .map(|summary| {
            let limits = summary.plan.limits;
            Row {
                name: summary.plan.name,
                supporter: summary.plan.supporter,
                upload: number(limits.max_upload_bytes),
                download: number(limits.max_download_bytes),
                stream: number(limits.webcam_stream.map(|time| time.as_secs())),
                window: number(limits.webcam_window.map(|window| window.window.as_secs())),
                total: number(limits.webcam_window.map(|window| window.total.as_secs())),
                n_accounts: summary.n_accounts,
            }
        })
        .collect();
    Ok(AppPage::new(&layout.clone(), PlansPage { layout, plans: rows }).into_response())
}

/// Empty fields are no limit.
#[derive(Deserialize)]
pub(crate) struct Set {
    name: String,
    #[serde(default)]
    supporter: Option<String>,
    #[serde(default)]
    upload: String,
    #[serde(default)]
    download: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    window: String,
    #[serde(default)]
    total: String,
}

pub(crate) async fn set(
    State(state): State<SiteState>,
    Administrator(_): Administrator,
    OwnForm(form): OwnForm<Set>,
) -> Result<Response, PageFailure> {
    let (upload, download) = (number("upload", &form.upload)?, number("download", &form.download)?);
    let stream = number("stream", &form.stream)?.map(Duration::from_secs);
    let window = match (number("window", &form.window)?, number("total", &form.total)?) {
        (None, None) => None,
        (Some(window), Some(total)) => {
            Some(WebcamWindow { window: Duration::from_secs(window), total: Duration::from_secs(total) })
        }
        _ => {
            let text = "the camera's window and its total belong together: give both, or neither";
            return Err(PageFailure::BadRequest(text.to_owned()));
        }
    };
    let supporter = form.supporter.is_some();
    state
        .store
        .set_plan(form.name.trim(), SystemTime::now(), move |plan| {
            plan.supporter = supporter;
            plan.limits.max_upload_bytes = upload;
            plan.limits.max_download_bytes = download;
            plan.limits.webcam_stream = stream;
            plan.limits.webcam_window = window;
        })
        .await?;
    Ok(Redirect::to("/admin/plans").into_response())
}

fn number(name: &str, text: &str) -> Result<Option<u64>, PageFailure> {
    match text.trim() {
        "" => Ok(None),
        text => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(PageFailure::BadRequest(format!("`{name}` is a whole number, or empty for no limit"))),
        },
    }
}
