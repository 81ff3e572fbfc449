//! Visitors who ask for much and read nothing: they must cost themselves only.

use std::time::Duration;

use anyhow::{Context, Result};

use super::first_byte::one_by_one;
use super::memory::mebibytes;
use super::{Pace, Sample, bounded};
use crate::figures::Figure;
use crate::http1::Connection;
use crate::nginx::HUGE_FILE;
use crate::process::resident_bytes;
use crate::statistics::percentile;
use crate::target::Target;

const N_DOWNLOADS: usize = 50;

/// Buffers on the way are full well before this: loopback moves gigabytes a second.
const TIME_TO_FILL: Duration = Duration::from_secs(2);

pub(super) async fn run(target: &Target, _: Pace) -> Result<Vec<Sample>> {
    if target.service_processes.is_empty() {
        return Ok(Vec::new());
    }
    let alone = bounded("requests one by one", one_by_one(target)).await?;
    let before = resident_bytes(&target.service_processes)?;

    let mut stalled = Vec::with_capacity(N_DOWNLOADS);
    let request = target.files.request_head("GET", HUGE_FILE.0, "");
    for _ in 0..N_DOWNLOADS {
        let mut connection = Connection::open(&target.files).await?;
        connection.send(&request).await?;
        bounded("the head of a download", connection.read_head()).await?;
        stalled.push(connection);
    }
    tokio::time::sleep(TIME_TO_FILL).await;
    let beside = bounded("requests beside stalled downloads", one_by_one(target)).await?;
    let after = resident_bytes(&target.service_processes)?;
    drop(stalled);

    let ratio = |percent| Some(percentile(&beside, percent)? / percentile(&alone, percent)?);
    Ok(vec![
        (Figure::StalledGrowth, mebibytes(after.saturating_sub(before))),
        (Figure::StalledSlowdown, ratio(50.0).context("no request was made")?),
        (Figure::StalledSlowdownSlow, ratio(99.0).context("no request was made")?),
    ])
}
