//! Logs and metrics.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use http::header;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// From a tenth of a millisecond, which a request on one machine takes, to the time limits of slow printers.
const SECONDS_BUCKETS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 25.0];
/// The database library repeats what the store says itself about changes of the layout.
const DEFAULT_FILTER: &str = "info,sea_orm_migration=warn";
/// The exporter condenses what it has collected this often.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Writes logs to standard error: `SPOOLWAY_LOG` chooses what (`info`, `relay=debug`), `SPOOLWAY_LOG_FORMAT=json` how.
pub(crate) fn start_logging() {
    let filter = EnvFilter::try_from_env("SPOOLWAY_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if std::env::var("SPOOLWAY_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
}

/// Collects metrics and serves them at `/metrics` on `address`. Returns where that is.
pub(crate) async fn serve_metrics(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?
        .install_recorder()?;
    relay::metrics::describe();
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on `{address}` for metrics"))?;
    let address = listener.local_addr()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            interval.tick().await;
            upkeep.run_upkeep();
        }
    });
    let render = move || {
        let text = handle.render();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text) }
    };
    tokio::spawn(async move {
        #[expect(clippy::disallowed_methods, reason = "only the operator's own collector connects here")]
        if let Err(error) = axum::serve(listener, Router::new().route("/metrics", get(render))).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    Ok(address)
}
