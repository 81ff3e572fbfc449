//! When to dial again.

use std::time::Duration;

/// The first retry waits at most this long.
const FIRST: Duration = Duration::from_millis(500);
/// No retry waits longer.
const LAST: Duration = Duration::from_secs(60);
/// A connection that lasted this long was a good one: the next loss is answered at once again.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// A shorter one shows at least that the service is there: the bound starts over at 4 s, so that a service that restarts
/// a few times in a row has its printers back soon, and one that dies of its agents is not hit by all at once.
const FAILURES_AFTER_LINK: u32 = 4;

/// Exponential back-off with full jitter: each wait is drawn evenly from nothing to a bound that doubles, so that a
/// thousand agents whose service restarts come back spread out.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A connection ended over which the printer was reachable for `lifetime`.
    pub fn handle_connection_lasted(&mut self, lifetime: Duration) {
        self.failures = if lifetime >= STABLE_AFTER { 0 } else { self.failures.min(FAILURES_AFTER_LINK) };
    }

    /// How long to wait before dialling again. `random` is even in 0..1.
    pub fn next_delay(&mut self, random: f64) -> Duration {
        let failures = self.failures;
        self.failures = self.failures.saturating_add(1);
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST.saturating_mul(1 << doublings.min(16)).min(LAST).mul_f64(random.clamp(0.0, 1.0)),
        }
    }
}

/// A number drawn evenly from 0..1.
pub fn random_fraction() -> f64 {
    // Without randomness agents would come back in step, but they must come back.
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_at_once_and_the_bound_doubles_to_a_minute() {
        let mut backoff = Backoff::default();
        let delays: Vec<Duration> = (0..10).map(|_| backoff.next_delay(1.0)).collect();
        assert_eq!(delays[..4], [0, 500, 1000, 2000].map(Duration::from_millis));
        assert_eq!(delays[9], LAST);
        assert_eq!(backoff.next_delay(0.0), Duration::ZERO);
    }

    #[test]
    fn a_short_connection_bounds_the_wait() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.next_delay(1.0);
        }
        backoff.handle_connection_lasted(Duration::from_secs(1));
        assert_eq!(backoff.next_delay(1.0), Duration::from_secs(4));
    }

    #[test]
    fn only_a_stable_connection_resets_it() {
        let mut backoff = Backoff::default();
        backoff.next_delay(1.0);
        backoff.next_delay(1.0);
        backoff.handle_connection_lasted(Duration::from_secs(1));
        assert_eq!(backoff.next_delay(1.0), Duration::from_secs(1));
        backoff.handle_connection_lasted(Duration::from_secs(31));
        assert_eq!(backoff.next_delay(1.0), Duration::ZERO);
    }
}
