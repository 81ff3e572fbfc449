//! Slows down whoever guesses labels, credentials or passwords.
//!
//! Budgets are for what was wrong only: right credentials always open, so that no stranger can lock an owner's app
//! out. A guess over budget is not answered with the truth but with 600 and a time to wait.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Label;
use moka::sync::Cache;
use parking_lot::Mutex;

/// Wrong guesses of 160-bit secrets that one address may make at once, and how fast more become possible. Generous,
/// because a household or a phone network shares an address.
const SECRETS: Rate = Rate { burst: 100.0, per_second: 1.0 };
/// Tries at one connection's password from one address.
const PASSWORDS: Rate = Rate { burst: 10.0, per_second: 1.0 / 30.0 };
/// Tries at one connection's password from anywhere, after which each waits a little.
const PASSWORDS_OF_LABEL: Rate = Rate { burst: 50.0, per_second: 1.0 };
/// How long such a try waits. Long enough to make a dictionary useless, short enough for the owner's own first visit.
const LABEL_DELAY: Duration = Duration::from_secs(1);
/// Guessers remembered. Past it the oldest are forgotten, which is bounded memory against many addresses.
const MAX_GUESSERS: u64 = 100_000;
/// A guesser that has been quiet this long has its whole budget again.
const FORGET_AFTER: Duration = Duration::from_secs(900);

#[derive(Clone, Copy)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// A token bucket.
struct Bucket {
    tokens: f64,
    updated: Instant,
}

/// An address as far as one guesser owns it: an IPv6 customer has a /64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Origin(IpAddr);

impl Origin {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
                Self(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into())
            }
            other => Self(other.to_canonical()),
        }
    }
}

type Buckets<K> = Cache<K, Arc<Mutex<Bucket>>>;

/// Budgets of all guessers.
pub(crate) struct Guesses {
    secrets: Buckets<Origin>,
    passwords: Buckets<(Label, Origin)>,
    passwords_of_label: Buckets<Label>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self { secrets: buckets(), passwords: buckets(), passwords_of_label: buckets() }
    }
}

fn buckets<K: std::hash::Hash + Eq + Send + Sync + 'static>() -> Buckets<K> {
    Cache::builder().max_capacity(MAX_GUESSERS).time_to_idle(FORGET_AFTER).build()
}

impl Guesses {
    /// A label or secret from `address` was wrong.
    ///
    /// # Errors
    /// Seconds to wait, if the address has guessed too often to be told so.
    pub(crate) fn handle_wrong_secret(&self, address: IpAddr, now: Instant) -> Result<(), u32> {
        spend(&self.secrets, Origin::of(address), SECRETS, now)
    }

    /// A password is about to be tried. Returns how long to wait before it is looked at.
    ///
    /// # Errors
    /// Seconds to wait, if it must not be looked at.
    pub(crate) fn try_password(&self, label: &Label, address: IpAddr, now: Instant) -> Result<Duration, u32> {
        spend(&self.passwords, (label.clone(), Origin::of(address)), PASSWORDS, now)?;
        let crowded = spend(&self.passwords_of_label, label.clone(), PASSWORDS_OF_LABEL, now).is_err();
        Ok(if crowded { LABEL_DELAY } else { Duration::ZERO })
    }

    /// A password was right: it was no guess.
    pub(crate) fn handle_right_password(&self, label: &Label, address: IpAddr) {
        self.passwords.invalidate(&(label.clone(), Origin::of(address)));
    }
}

fn spend<K>(buckets: &Buckets<K>, key: K, rate: Rate, now: Instant) -> Result<(), u32>
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
{
    let bucket = buckets.get_with(key, || Arc::new(Mutex::new(Bucket { tokens: rate.burst, updated: now })));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("test addresses are valid")
    }

    #[test]
    fn one_guesser_does_not_spend_anothers_budget() {
        let guesses = Guesses::default();
        let now = Instant::now();
        let refused = (0..1000).filter(|_| guesses.handle_wrong_secret(address("192.0.2.1"), now).is_err()).count();
        assert_eq!(refused, 900);
        assert_eq!(guesses.handle_wrong_secret(address("192.0.2.2"), now), Ok(()));
        assert_eq!(guesses.handle_wrong_secret(address("192.0.2.1"), now + Duration::from_secs(2)), Ok(()));
    }

    #[test]
    fn an_ipv6_network_is_one_guesser_and_a_mapped_address_is_its_ipv4_one() {
        assert!(Origin::of(address("2001:db8::1")) == Origin::of(address("2001:db8::ffff:1")));
        assert!(Origin::of(address("2001:db8::1")) != Origin::of(address("2001:db8:0:1::1")));
        assert!(Origin::of(address("::ffff:192.0.2.1")) == Origin::of(address("192.0.2.1")));
    }

    #[test]
    fn password_tries_are_few_until_one_is_right() {
        let guesses = Guesses::default();
        let (label, from, now) = (Label::generate(), address("192.0.2.1"), Instant::now());
        for _ in 0..10 {
            assert_eq!(guesses.try_password(&label, from, now), Ok(Duration::ZERO));
        }
        assert_eq!(guesses.try_password(&label, from, now), Err(30));
        guesses.handle_right_password(&label, from);
        assert_eq!(guesses.try_password(&label, from, now), Ok(Duration::ZERO));
        for n in 0..60 {
            let _ = guesses.try_password(&label, address(&format!("192.0.2.{n}")), now);
        }
        assert_eq!(guesses.try_password(&label, address("198.51.100.1"), now), Ok(LABEL_DELAY));
    }
}
