//! How often one connection may call something.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use model::ConnectionId;
use parking_lot::Mutex;

/// The documented pace is one call in ten seconds. Two phones poll out of step, and a client that retries turns one
/// refusal into four calls, so that many are let through before the first is refused.
const BURST: usize = 6;
const WINDOW: Duration = Duration::from_secs(10);
/// Connections remembered at once. Only those that exist get here, so a crowd that large is real; forgetting all of it
/// costs nobody more than one burst.
const MAX_CONNECTIONS: usize = 100_000;

/// Counts the calls of each connection over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Pace {
    calls_by_connection: Mutex<HashMap<ConnectionId, VecDeque<Instant>>>,
}

impl Pace {
    /// Counts a call, or refuses it with the seconds to wait.
    pub(super) fn handle_call(&self, connection: &ConnectionId, now: Instant) -> Result<(), u32> {
        let mut calls_by_connection = self.calls_by_connection.lock();
        if calls_by_connection.len() >= MAX_CONNECTIONS && !calls_by_connection.contains_key(connection) {
            calls_by_connection.retain(|_, calls| calls.back().is_some_and(|last| is_recent(*last, now)));
            if calls_by_connection.len() >= MAX_CONNECTIONS {
                calls_by_connection.clear();
            }
        }
        let calls = calls_by_connection.entry(connection.clone()).or_default();
        while calls.front().is_some_and(|first| !is_recent(*first, now)) {
            calls.pop_front();
        }
        match calls.front() {
            Some(first) if calls.len() >= BURST => {
                let left = WINDOW.saturating_sub(now.saturating_duration_since(*first));
                // Rounded up: whoever waits as long as told gets through.
                Err(u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1))
            }
            _ => {
                calls.push_back(now);
                Ok(())
            }
        }
    }
}

fn is_recent(call: Instant, now: Instant) -> bool {
    now.saturating_duration_since(call) < WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_calls_in_ten_seconds_and_refusals_do_not_count() {
        let (pace, start) = (Pace::default(), Instant::now());
        let (one, other) = (ConnectionId::generate(), ConnectionId::generate());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for call in 0..6 {
            assert_eq!(pace.handle_call(&one, at(call * 1000)), Ok(()));
        }
        assert_eq!(pace.handle_call(&one, at(5000)), Err(5));
        assert_eq!(pace.handle_call(&one, at(5500)), Err(5));
        assert_eq!(pace.handle_call(&one, at(9999)), Err(1));
        assert_eq!(pace.handle_call(&other, at(9999)), Ok(()));
        assert_eq!(pace.handle_call(&one, at(10_000)), Ok(()));
        assert_eq!(pace.handle_call(&one, at(10_000)), Err(1));
    }

    #[test]
    fn the_documented_pace_is_never_refused() {
        let (pace, start) = (Pace::default(), Instant::now());
        let connection = ConnectionId::generate();
        for call in 0..1000 {
            assert_eq!(pace.handle_call(&connection, start + WINDOW * call), Ok(()));
        }
    }
}
