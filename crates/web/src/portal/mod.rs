//! The App Connection Portal: an app sends its person here, and they come back with everything the app needs to reach
//! one printer.

mod app;
mod decide;
mod ending;
mod logo;
mod request;
mod return_url;
mod start;

use axum::routing::{get, post};
use axum::{Extension, Router};

use crate::state::SiteState;
pub use return_url::{Pattern as ReturnPattern, PatternError as ReturnPatternError};

/// The portal. Paths are in lower case, see [`crate::api::ignoring_case`].
pub(crate) fn routes() -> Router<SiteState> {
    Router::new()
        .route("/appportal/v1", get(start::page))
        .route("/appportal/v1/", get(start::page))
        .route("/appportal/v1/decision", post(decide::decide))
        .route("/appportal/v1/complete", get(ending::complete))
        .route("/appportal/v1/nosupporterperks", get(ending::no_supporter))
        .route(&ending::CLEAR_QUERY.path, get(|| async { ending::CLEAR_QUERY.response() }))
        .route("/appportal/logo/{id}", get(ending::logo))
        .layer(Extension(logo::Logos::default()))
}
