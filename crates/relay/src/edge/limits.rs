//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::budgets::Origin;

/// Connections from one address, or one IPv6 network. A household needs dozens, a mobile network's gateway more.
pub const DEFAULT_PER_ADDRESS: usize = 512;

/// Counts connections.
#[derive(Clone)]
pub struct ConnectionLimits(Arc<Inner>);

struct Inner {
    total: usize,
    per_address: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_origin: HashMap<Origin, usize>,
}

/// Which limit a connection would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// All connections together.
    Total,
    /// Those from its address.
    Address,
}

/// Counts a connection until it is dropped.
pub struct ConnectionGuard {
    limits: Arc<Inner>,
    origin: Origin,
}

impl ConnectionLimits {
    /// At most `total` connections, `per_address` from each address.
    pub fn new(total: usize, per_address: usize) -> Self {
        Self(Arc::new(Inner { total, per_address, counts: Mutex::default() }))
    }

    /// Counts a connection from `address`. This machine itself, and proxies in front (`is_trusted`), stand for many
    /// visitors and have no limit of their own.
    ///
    /// # Errors
    /// If a limit is reached.
    pub fn admit(&self, address: IpAddr, is_trusted: bool) -> Result<ConnectionGuard, LimitReached> {
        let mut counts = self.0.counts.lock();
        if counts.total >= self.0.total {
            return Err(LimitReached::Total);
        }
        let origin = Origin::of(address);
        let of_origin = counts.by_origin.entry(origin).or_default();
        if *of_origin >= self.0.per_address && !is_trusted && !address.is_loopback() {
            return Err(LimitReached::Address);
        }
        *of_origin += 1;
        counts.total += 1;
        metrics::gauge!("spoolway_visitor_connections").set(counts.total as f64);
        Ok(ConnectionGuard { limits: Arc::clone(&self.0), origin })
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.0.counts.lock().total
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut counts = self.limits.counts.lock();
        counts.total -= 1;
        metrics::gauge!("spoolway_visitor_connections").set(counts.total as f64);
        if let Some(of_origin) = counts.by_origin.get_mut(&self.origin) {
            *of_origin -= 1;
            if *of_origin == 0 {
                counts.by_origin.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_leaving_makes_room() {
        let limits = ConnectionLimits::new(3, 2);
        let (one, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let first = limits.admit(one, false).ok();
        let second = limits.admit(one, false).ok();
        assert!(first.is_some() && second.is_some());
        assert_eq!(limits.admit(one, false).err(), Some(LimitReached::Address));
        let third = limits.admit(one, true).ok();
        assert!(third.is_some());
        assert_eq!(limits.admit(other, false).err(), Some(LimitReached::Total));
        drop((first, second, third));
        assert_eq!(limits.open(), 0);
        assert!(limits.admit(one, false).is_ok());
    }

    #[test]
    fn a_network_of_addresses_is_one_visitor() {
        let limits = ConnectionLimits::new(100, 2);
        let address = |last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let kept = [limits.admit(address(1), false).ok(), limits.admit(address(2), false).ok()];
        assert!(kept.iter().all(Option::is_some));
        assert_eq!(limits.admit(address(3), false).err(), Some(LimitReached::Address));
    }
}
