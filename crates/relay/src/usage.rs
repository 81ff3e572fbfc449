//! How much goes through each connection, on its way to the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use model::ConnectionId;
use parking_lot::Mutex;

use crate::relay::Relay;

/// How often the store is told: what a crash loses is a few seconds of a statistic, and a write costs a wait for the
/// disk.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Connections told about in one write, so that other writers get their turn.
const CHUNK: usize = 500;

/// What went through one connection since the store was last told.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    up: AtomicU64,
    down: AtomicU64,
    is_used: AtomicBool,
}

impl Usage {
    /// Bytes went to the printer.
    pub(crate) fn add_up(&self, bytes: u64) {
        self.up.fetch_add(bytes, Ordering::Relaxed);
        self.is_used.store(true, Ordering::Relaxed);
    }

    /// Bytes came from the printer.
    pub(crate) fn add_down(&self, bytes: u64) {
        self.down.fetch_add(bytes, Ordering::Relaxed);
        self.is_used.store(true, Ordering::Relaxed);
    }
}

/// What the store is told of one connection: bytes up and down, and when it was used last.
type Told = (ConnectionId, u64, u64, SystemTime);

/// What went through all connections.
#[derive(Default)]
pub(crate) struct UsageMeters(Mutex<HashMap<ConnectionId, Arc<Usage>>>);

impl UsageMeters {
    /// A connection is used; what goes through is added to what this gives.
    pub(crate) fn of(&self, connection: &ConnectionId) -> Arc<Usage> {
        let mut meters = self.0.lock();
        let usage = match meters.get(connection) {
            Some(usage) => Arc::clone(usage),
            None => Arc::clone(meters.entry(connection.clone()).or_default()),
        };
        usage.is_used.store(true, Ordering::Relaxed);
        usage
    }

    /// What went through since the last time, up to `now`. Forgets connections that nobody uses any more.
    fn take(&self, now: SystemTime) -> Vec<Told> {
        let mut taken = Vec::new();
        self.0.lock().retain(|connection, usage| {
            // Looked at first: who lets go later may still add something before.
            let is_open = Arc::strong_count(usage) > 1;
            if usage.is_used.swap(false, Ordering::Relaxed) {
                let (up, down) = (usage.up.swap(0, Ordering::Relaxed), usage.down.swap(0, Ordering::Relaxed));
                taken.push((connection.clone(), up, down, now));
            }
            is_open
        });
        taken
    }

    /// The store did not take it: it is told the next time.
    fn give_back(&self, told: &[Told]) {
        for (connection, up, down, _) in told {
            let usage = self.of(connection);
            usage.add_up(*up);
            usage.add_down(*down);
        }
    }
}

impl Relay {
    /// Tells the store how much went through connections since it was last told. To be called a last time after the
    /// last request.
    pub async fn store_usage(&self) {
        let taken = self.usage.take(SystemTime::now());
        for chunk in taken.chunks(CHUNK) {
            if let Err(error) = self.store.add_usage(chunk).await {
                tracing::warn!(%error, "what went through connections was not noted; trying again");
                self.usage.give_back(chunk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told_once_and_what_is_not_used_is_forgotten() {
        let (meters, now) = (UsageMeters::default(), SystemTime::now());
        let (quiet, busy) = (ConnectionId::generate(), ConnectionId::generate());
        drop(meters.of(&quiet));
        let open = meters.of(&busy);
        open.add_up(10);
        meters.of(&busy).add_down(5);
        let mut taken = meters.take(now);
        taken.sort_by_key(|(_, up, ..)| *up);
        assert_eq!(taken, [(quiet.clone(), 0, 0, now), (busy.clone(), 10, 5, now)]);
        assert_eq!(meters.0.lock().len(), 1, "nobody uses the quiet one");
        assert!(meters.take(now).is_empty());

        open.add_up(1);
        meters.give_back(&taken);
        drop(open);
        let taken = meters.take(now);
        assert!(taken.contains(&(busy, 11, 5, now)) && taken.contains(&(quiet, 0, 0, now)), "{taken:?}");
        assert!(meters.0.lock().is_empty());
    }
}
