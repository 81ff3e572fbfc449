//! Signing other browsers out.

use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

#[derive(Deserialize)]
pub(crate) struct End {
    /// One session; all but this one if absent.
    session: Option<String>,
}

pub(crate) async fn end(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    OwnForm(form): OwnForm<End>,
) -> Result<Response, PageFailure> {
    let (account, now) = (signed_in.account(), SystemTime::now());
    match form.session {
        Some(id) => {
            let id = id.parse().map_err(|_| PageFailure::NotFound)?;
            state.store.end_session(account, &id, now).await?;
        }
        None => {
            state.store.end_sessions_but(account, Some(&signed_in.session.id), now).await?;
        }
    }
    Ok(Redirect::to("/settings?said=sessions").into_response())
}
