//! Which openings of a share its owner is told of.
//!
//! One for each visitor and day, so that a page's hundred requests are one entry of the log; and a bounded number in
//! all, so that nobody can push the owner's log over with openings from many addresses.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::budgets::{Budgets, Origin, Rate};

/// After it, the same visitor is news again.
const SAME_VISIT: Duration = Duration::from_secs(24 * 60 * 60);
/// Visitors remembered.
const MAX_VISITORS: u64 = 100_000;
/// Entries for one share: a party's worth at once, and some fifty a day.
const OF_SHARE: Rate = Rate { burst: 30.0, per_second: 1.0 / 1800.0 };

/// Remembers who has opened which share.
pub struct ShareOpenings {
    seen: Cache<(String, Origin), ()>,
    budgets: Budgets<String>,
}

impl Default for ShareOpenings {
    fn default() -> Self {
        let seen = Cache::builder().max_capacity(MAX_VISITORS).time_to_live(SAME_VISIT).build();
        Self { seen, budgets: Budgets::new(OF_SHARE) }
    }
}

impl ShareOpenings {
    /// Whether it is to be noted that somebody at `address` opens `share`, which is any name for it.
    pub fn is_news(&self, share: &str, address: IpAddr, now: Instant) -> bool {
        let key = (share.to_owned(), Origin::of(address));
        if self.seen.contains_key(&key) {
            return false;
        }
        self.seen.insert(key, ());
        self.budgets.spend(share.to_owned(), now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_is_news_once_and_a_crowd_is_bounded() {
        let (openings, now) = (ShareOpenings::default(), Instant::now());
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        assert!(openings.is_news("a", address(1), now));
        assert!(!openings.is_news("a", address(1), now), "the same visitor");
        assert!(openings.is_news("b", address(1), now), "another share");
        let noted = (0..=255).filter(|last| openings.is_news("crowd", address(*last), now)).count();
        assert_eq!(noted, 30);
    }
}
