//! What large bodies do to the service's memory: nothing, if it streams.

use std::time::Duration;

use anyhow::Result;

use super::{Sample, transfer};
use crate::figures::Figure;
use crate::process::resident_bytes;
use crate::target::Target;

/// Often enough that no body of a gibibyte could come and go unseen.
const SAMPLE_EVERY: Duration = Duration::from_millis(10);

pub(super) async fn run(target: &Target) -> Result<Vec<Sample>> {
    if target.service_processes.is_empty() {
        return Ok(Vec::new());
    }
    let before = resident_bytes(&target.service_processes)?;
    let mut highest = before;
    let transfers = transfer::gibibyte_each_way(target);
    tokio::pin!(transfers);
    loop {
        tokio::select! {
            outcome = &mut transfers => {
                outcome?;
                break;
            }
            () = tokio::time::sleep(SAMPLE_EVERY) => highest = highest.max(resident_bytes(&target.service_processes)?),
        }
    }
    Ok(vec![(Figure::GibibyteGrowth, mebibytes(highest - before))])
}

pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
