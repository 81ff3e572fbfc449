//! What has come of a stream and was not taken yet.
//!
//! A plugin cannot be told to wait, and the session is never left unread because of one visitor (tunnel.md 9.1). So what
//! a visitor does not take stays here: first in memory, then on the disk; of a camera only the newest frame.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::task::AtomicWaker;
use octo::StreamEnd;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::frame_queue::{FrameQueue, FrameTooLarge};
use super::spill::{Spill, SpillArea, SpillError};

/// Bytes in memory, as long as all streams together have room there: two of the pieces that plugins send.
const MAX_MEMORY: usize = 4 * 1024 * 1024;

/// Bytes over a plan's limit that are taken: one of the largest pieces.
const OVER_LIMIT: u64 = 8 * 1024 * 1024;

/// What has come cannot be kept, so the stream must end.
#[derive(Debug)]
pub(crate) struct Overflow;

impl From<SpillError> for Overflow {
    fn from(error: SpillError) -> Self {
        tracing::debug!(%error, "a slow visitor's stream ends");
        Self
    }
}

impl From<FrameTooLarge> for Overflow {
    fn from(_: FrameTooLarge) -> Self {
        Self
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Complete,
    BrokeOff,
    TargetUnreachable,
    Fault,
    Lost,
    /// Its visitor was too slow for what is kept.
    TooSlow,
}

impl From<&StreamEnd> for Ended {
    fn from(end: &StreamEnd) -> Self {
        match end {
            StreamEnd::Complete => Self::Complete,
            StreamEnd::BrokeOff => Self::BrokeOff,
            StreamEnd::TargetUnreachable => Self::TargetUnreachable,
            StreamEnd::ClosedByPlugin | StreamEnd::Fault(_) => Self::Fault,
            StreamEnd::Lost => Self::Lost,
        }
    }
}

/// See the module.
pub(crate) struct Backlog {
    state: Mutex<State>,
    waker: AtomicWaker,
}

struct State {
    area: SpillArea,
    memory: VecDeque<Bytes>,
    memory_bytes: usize,
    spill: Spill,
    camera: Option<FrameQueue>,
    /// Bytes that may still come, where the visitor's plan has a limit.
    allowance: Option<u64>,
    end: Option<Ended>,
}

/// One reader's place, with what it waits for from the disk.
#[derive(Default)]
pub(crate) struct Reading(Option<JoinHandle<io::Result<Bytes>>>);

impl Backlog {
    pub(crate) fn new(area: &SpillArea) -> Self {
        let state = State {
            area: area.clone(),
            memory: VecDeque::new(),
            memory_bytes: 0,
            spill: Spill::new(area.clone()),
            camera: None,
            allowance: None,
            end: None,
        };
        Self { state: Mutex::new(state), waker: AtomicWaker::new() }
    }

    /// No more than the visitor may get is kept, and a little, so that going over the limit is still noticed.
    pub(crate) fn limit(&self, bytes: u64) {
        self.state.lock().allowance = Some(bytes.saturating_add(OVER_LIMIT));
    }

    /// From here on it is a camera's stream.
    pub(crate) fn show_newest(&self, frames: FrameQueue) {
        self.state.lock().camera = Some(frames);
    }

    /// Something has come.
    pub(crate) fn push(&self, data: Bytes) -> Result<(), Overflow> {
        {
            let mut state = self.state.lock();
            if let Some(camera) = &mut state.camera {
                if !camera.push(&data)? {
                    return Ok(());
                }
            } else if !state.is_allowed(data.len()) {
                return Err(Overflow);
            } else if state.has_room(data.len()) {
                state.memory_bytes += data.len();
                state.memory.push_back(data);
            } else {
                state.spill.push(&data)?;
            }
        }
        self.waker.wake();
        Ok(())
    }

    /// Nothing more will come.
    pub(crate) fn end(&self, end: Ended) {
        {
            let mut state = self.state.lock();
            state.end.get_or_insert(end);
            if let Some(camera) = &mut state.camera {
                camera.finish();
            }
        }
        self.waker.wake();
    }

