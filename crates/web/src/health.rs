//! Probes for supervisors and load balancers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Serialize;

use crate::state::SiteState;

/// Finds out whether the service can do its work at this moment.
pub type ReadyCheck = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Readiness> + Send>> + Send + Sync>;

/// Whether the service can do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, and should get no new visitors.
    NotReady {
        /// Why, in words that a stranger may read: the probe asks for no credentials.
        reason: &'static str,
    },
}

/// Kubernetes gives a probe one second unless told otherwise. Within it, the reason arrives instead of a timeout.
const CHECK_TIMEOUT: Duration = Duration::from_millis(900);

/// The process runs and answers. Says nothing about anything that it depends on, so that nobody restarts it because
/// its database is away.
pub(crate) async fn alive() -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], "ok")
}

pub(crate) async fn ready(State(state): State<SiteState>) -> Response {
    let readiness = tokio::time::timeout(CHECK_TIMEOUT, (state.ready)()).await;
    let (status, reason) = match readiness {
        Ok(Readiness::Ready) => (StatusCode::OK, None),
        Ok(Readiness::NotReady { reason }) => (StatusCode::SERVICE_UNAVAILABLE, Some(reason)),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Some("the check took too long")),
    };
    let report = Report { ready: reason.is_none(), reason };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

#[derive(Serialize)]
struct Report {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}
