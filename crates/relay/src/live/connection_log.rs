//! When a printer's agent came and went lately, for its owner.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use model::PrinterId;
use moka::sync::Cache;
use parking_lot::Mutex;
use tunnel::service_side::LinkEnd;

/// Events kept of one printer.
pub(crate) const MAX_EVENTS: usize = 30;
/// Printers whose events are kept, at some two kilobytes each.
const MAX_PRINTERS: u64 = 10_000;

/// Something that happened to a printer's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionEvent {
    /// When it happened last.
    pub at: SystemTime,
    /// What it was.
    pub change: ConnectionChange,
    /// How often it happened without another in between.
    pub times: u32,
}

/// What happened to a printer's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionChange {
    /// Its agent connected.
    Connected,
    /// Its agent connected anew before the old connection had ended.
    Reconnected,
    /// The connection ended.
    Disconnected(DisconnectReason),
    /// An agent at this address said to be the printer, and had another key.
    WrongKey(IpAddr),
    /// The printer's plugin was refused, because it is too old for this service.
    TooOld,
}

/// Why a printer's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The agent ended it, or the network did.
    Closed,
    /// Nothing came from the agent any more.
    Silent,
    /// The agent did not keep to the protocol.
    Protocol,
    /// The service ended it: the printer was removed, a newer connection took its place, or the service ended.
    ByService,
}

impl From<LinkEnd> for DisconnectReason {
    fn from(end: LinkEnd) -> Self {
        match end {
            LinkEnd::Closed => Self::Closed,
            LinkEnd::Silent => Self::Silent,
            LinkEnd::Protocol => Self::Protocol,
            LinkEnd::ClosedHere => Self::ByService,
        }
    }
}

/// The last events of each printer.
#[derive(Clone)]
pub(crate) struct ConnectionLog(Cache<PrinterId, Arc<Mutex<VecDeque<ConnectionEvent>>>>);

impl Default for ConnectionLog {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_PRINTERS).build())
    }
}

impl ConnectionLog {
    pub(crate) fn note(&self, printer: &PrinterId, change: ConnectionChange, now: SystemTime) {
        let events = self.0.get_with_by_ref(printer, Arc::default);
        let mut events = events.lock();
        if let Some(last) = events.back_mut()
            && last.change == change
        {
            last.at = now;
            last.times = last.times.saturating_add(1);
            return;
        }
        if events.len() >= MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(ConnectionEvent { at: now, change, times: 1 });
    }

    /// Those of a printer, the latest first.
    pub(crate) fn of(&self, printer: &PrinterId) -> Vec<ConnectionEvent> {
        self.0.get(printer).map(|events| events.lock().iter().rev().copied().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_who_tries_on_and_on_pushes_nothing_out() {
        let (log, printer, now) = (ConnectionLog::default(), PrinterId::generate(), SystemTime::now());
        log.note(&printer, ConnectionChange::Connected, now);
        for _ in 0..1000 {
            log.note(&printer, ConnectionChange::WrongKey([192, 0, 2, 1].into()), now);
        }
        let events = log.of(&printer);
        assert_eq!(events.iter().map(|event| event.times).collect::<Vec<_>>(), [1000, 1]);
        for _ in 0..100 {
            log.note(&printer, ConnectionChange::Disconnected(DisconnectReason::Silent), now);
            log.note(&printer, ConnectionChange::Connected, now);
        }
        assert_eq!(log.of(&printer).len(), MAX_EVENTS);
        assert!(log.of(&PrinterId::generate()).is_empty());
    }
}
