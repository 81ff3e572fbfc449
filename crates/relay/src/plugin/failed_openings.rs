//! The short memory of WebSockets that the printer did not accept (error-codes.md 3.2).
//!
//! A plugin never says whether a WebSocket was accepted, so visitors get their 101 first and the failure after it. One
//! app then tries again at once and for ever. Where that fails again and again, the answer comes in place of the 101.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Openings that may fail within [`WINDOW`].
const ALLOWED: usize = 3;
const WINDOW: Duration = Duration::from_secs(10);
/// After the last failure it is tried again.
const REST: Duration = Duration::from_secs(15);
/// Paths remembered for a printer. Printers have few that are WebSockets; a stranger may try many.
const MAX_PATHS: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct FailedOpenings {
    failures_by_path: HashMap<String, Vec<Instant>>,
}

impl FailedOpenings {
    /// Whether it makes sense to try.
    pub(crate) fn may_open(&self, path: &str, now: Instant) -> bool {
        let Some(failures) = self.failures_by_path.get(path) else { return true };
        let (Some(first), Some(last)) = (failures.first(), failures.last()) else { return true };
        let is_burst = failures.len() >= ALLOWED && last.saturating_duration_since(*first) <= WINDOW;
        !is_burst || now.saturating_duration_since(*last) >= REST
    }

    pub(crate) fn handle_failure(&mut self, path: &str, now: Instant) {
        self.failures_by_path
            .retain(|_, failures| failures.last().is_some_and(|last| now.saturating_duration_since(*last) < REST));
        if self.failures_by_path.len() >= MAX_PATHS && !self.failures_by_path.contains_key(path) {
            return;
        }
        let failures = self.failures_by_path.entry(path.to_owned()).or_default();
        if failures.len() >= ALLOWED {
            failures.remove(0);
        }
        failures.push(now);
    }

    /// The printer has accepted one.
    pub(crate) fn handle_success(&mut self, path: &str) {
        self.failures_by_path.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_are_followed_by_a_rest() {
        let (mut openings, start, second) = (FailedOpenings::default(), Instant::now(), Duration::from_secs(1));
        for n in 0..3 {
            assert!(openings.may_open("/ws", start + n * second));
            openings.handle_failure("/ws", start + n * second);
        }
        assert!(!openings.may_open("/ws", start + 3 * second));
        assert!(openings.may_open("/other", start + 3 * second));
        assert!(!openings.may_open("/ws", start + 16 * second));
        assert!(openings.may_open("/ws", start + 17 * second), "after fifteen seconds");
        openings.handle_success("/ws");
        assert!(openings.may_open("/ws", start + 3 * second), "it works again");
    }

    #[test]
    fn failures_far_apart_are_no_burst() {
        let (mut openings, start) = (FailedOpenings::default(), Instant::now());
        for n in 0..5 {
            let now = start + n * Duration::from_secs(6);
            assert!(openings.may_open("/ws", now));
            openings.handle_failure("/ws", now);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let (mut openings, now) = (FailedOpenings::default(), Instant::now());
        (0..1000).for_each(|n| openings.handle_failure(&format!("/{n}"), now));
        assert_eq!(openings.failures_by_path.len(), MAX_PATHS);
    }
}
