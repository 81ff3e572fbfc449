//! Who may use what is being tried out.

use std::time::SystemTime;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::{EmailAddress, Feature, TextError};

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::signed_in::Administrator;
use crate::state::SiteState;
use crate::text::iso;

#[derive(Template)]
#[template(path = "admin/beta.html")]
struct BetaPage {
    layout: Layout,
    features: Vec<String>,
    grants: Vec<Row>,
}

struct Row {
    email: String,
    feature: String,
    granted: String,
}

pub(crate) async fn page(
    State(state): State<SiteState>,
    Administrator(signed_in): Administrator,
) -> Result<Response, PageFailure> {
    let grants = state.store.beta_grants().await?;
    let layout = Layout::of(&signed_in.browser);
    let page = BetaPage {
        layout: layout.clone(),
        features: state.settings.beta_features.clone(),
        grants: grants
            .rows
            .into_iter()
            .map(|grant| Row {
                email: grant.email.to_string(),
                feature: grant.feature.to_string(),
                granted: iso(grant.granted_at),
            })
            .collect(),
    };
    Ok(AppPage::new(&layout, page).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Change {
    email: String,
    feature: String,
    /// `grant` or `revoke`.
    action: String,
}

pub(crate) async fn change(
    State(state): State<SiteState>,
    Administrator(_): Administrator,
    OwnForm(form): OwnForm<Change>,
) -> Result<Response, PageFailure> {
    let wrong = |error: TextError| PageFailure::BadRequest(error.to_string());
    let email: EmailAddress = form.email.parse().map_err(wrong)?;
    let feature: Feature = form.feature.parse().map_err(wrong)?;
    let now = SystemTime::now();
    if form.action == "revoke" {
        state.store.revoke_beta(&email, &feature, now).await?;
    } else {
        state.store.grant_beta(&email, &feature, now).await?;
    }
    Ok(Redirect::to("/admin/beta").into_response())
}