    /// How it ended, once everything has been taken.
    pub(crate) fn over(&self, reading: &Reading) -> Option<Ended> {
        let state = self.state.lock();
        let is_empty = reading.0.is_none() && state.memory.is_empty() && state.spill.is_empty();
        state.end.filter(|_| is_empty && state.camera.as_ref().is_none_or(|camera| !camera.has_frame()))
    }

    /// The next bytes, or how the stream ended.
    pub(crate) fn poll_next(&self, reading: &mut Reading, cx: &mut Context<'_>) -> Poll<Result<Bytes, Ended>> {
        if let Some(from_disk) = &mut reading.0 {
            let read = std::task::ready!(from_disk.poll_unpin(cx));
            reading.0 = None;
            return Poll::Ready(match read {
                Ok(Ok(bytes)) => Ok(bytes),
                Ok(Err(_)) | Err(_) => Err(Ended::TooSlow),
            });
        }
        self.waker.register(cx.waker());
        let mut state = self.state.lock();
        if let Some(frame) = state.camera.as_mut().and_then(FrameQueue::take) {
            return Poll::Ready(Ok(frame));
        }
        if let Some(bytes) = state.memory.pop_front() {
            state.memory_bytes -= bytes.len();
            state.area.give_back_memory(bytes.len());
            return Poll::Ready(Ok(bytes));
        }
        if let Some(chunk) = state.spill.take() {
            drop(state);
            let mut from_disk = tokio::task::spawn_blocking(move || chunk.read());
            let polled = from_disk.poll_unpin(cx);
            reading.0 = Some(from_disk);
            return match polled {
                Poll::Ready(Ok(Ok(bytes))) => {
                    reading.0 = None;
                    Poll::Ready(Ok(bytes))
                }
                Poll::Ready(_) => Poll::Ready(Err(Ended::TooSlow)),
                Poll::Pending => Poll::Pending,
            };
        }
        match state.end {
            Some(end) => Poll::Ready(Err(end)),
            None => Poll::Pending,
        }
    }
}

impl State {
    fn is_allowed(&mut self, bytes: usize) -> bool {
        let Some(allowance) = &mut self.allowance else { return true };
        match allowance.checked_sub(bytes as u64) {
            Some(left) => {
                *allowance = left;
                true
            }
            None => false,
        }
    }

    /// Whether bytes may wait in memory, behind those that are there already.
    fn has_room(&self, bytes: usize) -> bool {
        self.spill.is_empty() && self.memory_bytes + bytes <= MAX_MEMORY && self.area.take_memory(bytes)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.area.give_back_memory(self.memory_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(backlog: &Backlog, reading: &mut Reading) -> Result<Bytes, Ended> {
        std::future::poll_fn(|cx| backlog.poll_next(reading, cx)).await
    }

    #[tokio::test]
    async fn a_slow_reader_gets_everything_in_order() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let area = SpillArea::new(directory.path().to_owned());
        let backlog = Backlog::new(&area);
        let data: Vec<u8> = (0..12 * 1024 * 1024_u32).map(|n| (n % 253) as u8).collect();
        let mut reading = Reading::default();
        let mut read = Vec::new();
        for (index, piece) in data.chunks(40_000).enumerate() {
            backlog.push(Bytes::copy_from_slice(piece)).expect("there is room");
            if index % 3 == 0 {
                read.extend_from_slice(&next(&backlog, &mut reading).await.expect("there is more"));
            }
        }
        backlog.end(Ended::Complete);
        backlog.end(Ended::Lost);
        assert_eq!(backlog.over(&reading), None);
        let end = loop {
            match next(&backlog, &mut reading).await {
                Ok(bytes) => read.extend_from_slice(&bytes),
                Err(end) => break end,
            }
        };
        assert!(read == data);
        assert_eq!((end, backlog.over(&reading)), (Ended::Complete, Some(Ended::Complete)), "the first end counts");
    }

    #[tokio::test]
    async fn memory_is_bounded_whatever_comes() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let backlog = Backlog::new(&SpillArea::new(directory.path().to_owned()));
        for _ in 0..100 {
            backlog.push(Bytes::from(vec![0; 100_000])).expect("there is room");
        }
        assert!(backlog.state.lock().memory_bytes <= MAX_MEMORY);
    }
}
