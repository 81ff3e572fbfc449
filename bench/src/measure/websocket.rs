//! Small WebSocket messages there and back: how long a command waits.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Pace, Sample, bounded};
use crate::figures::{Figure, microseconds};
use crate::http1::connect;
use crate::origin::SOCKET_PATH;
use crate::statistics::percentile;
use crate::target::{Endpoint, Target};

const N_CONNECTIONS: u32 = 100;
const PERIOD: Duration = Duration::from_millis(100);
const MESSAGE_SIZE: usize = 128;

pub(super) async fn run(target: &Target, pace: Pace) -> Result<Vec<Sample>> {
    let mut sockets = Vec::new();
    for _ in 0..N_CONNECTIONS {
        sockets.push(bounded("opening a WebSocket", open(&target.live)).await?);
    }

    let start = tokio::time::Instant::now() + Duration::from_millis(10);
    let end = start + pace.warm_up + pace.window;
    let mut tasks = JoinSet::new();
    for (index, socket) in (0..N_CONNECTIONS).zip(sockets) {
        // Spread over the period, as strangers' commands are: a burst would measure its own queue.
        let first = start + PERIOD * index / N_CONNECTIONS;
        tasks.spawn(echo_until(socket, first, start + pace.warm_up, end));
    }
    let mut waits = Vec::new();
    while let Some(outcome) = bounded("the echoes", async { Ok(tasks.join_next().await) }).await? {
        waits.extend(outcome.context("echo over a WebSocket")??);
    }
    let middle = percentile(&waits, 50.0).context("no echo arrived")?;
    let slow = percentile(&waits, 99.0).context("no echo arrived")?;
    Ok(vec![(Figure::WebSocketMedian, middle), (Figure::WebSocketSlow, slow)])
}

async fn open(endpoint: &Endpoint) -> Result<WebSocketStream<TcpStream>> {
    let stream = connect(endpoint).await?;
    let mut request = format!("ws://{}{SOCKET_PATH}", endpoint.host).into_client_request()?;
    if let Some(authorization) = &endpoint.authorization {
        request.headers_mut().insert(http::header::AUTHORIZATION, authorization.parse()?);
    }
    let (socket, _) = client_async(request, stream).await.context("open a WebSocket")?;
    Ok(socket)
}

/// How long each echo took that was sent between `count_from` and `end`, in microseconds.
async fn echo_until(
    mut socket: WebSocketStream<TcpStream>,
    first: tokio::time::Instant,
    count_from: tokio::time::Instant,
    end: tokio::time::Instant,
) -> Result<Vec<f64>> {
    let message = Message::binary(vec![0x5a_u8; MESSAGE_SIZE]);
    let mut interval = tokio::time::interval_at(first, PERIOD);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waits = Vec::new();
    while interval.tick().await < end {
        let sent = Instant::now();
        socket.send(message.clone()).await.context("send over a WebSocket")?;
        let Some(echo) = socket.next().await else { bail!("the WebSocket ended") };
        ensure!(echo.context("receive over a WebSocket")? == message, "the echo differs from what was sent");
        if sent >= count_from.into_std() {
            waits.push(microseconds(sent.elapsed()));
        }
    }
    Ok(waits)
}
