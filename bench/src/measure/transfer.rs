//! Large bodies, one after the other: what a byte costs.

use anyhow::{Result, ensure};

use super::{Meter, Pace, Sample, bounded};
use crate::figures::Figure;
use crate::http1::Connection;
use crate::nginx::{HUGE_FILE, LARGE_FILE};
use crate::origin::UPLOAD_PATH;
use crate::target::{Endpoint, Target};

/// What the uploading side hands to the kernel at once.
const PIECE_SIZE: usize = 256 * 1024;

/// Bytes in the megabyte of the results.
const MEGABYTE: f64 = 1e6;

pub(super) async fn download(target: &Target, pace: Pace) -> Result<Vec<Sample>> {
    let mut connection = Connection::open(&target.files).await?;
    let request = target.files.request_head("GET", LARGE_FILE.0, "");
    bounded("a download", get(&mut connection, &request, LARGE_FILE.1)).await?;

    let meter = Meter::start(target)?;
    let mut n_bytes = 0;
    while meter.wall_seconds() < pace.window.as_secs_f64() {
        bounded("a download", get(&mut connection, &request, LARGE_FILE.1)).await?;
        n_bytes += LARGE_FILE.1;
    }
    samples(&meter, n_bytes, Figure::DownloadPerSecond, Figure::DownloadPerCpuSecond)
}

pub(super) async fn upload(target: &Target, pace: Pace) -> Result<Vec<Sample>> {
    let mut connection = Connection::open(&target.live).await?;
    bounded("an upload", put(&mut connection, &target.live, LARGE_FILE.1)).await?;

    let meter = Meter::start(target)?;
    let mut n_bytes = 0;
    while meter.wall_seconds() < pace.window.as_secs_f64() {
        bounded("an upload", put(&mut connection, &target.live, LARGE_FILE.1)).await?;
        n_bytes += LARGE_FILE.1;
    }
    samples(&meter, n_bytes, Figure::UploadPerSecond, Figure::UploadPerCpuSecond)
}

/// One gibibyte down, then one up.
pub(super) async fn gibibyte_each_way(target: &Target) -> Result<()> {
    let request = target.files.request_head("GET", HUGE_FILE.0, "");
    bounded("a download", get(&mut Connection::open(&target.files).await?, &request, HUGE_FILE.1)).await?;
    bounded("an upload", put(&mut Connection::open(&target.live).await?, &target.live, HUGE_FILE.1)).await
}

fn samples(meter: &Meter<'_>, n_bytes: u64, per_second: Figure, per_cpu_second: Figure) -> Result<Vec<Sample>> {
    let cpu_seconds = meter.cpu_seconds()?;
    let megabytes = n_bytes as f64 / MEGABYTE;
    let mut samples = vec![(per_second, megabytes / meter.wall_seconds())];
    samples.extend(cpu_seconds.map(|used| (per_cpu_second, megabytes / used)));
    Ok(samples)
}

async fn get(connection: &mut Connection, request: &[u8], expected: u64) -> Result<()> {
    connection.send(request).await?;
    let length = connection.read_head().await?;
    ensure!(length == expected, "a body of {length} bytes");
    connection.read_body(length).await
}

async fn put(connection: &mut Connection, endpoint: &Endpoint, size: u64) -> Result<()> {
    let piece = [0x47_u8; PIECE_SIZE];
    connection.send(&endpoint.request_head("PUT", UPLOAD_PATH, &format!("Content-Length: {size}\r\n"))).await?;
    for _ in 0..size / PIECE_SIZE as u64 {
        connection.send(&piece).await?;
    }
    let length = connection.read_head().await?;
    connection.read_body(length).await
}
