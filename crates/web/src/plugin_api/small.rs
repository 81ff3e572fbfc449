//! The plugin's small questions: which servers there are, whether crashes are to be told, what time it is.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Extension;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use relay::budgets::Origin;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Desk;
use super::answer::{Refusal, address_of, respond, success};
use crate::text::iso;

/// The longest has a name, a number and a few tags.
const MAX_JSON: usize = 8 * 1024;
/// The label of the host that plugins dial unless they are told otherwise. With a second server they would leave it,
/// for a name below a domain that is written into them.
const ONLY_SERVER: &str = "starport-v1";
/// No connection is slower than the best one by so many milliseconds, so nobody ever changes over.
const THRESHOLD_MILLISECONDS: u32 = 100_000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Servers {
    servers: [&'static str; 1],
    this_server: &'static str,
    auto_lowest_latency_threshold_rtt_ms: u32,
    enable_plugin_auto_lowest_latency: bool,
}

/// `GET /api/plugin/ping`.
pub(super) async fn ping() -> Response {
    success(&Servers {
        servers: [ONLY_SERVER],
        this_server: ONLY_SERVER,
        auto_lowest_latency_threshold_rtt_ms: THRESHOLD_MILLISECONDS,
        enable_plugin_auto_lowest_latency: false,
    })
}

/// `GET /api/nginx-direct/ping/`: only how long it takes counts.
pub(super) async fn direct_ping() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], "pong").into_response()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Measurement {
    #[serde(rename = "Name")]
    _name: String,
}

/// `POST /api/stats/v2/telemetryaccumulator`: taken, and kept nowhere. Whether plugins measure the service's latency is
/// nothing that a service of one's own has to know of its owners.
pub(super) async fn telemetry(Extension(desk): Extension<Arc<Desk>>, request: Request) -> Response {
    let outcome = async {
        spend(&desk, &request)?;
        read_json::<Measurement>(request).await.map(|_| json!({}))
    };
    respond(outcome.await)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CrashReports {
    enabled: bool,
    tracing_sample_rate: f32,
    profiling_sample_rate: f32,
    error_sample_rate: f32,
}

/// `POST /api/plugin/sentryconfig`: crashes are nobody's business but the owner's.
pub(super) async fn crash_reports() -> Response {
    success(&CrashReports {
        enabled: false,
        tracing_sample_rate: 0.0,
        profiling_sample_rate: 0.0,
        error_sample_rate: 0.0,
    })
}

/// `POST /api/plugin/checkin`, from a page of the printer's own. It is told nothing, since anybody's page may ask.
pub(super) async fn check_in(Extension(desk): Extension<Arc<Desk>>, request: Request) -> Response {
    let outcome = spend(&desk, &request).map(|()| json!({}));
    open_to_every_page(respond(outcome))
}

/// What the page's browser asks first.
pub(super) async fn check_in_preflight() -> Response {
    let mut response = open_to_every_page(StatusCode::NO_CONTENT.into_response());
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

fn open_to_every_page(mut response: Response) -> Response {
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// `GET /api/util/date`: what `date -s` takes, on small boards' `busybox` too. In UTC, like their clocks.
pub(super) async fn date() -> Response {
    let now = iso(SystemTime::now());
    let text = now.trim_end_matches('Z').replace('T', " ");
    ([(header::CACHE_CONTROL, "no-store")], text).into_response()
}

fn spend(desk: &Desk, request: &Request) -> Result<(), Refusal> {
    let origin = Origin::of(address_of(request));
    desk.calls_of_address.spend(origin, Instant::now()).map_err(Refusal::Later)
}

/// A call's JSON. Plugins differ in whether they say that it is.
pub(super) async fn read_json<T: for<'de> Deserialize<'de>>(request: Request) -> Result<T, Refusal> {
    let body = axum::body::to_bytes(request.into_body(), MAX_JSON).await.map_err(|_| Refusal::TooLarge)?;
    let value: Value = serde_json::from_slice(&body).map_err(|_| Refusal::Malformed("The call is no JSON."))?;
    serde_json::from_value(value).map_err(|_| Refusal::Malformed("Something is missing in the call."))
}
