//! How many bytes each stream of a link may have under way.
//!
//! A stream's window is the memory that a stalled reader costs, and the throughput of a long path. Both ends share a
//! budget among the streams of a link: few streams get a window that carries 100 Mbit/s over 100 ms, many get less
//! each, so that a link's memory stays bounded whatever stalls.

/// 100 Mbit/s × 100 ms, rounded up: one stream may fill such a path.
pub const MAX_STREAM_WINDOW: u32 = 1280 * 1024;
/// What a stream may have waiting to be sent: as much as the other side may take at once.
pub const SEND_BUFFER: usize = 1280 * 1024;
/// Less would make each camera frame wait for a window update.
const MIN_STREAM_WINDOW: u32 = 64 * 1024;
/// Bytes that the streams of a link may have unread together. Windows shrink as streams come, but bytes already sent
/// stay, so that the worst case, streams that stall one after another, is about twice this for 50 streams.
const LINK_BUDGET: u32 = 16 * 1024 * 1024;
/// The connection's own window. Larger than what the streams' windows add up to, so that stalled streams never take
/// the link from the others; the hard bound of a link's memory against a peer that ignores the streams' windows.
pub const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// Streams that may be open on a link at once; a further request waits.
pub const MAX_STREAMS: u32 = 1024;
/// Larger frames mean fewer of them to parse; 64 KiB is four TLS records.
pub const MAX_FRAME: u32 = 64 * 1024;
/// Names and values of one message, as HTTP/2 counts them: with 32 bytes more for each field (RFC 9113 §6.5.2). A
/// visitor's head of 64 KiB fits, with what the service adds to it.
pub const MAX_HEADER_LIST: u32 = 128 * 1024;

/// The window for each of `streams` open streams: a power of two, so that it changes rarely.
pub fn stream_window(streams: usize) -> u32 {
    let streams = u32::try_from(streams.max(1)).unwrap_or(u32::MAX);
    let share = LINK_BUDGET / streams;
    let power = if share == 0 { 0 } else { 1 << share.ilog2() };
    power.clamp(MIN_STREAM_WINDOW, MAX_STREAM_WINDOW)
}

/// Decides when the window of a link changes.
///
/// It shrinks as soon as there are more streams, and grows only after [`WindowPolicy::handle_tick`] has seen fewer
/// for a whole tick, so that requests that come and go do not make settings go back and forth.
#[derive(Debug)]
pub struct WindowPolicy {
    current: u32,
    peak_since_tick: usize,
}

impl Default for WindowPolicy {
    fn default() -> Self {
        Self { current: MAX_STREAM_WINDOW, peak_since_tick: 0 }
    }
}

impl WindowPolicy {
    /// The number of open streams changed. Returns the window to announce, if it must change.
    pub fn handle_streams(&mut self, streams: usize) -> Option<u32> {
        self.peak_since_tick = self.peak_since_tick.max(streams);
        let wanted = stream_window(streams);
        (wanted < self.current).then(|| self.change_to(wanted))
    }

    /// Some seconds have passed and `streams` are open. Returns the window to announce, if it must change.
    pub fn handle_tick(&mut self, streams: usize) -> Option<u32> {
        let wanted = stream_window(self.peak_since_tick.max(streams));
        self.peak_since_tick = streams;
        (wanted > self.current).then(|| self.change_to(wanted))
    }

    fn change_to(&mut self, window: u32) -> u32 {
        self.current = window;
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_stream_fills_a_long_path() {
        assert!(f64::from(stream_window(1)) >= 100e6 / 8.0 * 0.1);
    }

    #[test]
    fn streams_that_stall_one_after_another_stay_within_the_links_memory() {
        let mut policy = WindowPolicy::default();
        let mut window = MAX_STREAM_WINDOW;
        let mut stalled = 0u64;
        for streams in 1..=50 {
            window = policy.handle_streams(streams).unwrap_or(window);
            stalled += u64::from(window);
        }
        assert!(stalled < 40 * 1024 * 1024, "{stalled}");
        for streams in 51..=200 {
            window = policy.handle_streams(streams).unwrap_or(window);
            stalled += u64::from(window);
        }
        assert!(stalled < u64::from(CONNECTION_WINDOW), "{stalled}");
    }

    #[test]
    fn windows_grow_back_only_after_a_quiet_tick() {
        let mut policy = WindowPolicy::default();
        assert!(policy.handle_streams(100).is_some());
        assert_eq!(policy.handle_streams(1), None);
        assert_eq!(policy.handle_tick(1), None);
        assert_eq!(policy.handle_tick(1), Some(MAX_STREAM_WINDOW));
        assert_eq!(policy.handle_tick(1), None);
    }
}
