//! Viewers of a camera: how old a picture is when it has arrived.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Pace, Sample, bounded};
use crate::figures::Figure;
use crate::http1::connect;
use crate::origin::{CAMERA_PATH, FRAMES_PER_SECOND, camera_part, camera_stamp, clock};
use crate::statistics::percentile;
use crate::target::{Endpoint, Target};

const N_VIEWERS: u32 = 20;

pub(super) async fn run(target: &Target, pace: Pace) -> Result<Vec<Sample>> {
    let start = Instant::now();
    let count_from = start + pace.warm_up;
    let end = count_from + pace.window;
    let mut tasks = JoinSet::new();
    for index in 0..N_VIEWERS {
        // Each viewer's pictures begin with its request, so this spreads them over the time between two pictures.
        let begin = start + Duration::from_secs(1) / FRAMES_PER_SECOND * index / N_VIEWERS;
        let endpoint = target.live.clone();
        tasks.spawn(async move {
            tokio::time::sleep_until(begin).await;
            watch(open(&endpoint).await?, count_from, end).await
        });
    }
    let mut ages = Vec::new();
    while let Some(outcome) = bounded("the camera", async { Ok(tasks.join_next().await) }).await? {
        ages.extend(outcome.context("watch the camera")??);
    }
    let expected = f64::from(N_VIEWERS * FRAMES_PER_SECOND) * pace.window.as_secs_f64();
    ensure!(ages.len() as f64 > expected * 0.9, "only {} of {expected} pictures arrived", ages.len());
    let middle = percentile(&ages, 50.0).context("no picture arrived")?;
    let slow = percentile(&ages, 99.0).context("no picture arrived")?;
    Ok(vec![(Figure::CameraMedian, middle), (Figure::CameraSlow, slow)])
}

async fn open(endpoint: &Endpoint) -> Result<Incoming> {
    let stream = TokioIo::new(connect(endpoint).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.context("reach the camera")?;
    // Ends with the body, or when the viewer leaves.
    tokio::spawn(connection);
    let mut request = Request::get(CAMERA_PATH).header(http::header::HOST, &endpoint.host);
    if let Some(authorization) = &endpoint.authorization {
        request = request.header(http::header::AUTHORIZATION, authorization);
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await.context("ask for the camera")?;
    ensure!(response.status().is_success(), "the camera answered {}", response.status());
    Ok(response.into_body())
}

/// How old each picture was at its last byte, in milliseconds, of those that arrived between the two times.
async fn watch(mut body: Incoming, count_from: Instant, end: Instant) -> Result<Vec<f64>> {
    let part_length = camera_part(0).len();
    let mut received = BytesMut::with_capacity(4 * part_length);
    let mut ages = Vec::new();
    while Instant::now() < end {
        let frame = body.frame().await.context("the camera's stream ended")?.context("read the camera's stream")?;
        received.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while received.len() >= part_length {
            let age = clock().saturating_sub(camera_stamp(&received)?);
            if Instant::now() >= count_from {
                ages.push(age as f64 / 1e6);
            }
            received.advance(part_length);
        }
    }
    Ok(ages)
}
