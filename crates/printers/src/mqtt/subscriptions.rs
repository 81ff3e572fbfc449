//! Who wants to hear what, counted, so that the printer is asked once and told when nobody listens any more.

use std::collections::HashMap;

use mqtt_protocol_core::mqtt::packet::Qos;
use tokio::sync::oneshot;

use crate::platforms::{CommandFailure, Outcome};

/// Different filters at once. Apps use one or two each.
const MAX_FILTERS: usize = 256;

/// What the answer to somebody's wish is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// As far as the printer goes.
    pub(super) qos: Qos,
    /// Whether the printer was asked for it, and so sends what it has kept.
    pub(super) is_fresh: bool,
}

/// Where it goes.
pub(super) type Waiter = oneshot::Sender<Outcome<Granted>>;

/// The subscriptions of one session with a printer.
#[derive(Default)]
pub(super) struct Subscriptions {
    by_filter: HashMap<String, Subscribed>,
    /// Questions that the printer has not answered yet.
    filters_by_packet_id: HashMap<u16, String>,
}

struct Subscribed {
    n_users: usize,
    asked: Qos,
    granted: Option<Qos>,
    waiters: Vec<Waiter>,
}

impl Subscriptions {
    /// Somebody wants to hear `filter`. Returns the quality of service to ask the printer for, if it has to be asked.
    pub(super) fn want(&mut self, filter: &str, qos: Qos, waiter: Waiter) -> Option<Qos> {
        if !self.by_filter.contains_key(filter) && self.by_filter.len() >= MAX_FILTERS {
            // Whoever does not wait any more needs no answer.
            let _ = waiter.send(Err(CommandFailure::Failed("there are too many subscriptions".to_owned())));
            return None;
        }
        let subscribed = self.by_filter.entry(filter.to_owned()).or_insert(Subscribed {
            n_users: 0,
            asked: Qos::AtMostOnce,
            granted: None,
            waiters: Vec::new(),
        });
        let is_first = subscribed.n_users == 0;
        if !is_first
            && qos <= subscribed.asked
            && subscribed.waiters.is_empty()
            && let Some(granted) = subscribed.granted
        {
            if waiter.send(Ok(Granted { qos: granted.min(qos), is_fresh: false })).is_ok() {
                subscribed.n_users += 1;
            }
            return None;
        }
        subscribed.n_users += 1;
        subscribed.waiters.push(waiter);
        if is_first || qos > subscribed.asked {
            subscribed.asked = qos;
            return Some(qos);
        }
        None
    }

    /// The printer was asked, with this packet.
    pub(super) fn handle_asked(&mut self, packet_id: u16, filter: &str) {
        self.filters_by_packet_id.insert(packet_id, filter.to_owned());
    }

    /// The printer has answered; `None` means that it refuses. Returns a filter that nobody wants any more.
    pub(super) fn handle_answer(&mut self, packet_id: u16, granted: Option<Qos>) -> Option<String> {
        let filter = self.filters_by_packet_id.remove(&packet_id)?;
        let subscribed = self.by_filter.get_mut(&filter)?;
        let waiters = std::mem::take(&mut subscribed.waiters);
        let refused = || CommandFailure::Failed("the printer does not allow that subscription".to_owned());
        if granted.is_some() {
            subscribed.granted = granted;
        }
        for waiter in waiters {
            let told = waiter.send(granted.map(|qos| Granted { qos, is_fresh: true }).ok_or_else(refused));
            if told.is_err() || granted.is_none() {
                subscribed.n_users -= 1;
            }
        }
        if subscribed.n_users > 0 {
            return None;
        }
        let was_granted = subscribed.granted.is_some();
        self.by_filter.remove(&filter);
        was_granted.then_some(filter)
    }

    /// Somebody does not want to hear `filter` any more. Returns whether nobody does.
    pub(super) fn release(&mut self, filter: &str) -> bool {
        let Some(subscribed) = self.by_filter.get_mut(filter) else { return false };
        subscribed.n_users -= 1;
        let is_last = subscribed.n_users == 0;
        if is_last {
            self.by_filter.remove(filter);
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn waiter() -> (Waiter, oneshot::Receiver<Outcome<Granted>>) {
        oneshot::channel()
    }

    fn granted(qos: Qos) -> Outcome<Granted> {
        Ok(Granted { qos, is_fresh: true })
    }

    #[test]
    fn the_printer_is_asked_once_and_told_when_the_last_one_leaves() {
        let mut all = Subscriptions::default();
        let (first, mut first_hears) = waiter();
        let (second, mut second_hears) = waiter();
        assert_eq!(all.want("a", Qos::AtMostOnce, first), Some(Qos::AtMostOnce));
        all.handle_asked(7, "a");
        assert_eq!(all.want("a", Qos::AtMostOnce, second), None);
        assert!(second_hears.try_recv().is_err(), "nobody is told before the printer has answered");
        assert_eq!(all.handle_answer(7, Some(Qos::AtMostOnce)), None);
        assert_eq!(first_hears.try_recv().unwrap(), granted(Qos::AtMostOnce));
        assert_eq!(second_hears.try_recv().unwrap(), granted(Qos::AtMostOnce));
        let (third, mut third_hears) = waiter();
        assert_eq!(all.want("a", Qos::AtLeastOnce, third), Some(Qos::AtLeastOnce), "a better one is asked for");
        all.handle_asked(8, "a");
        assert_eq!(all.handle_answer(8, Some(Qos::AtLeastOnce)), None);
        assert_eq!(third_hears.try_recv().unwrap(), granted(Qos::AtLeastOnce));
        assert_eq!((all.release("a"), all.release("a"), all.release("a")), (false, false, true));
        assert!(!all.release("a"));
    }

    #[test]
    fn refusals_and_impatience_leave_nothing_behind() {
        let mut all = Subscriptions::default();
        let (refused, mut hears) = waiter();
        assert!(all.want("a", Qos::AtMostOnce, refused).is_some());
        all.handle_asked(1, "a");
        assert_eq!(all.handle_answer(1, None), None);
        assert!(hears.try_recv().unwrap().is_err());
        let (gone, hears) = waiter();
        assert!(all.want("a", Qos::AtMostOnce, gone).is_some());
        all.handle_asked(2, "a");
        drop(hears);
        assert_eq!(all.handle_answer(2, Some(Qos::AtMostOnce)), Some("a".to_owned()));
        assert!(all.by_filter.is_empty() && all.filters_by_packet_id.is_empty());
        for number in 0..MAX_FILTERS {
            assert!(all.want(&number.to_string(), Qos::AtMostOnce, waiter().0).is_some());
        }
        assert_eq!(all.want("more", Qos::AtMostOnce, waiter().0), None);
    }
}
