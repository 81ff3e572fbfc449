//! The measurements, one file each. Each takes a target and gives one sample for each figure it knows.

mod agents;
mod camera;
mod first_byte;
mod memory;
mod requests;
mod stalled;
mod transfer;
mod websocket;

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::task::JoinSet;

pub(crate) use agents::idle_agents;

use crate::figures::Figure;
use crate::target::Target;

/// Something that is measured in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Measurement {
    /// GET 1 KiB over 32 kept-alive connections.
    Requests,
    /// GET 100 MiB.
    Download,
    /// PUT 100 MiB.
    Upload,
    /// WebSocket echo of 128 bytes over 100 connections, ten times a second each.
    Websocket,
    /// 20 viewers of a camera that sends 30 pictures of 40 kB a second.
    Camera,
    /// Memory of the service for each idle agent, and how fast agents connect.
    Agents,
    /// Time to the first byte of a response.
    FirstByte,
    /// Memory of the service while 1 GiB passes each way.
    Memory,
    /// 50 downloads of 1 GiB that nobody reads, and another request beside them.
    Stalled,
}

impl Measurement {
    pub(crate) const ALL: [Self; 9] = [
        Self::Requests,
        Self::Download,
        Self::Upload,
        Self::Websocket,
        Self::Camera,
        Self::FirstByte,
        Self::Memory,
        Self::Stalled,
        Self::Agents,
    ];

    /// Memory moves by the same amount each time, so once is enough for what is slow to measure.
    pub(crate) fn repeats(self) -> bool {
        !matches!(self, Self::Memory | Self::Stalled | Self::Agents)
    }

    pub(crate) async fn run(self, target: &Target, pace: Pace) -> Result<Vec<Sample>> {
        match self {
            Self::Requests => requests::run(target, pace).await,
            Self::Download => transfer::download(target, pace).await,
            Self::Upload => transfer::upload(target, pace).await,
            Self::Websocket => websocket::run(target, pace).await,
            Self::Camera => camera::run(target, pace).await,
            Self::FirstByte => first_byte::run(target, pace).await,
            Self::Memory => memory::run(target).await,
            Self::Stalled => stalled::run(target, pace).await,
            Self::Agents => bail!("agents are measured on a service of their own"),
        }
        .with_context(|| format!("measure {self:?}, {}", target.route.title()))
    }
}

/// One measured value.
pub(crate) type Sample = (Figure, f64);

/// How long to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Load before anything counts: connections open, caches and buffers find their size.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// How many agents wait idle at once.
    pub(crate) n_agents: usize,
}

/// The longest that anything may take that is done by count and not by time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends `work` that hangs, since a benchmark must stop by itself.
async fn bounded<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("{what} took longer than {PATIENCE:?}"),
    }
}

/// Lets tasks work for `duration`; fails as soon as one of them ends, which none does by itself.
async fn keep_busy(tasks: &mut JoinSet<Result<()>>, duration: Duration) -> Result<()> {
    tokio::select! {
        () = tokio::time::sleep(duration) => Ok(()),
        ended = tasks.join_next() => match ended.context("nothing is under load")?? {
            Ok(()) => bail!("the load ended before its time"),
            Err(error) => Err(error),
        },
    }
}

/// CPU and wall time between two moments.
struct Meter<'a> {
    target: &'a Target,
    cpu_at_start: Option<f64>,
    start: Instant,
}

impl<'a> Meter<'a> {
    fn start(target: &'a Target) -> Result<Self> {
        Ok(Self { target, cpu_at_start: target.cpu_seconds()?, start: Instant::now() })
    }

    fn wall_seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// CPU seconds since the start, where something is in between to use any.
    fn cpu_seconds(&self) -> Result<Option<f64>> {
        Ok(self.target.cpu_seconds()?.zip(self.cpu_at_start).map(|(end, start)| end - start).filter(|used| *used > 0.0))
    }
}
