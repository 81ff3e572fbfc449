//! The figures the bench reports: what each is called, and how good it has to be.

use std::time::Duration;

use serde::Serialize;

/// One figure of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Figure {
    RequestsPerCpuSecond,
    DownloadPerCpuSecond,
    UploadPerCpuSecond,
    WebSocketSlow,
    CameraSlow,
    AgentMemory,
    AgentsPerSecond,
    FirstByteMedian,
    FirstByteAdded,
    GibibyteGrowth,
    AgentResident,
    StalledGrowth,
    StalledSlowdown,
    StalledSlowdownSlow,
    RequestsPerSecond,
    DownloadPerSecond,
    UploadPerSecond,
    WebSocketMedian,
    CameraMedian,
}

/// How good a figure of Spoolway's has to be. A ratio is to nginx as a plain reverse proxy in the same run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    RatioAtLeast(f64),
    RatioAtMost(f64),
}

/// What the first release must reach, and what beats every tunnel that was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Bounds {
    pub(crate) first_release: Bound,
    pub(crate) goal: Bound,
}

impl Bound {
    pub(crate) fn holds(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::RatioAtLeast(bound) => ratio.is_some_and(|ratio| ratio >= bound),
            Self::RatioAtMost(bound) => ratio.is_some_and(|ratio| ratio <= bound),
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {bound}"),
            Self::AtMost(bound) => format!("≤ {bound}"),
            Self::RatioAtLeast(bound) => format!("≥ {bound}×"),
            Self::RatioAtMost(bound) => format!("≤ {bound}×"),
        }
    }
}

impl Figure {
    pub(crate) const ALL: [Self; 19] = [
        Self::RequestsPerCpuSecond,
        Self::DownloadPerCpuSecond,
        Self::UploadPerCpuSecond,
        Self::WebSocketSlow,
        Self::CameraSlow,
        Self::AgentMemory,
        Self::AgentsPerSecond,
        Self::FirstByteMedian,
        Self::FirstByteAdded,
        Self::GibibyteGrowth,
        Self::AgentResident,
        Self::StalledGrowth,
        Self::StalledSlowdown,
        Self::StalledSlowdownSlow,
        Self::RequestsPerSecond,
        Self::DownloadPerSecond,
        Self::UploadPerSecond,
        Self::WebSocketMedian,
        Self::CameraMedian,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::RequestsPerCpuSecond => "GET 1 KiB, 32 keep-alive connections: requests per CPU-s",
            Self::DownloadPerCpuSecond => "GET 100 MiB: MB per CPU-s",
            Self::UploadPerCpuSecond => "PUT 100 MiB: MB per CPU-s",
            Self::WebSocketSlow => "WebSocket echo 128 B, 100 connections × 10/s: p99 µs",
            Self::CameraSlow => "MJPEG, 20 viewers × 40 kB × 30 fps: frame delay p99 ms",
            Self::AgentMemory => "idle agent: KiB on the server",
            Self::AgentsPerSecond => "agents connected per second",
            Self::FirstByteMedian => "time to first byte, p50 µs",
            Self::FirstByteAdded => "time to first byte added to direct, p50 µs",
            Self::GibibyteGrowth => "memory growth while 1 GiB passes each way, MiB",
            Self::AgentResident => "idle agent's own resident memory, MiB",
            Self::StalledGrowth => "50 stalled downloads of 1 GiB: memory growth, MiB",
            Self::StalledSlowdown => "another request beside them: p50, times alone",
            Self::StalledSlowdownSlow => "another request beside them: p99, times alone",
            Self::RequestsPerSecond => "GET 1 KiB, 32 keep-alive connections: requests per second",
            Self::DownloadPerSecond => "GET 100 MiB: MB per second",
            Self::UploadPerSecond => "PUT 100 MiB: MB per second",
            Self::WebSocketMedian => "WebSocket echo 128 B: p50 µs",
            Self::CameraMedian => "MJPEG frame delay: p50 ms",
        }
    }

    /// Digits after the point that mean something.
    pub(crate) fn n_decimals(self) -> usize {
        match self {
            Self::CameraSlow | Self::CameraMedian | Self::StalledSlowdown | Self::StalledSlowdownSlow => 2,
            Self::AgentMemory | Self::GibibyteGrowth | Self::AgentResident | Self::StalledGrowth => 1,
            _ => 0,
        }
    }

    /// The rows "first release" and "the goal" of the project's performance page, and the demands written below its
    /// table. Figures without bounds explain the others.
    pub(crate) fn bounds(self) -> Option<Bounds> {
        let (first_release, goal) = match self {
            Self::RequestsPerCpuSecond => (Bound::RatioAtLeast(0.28), Bound::RatioAtLeast(0.53)),
            Self::DownloadPerCpuSecond => (Bound::RatioAtLeast(0.45), Bound::RatioAtLeast(0.76)),
            Self::UploadPerCpuSecond => (Bound::RatioAtLeast(0.29), Bound::RatioAtLeast(0.44)),
            Self::WebSocketSlow => (Bound::RatioAtMost(1.8), Bound::RatioAtMost(1.5)),
            Self::CameraSlow => (Bound::AtMost(1.5), Bound::AtMost(0.45)),
            Self::AgentMemory => (Bound::AtMost(48.0), Bound::AtMost(20.0)),
            Self::AgentsPerSecond => (Bound::AtLeast(200.0), Bound::AtLeast(400.0)),
            Self::FirstByteAdded => (Bound::AtMost(500.0), Bound::AtMost(500.0)),
            // "Flat" needs a number: room for the buffers of the two transfers and for the allocator's.
            Self::GibibyteGrowth => (Bound::AtMost(16.0), Bound::AtMost(16.0)),
            Self::AgentResident => (Bound::AtMost(12.0), Bound::AtMost(12.0)),
            Self::StalledGrowth => (Bound::AtMost(64.0), Bound::AtMost(64.0)),
            Self::StalledSlowdown => (Bound::AtMost(2.0), Bound::AtMost(2.0)),
            _ => return None,
        };
        Some(Bounds { first_release, goal })
    }
}

/// A duration as latencies are reported.
pub(crate) fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
