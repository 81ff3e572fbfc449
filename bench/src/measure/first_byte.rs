//! One request at a time on a quiet machine: how much later the answer begins.

use std::time::Instant;

use anyhow::{Context, Result};

use super::{Pace, Sample, bounded};
use crate::figures::{Figure, microseconds};
use crate::http1::Connection;
use crate::nginx::SMALL_FILE;
use crate::statistics::percentile;
use crate::target::Target;

/// Enough for a steady median, and quick.
const N_REQUESTS: usize = 500;

pub(super) async fn run(target: &Target, _: Pace) -> Result<Vec<Sample>> {
    let waits = bounded("requests one by one", one_by_one(target)).await?;
    Ok(vec![(Figure::FirstByteMedian, percentile(&waits, 50.0).context("no request was made")?)])
}

/// How long each response head took, in microseconds.
pub(super) async fn one_by_one(target: &Target) -> Result<Vec<f64>> {
    let mut connection = Connection::open(&target.files).await?;
    let request = target.files.request_head("GET", SMALL_FILE.0, "");
    let mut waits = Vec::with_capacity(N_REQUESTS);
    for index in 0..N_REQUESTS + N_REQUESTS / 5 {
        let sent = Instant::now();
        connection.send(&request).await?;
        let length = connection.read_head().await?;
        let wait = microseconds(sent.elapsed());
        connection.read_body(length).await?;
        if index >= N_REQUESTS / 5 {
            waits.push(wait);
        }
    }
    Ok(waits)
}
