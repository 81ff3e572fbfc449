//! Who hears what a printer publishes, and how far behind they may fall.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Message;
use crate::platforms::CommandFailure;

/// Events that may wait for one listener.
const MAX_WAITING: usize = 1024;
/// Bytes of messages that may wait for one listener. A printer publishes some kilobytes a second.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// What happens at a printer's broker.
#[derive(Clone, Debug)]
pub(crate) enum BrokerEvent {
    /// The connection is there, without any subscription.
    Connected,
    /// It is gone, with its subscriptions.
    Disconnected(CommandFailure),
    /// The printer has published something.
    Message(Arc<Message>),
}

/// Hears everything that the printer publishes to anybody's subscription.
///
/// One that falls too far behind is cut off: to leave messages out would make a state of it that never was.
pub(crate) struct Listener {
    events: mpsc::Receiver<BrokerEvent>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Listener {
    /// The next event; `None` after it was cut off.
    pub(crate) async fn next(&mut self) -> Option<BrokerEvent> {
        let event = self.events.recv().await?;
        if let BrokerEvent::Message(message) = &event {
            self.waiting_bytes.fetch_sub(message.payload.len(), Ordering::Relaxed);
        }
        Some(event)
    }
}

struct Slot {
    events: mpsc::Sender<BrokerEvent>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// All listeners of a broker.
#[derive(Default)]
pub(super) struct Listeners {
    slots: Mutex<Vec<Slot>>,
}

impl Listeners {
    pub(super) fn add(&self) -> Listener {
        let (sender, events) = mpsc::channel(MAX_WAITING);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        self.slots.lock().push(Slot { events: sender, waiting_bytes: Arc::clone(&waiting_bytes) });
        Listener { events, waiting_bytes }
    }

    pub(super) fn tell(&self, event: &BrokerEvent) {
        self.slots.lock().retain(|slot| {
            if let BrokerEvent::Message(message) = event {
                let length = message.payload.len();
                if slot.waiting_bytes.fetch_add(length, Ordering::Relaxed) + length > MAX_WAITING_BYTES {
                    return false;
                }
            }
            slot.events.try_send(event.clone()).is_ok()
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use bytes::Bytes;
    use mqtt_protocol_core::mqtt::packet::Qos;

    use super::*;

    #[tokio::test]
    async fn who_falls_behind_is_cut_off_and_nobody_else() {
        let listeners = Listeners::default();
        let (mut slow, mut quick) = (listeners.add(), listeners.add());
        let payload = Bytes::from(vec![0; MAX_WAITING_BYTES / 2]);
        let message = Message { topic: "a".to_owned(), payload, qos: Qos::AtMostOnce, retain: false };
        let event = BrokerEvent::Message(Arc::new(message));
        for _ in 0..3 {
            listeners.tell(&event);
            assert!(matches!(quick.next().await, Some(BrokerEvent::Message(_))));
        }
        assert_eq!(listeners.slots.lock().len(), 1);
        for _ in 0..2 {
            assert!(slow.next().await.is_some());
        }
        assert!(slow.next().await.is_none(), "it is told that something is missing");
        for _ in 0..MAX_WAITING + 1 {
            listeners.tell(&BrokerEvent::Connected);
        }
        assert!(listeners.slots.lock().is_empty());
    }
}
