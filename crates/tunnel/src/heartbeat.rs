//! Notices that the peer is gone although TCP has not.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::{Ping, PingPong};
use tokio::time::{Interval, MissedTickBehavior};

use crate::frame_meter::BytesRead;

/// How often the link is looked at; a silent one is sent a PING (RFC 9113 §6.7).
const INTERVAL: Duration = Duration::from_secs(5);
/// Looks without a single byte from the peer after which it counts as gone: 15 to 20 s. Looks are counted, not
/// seconds, because after a suspended machine wakes up the seconds have passed without a chance to answer.
const MAX_SILENT_LOOKS: u32 = 3;

/// What a look at the link showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The peer is there, or has some time left.
    Alive,
    /// Nothing has come for too long.
    Dead,
}

/// Sends pings and times their answers.
pub(crate) struct Heartbeat {
    ping_pong: PingPong,
    bytes_read: BytesRead,
    interval: Interval,
    seen_bytes: u64,
    silent_looks: u32,
    ping_sent: Option<Instant>,
}

impl Heartbeat {
    pub(crate) fn new(ping_pong: PingPong, bytes_read: BytesRead) -> Self {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.reset();
        Self { ping_pong, bytes_read, interval, seen_bytes: 0, silent_looks: 0, ping_sent: None }
    }

    /// The answer to a ping, as the time it took.
    pub(crate) fn poll_round_trip(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        match self.ping_pong.poll_pong(cx) {
            Poll::Ready(Ok(_)) => self.ping_sent.take().map(|sent| sent.elapsed()),
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }

    /// Ready once every few seconds. Poll the connection first: bytes that wait in the socket count.
    pub(crate) fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<Look> {
        if self.interval.poll_tick(cx).is_pending() {
            return Poll::Pending;
        }
        let bytes = self.bytes_read.get();
        if bytes == self.seen_bytes {
            self.silent_looks += 1;
        } else {
            self.silent_looks = 0;
        }
        self.seen_bytes = bytes;
        if self.silent_looks >= MAX_SILENT_LOOKS {
            return Poll::Ready(Look::Dead);
        }
        if self.ping_sent.is_none() && self.ping_pong.send_ping(Ping::opaque()).is_ok() {
            self.ping_sent = Some(Instant::now());
        }
        Poll::Ready(Look::Alive)
    }
}
