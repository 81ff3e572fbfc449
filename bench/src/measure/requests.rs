//! Many small requests: what a request costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::{Meter, Pace, Sample, keep_busy};
use crate::figures::Figure;
use crate::http1::Connection;
use crate::nginx::SMALL_FILE;
use crate::target::Target;

const N_CONNECTIONS: usize = 32;

pub(super) async fn run(target: &Target, pace: Pace) -> Result<Vec<Sample>> {
    let n_done = Arc::new(AtomicU64::new(0));
    let request: Arc<[u8]> = target.files.request_head("GET", SMALL_FILE.0, "").into();
    let mut tasks = JoinSet::new();
    for _ in 0..N_CONNECTIONS {
        let connection = Connection::open(&target.files).await?;
        tasks.spawn(ask_again(connection, Arc::clone(&request), Arc::clone(&n_done)));
    }

    keep_busy(&mut tasks, pace.warm_up).await?;
    let n_before = n_done.load(Ordering::Relaxed);
    let meter = Meter::start(target)?;
    keep_busy(&mut tasks, pace.window).await?;
    let cpu_seconds = meter.cpu_seconds()?;
    let wall_seconds = meter.wall_seconds();
    let n_requests = (n_done.load(Ordering::Relaxed) - n_before) as f64;
    tasks.shutdown().await;

    let mut samples = vec![(Figure::RequestsPerSecond, n_requests / wall_seconds)];
    samples.extend(cpu_seconds.map(|used| (Figure::RequestsPerCpuSecond, n_requests / used)));
    Ok(samples)
}

async fn ask_again(mut connection: Connection, request: Arc<[u8]>, n_done: Arc<AtomicU64>) -> Result<()> {
    loop {
        connection.send(&request).await?;
        let length = connection.read_head().await?;
        ensure!(length == SMALL_FILE.1, "a body of {length} bytes");
        connection.read_body(length).await?;
        n_done.fetch_add(1, Ordering::Relaxed);
    }
}
