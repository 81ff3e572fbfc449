//! Budgets for what strangers may try, each a token bucket.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use parking_lot::Mutex;

/// Keys remembered. Past it the oldest are forgotten, which is bounded memory against many addresses.
const MAX_KEYS: u64 = 100_000;
/// Whoever has been quiet this long has the whole budget again.
const FORGET_AFTER: Duration = Duration::from_secs(900);

/// How much may be spent.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// At once.
    pub burst: f64,
    /// Added to it with each second.
    pub per_second: f64,
}

struct Bucket {
    tokens: f64,
    updated: Instant,
}

/// An address as far as one customer owns it: with IPv6 that is a /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(IpAddr);

impl Origin {
    /// The customer that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
                Self(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into())
            }
            other => Self(other.to_canonical()),
        }
    }
}

/// The budgets of everybody, one for each key.
pub struct Budgets<K> {
    rate: Rate,
    buckets: Cache<K, Arc<Mutex<Bucket>>>,
}

impl<K: Hash + Eq + Send + Sync + 'static> Budgets<K> {
    /// Full budgets.
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: Cache::builder().max_capacity(MAX_KEYS).time_to_idle(FORGET_AFTER).build() }
    }

    /// Spends one.
    ///
    /// # Errors
    /// Seconds to wait, if there is none left.
    pub fn spend(&self, key: K, now: Instant) -> Result<(), u32> {
        let rate = self.rate;
        let bucket = self.buckets.get_with(key, || Arc::new(Mutex::new(Bucket { tokens: rate.burst, updated: now })));
        let mut bucket = bucket.lock();
        let elapsed = now.saturating_duration_since(bucket.updated).as_secs_f64();
        bucket.tokens = (bucket.tokens + elapsed * rate.per_second).min(rate.burst);
        bucket.updated = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = ((1.0 - bucket.tokens) / rate.per_second).ceil();
        Err((wait as u32).max(1))
    }

    /// Whether one could be spent.
    pub fn has_any(&self, key: &K, now: Instant) -> bool {
        let Some(bucket) = self.buckets.get(key) else { return self.rate.burst >= 1.0 };
        let bucket = bucket.lock();
        bucket.tokens + now.saturating_duration_since(bucket.updated).as_secs_f64() * self.rate.per_second >= 1.0
    }

    /// Makes a budget whole again.
    pub fn forget(&self, key: &K) {
        self.buckets.invalidate(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("test addresses are valid")
    }

    #[test]
    fn an_ipv6_network_is_one_guesser_and_a_mapped_address_is_its_ipv4_one() {
        assert!(Origin::of(address("2001:db8::1")) == Origin::of(address("2001:db8::ffff:1")));
        assert!(Origin::of(address("2001:db8::1")) != Origin::of(address("2001:db8:0:1::1")));
        assert!(Origin::of(address("::ffff:192.0.2.1")) == Origin::of(address("192.0.2.1")));
    }

    #[test]
    fn a_budget_fills_up_again_and_no_further() {
        let budgets = Budgets::new(Rate { burst: 2.0, per_second: 0.5 });
        let now = Instant::now();
        assert_eq!([budgets.spend(1, now), budgets.spend(1, now), budgets.spend(1, now)], [Ok(()), Ok(()), Err(2)]);
        assert_eq!(budgets.spend(2, now), Ok(()));
        let later = now + Duration::from_secs(3600);
        assert_eq!(
            [budgets.spend(1, later), budgets.spend(1, later), budgets.spend(1, later)],
            [Ok(()), Ok(()), Err(2)]
        );
    }
}
