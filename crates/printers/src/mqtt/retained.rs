//! What the printer keeps for later subscribers, kept here too: it sends that only to the first subscription.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Message, topic};

/// Topics; printers keep a handful.
const MAX_TOPICS: usize = 1024;
/// Bytes of topics and payloads together.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The newest kept message of each topic.
#[derive(Default)]
pub(super) struct Retained {
    messages_by_topic: BTreeMap<String, Arc<Message>>,
    n_bytes: usize,
}

impl Retained {
    /// Takes a message of the printer's into account. Beyond the limits new topics are not kept.
    pub(super) fn handle_message(&mut self, message: &Arc<Message>) {
        let known = self.messages_by_topic.contains_key(&message.topic);
        // The printer says that it keeps a message only when it sends it late. What it publishes on the same topic
        // afterwards is the newer one.
        if !known && !message.retain {
            return;
        }
        if let Some(old) = self.messages_by_topic.remove(&message.topic) {
            self.n_bytes -= size(&old);
        }
        if message.payload.is_empty()
            || self.messages_by_topic.len() >= MAX_TOPICS
            || self.n_bytes + size(message) > MAX_BYTES
        {
            return;
        }
        self.n_bytes += size(message);
        let kept = Message { retain: true, ..(**message).clone() };
        self.messages_by_topic.insert(message.topic.clone(), Arc::new(kept));
    }

    /// The kept messages that a filter matches.
    pub(super) fn matching(&self, filter: &str) -> Vec<Arc<Message>> {
        let matching = self.messages_by_topic.iter().filter(|(name, _)| topic::matches(filter, name));
        matching.map(|(_, message)| Arc::clone(message)).collect()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn size(message: &Message) -> usize {
    message.topic.len() + message.payload.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mqtt_protocol_core::mqtt::packet::Qos;

    use super::*;

    fn message(topic: &str, length: usize, retain: bool) -> Arc<Message> {
        let payload = Bytes::from(vec![b'x'; length]);
        Arc::new(Message { topic: topic.to_owned(), payload, qos: Qos::AtMostOnce, retain })
    }

    #[test]
    fn late_subscribers_get_the_newest() {
        let mut retained = Retained::default();
        retained.handle_message(&message("a/live", 3, false));
        retained.handle_message(&message("a/kept", 3, true));
        retained.handle_message(&message("a/kept", 4, false));
        let found = retained.matching("a/+");
        assert_eq!(found.iter().map(|found| (found.payload.len(), found.retain)).collect::<Vec<_>>(), [(4, true)]);
        retained.handle_message(&message("a/kept", 0, true));
        assert!(retained.matching("#").is_empty() && retained.n_bytes == 0);
    }

    #[test]
    fn it_is_bounded() {
        let mut retained = Retained::default();
        for number in 0..MAX_TOPICS + 10 {
            retained.handle_message(&message(&format!("t/{number}"), 1, true));
        }
        assert_eq!(retained.matching("#").len(), MAX_TOPICS);
        retained.clear();
        for number in 0..10 {
            retained.handle_message(&message(&format!("t/{number}"), MAX_BYTES / 4, true));
        }
        assert_eq!(retained.matching("#").len(), 3);
        assert!(retained.n_bytes <= MAX_BYTES);
    }
}
