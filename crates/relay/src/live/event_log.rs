//! What happened to printers' prints lately, for their people.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use model::PrinterId;
use model::events::PrintEvent;
use moka::sync::Cache;
use parking_lot::Mutex;

/// Events kept of one printer: those of two prints.
pub(crate) const MAX_EVENTS: usize = 30;
/// Bytes of all printers' events with their pictures. Those that nobody has looked at for longest go first.
const MAX_BYTES: u64 = 64 << 20;
/// Of an event without its picture.
const EVENT_BYTES: usize = 1024;

/// Something that happened to a print.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedEvent {
    /// Where.
    pub printer: PrinterId,
    /// When the service heard of it.
    pub at: SystemTime,
    /// What.
    pub event: PrintEvent,
    /// The printer at that moment: a JPEG that the service has made anew.
    pub picture: Option<Bytes>,
}

type Events = Arc<Mutex<VecDeque<Arc<ReportedEvent>>>>;

/// The last events of each printer.
#[derive(Clone)]
pub(crate) struct EventLog(Cache<PrinterId, Events>);

impl Default for EventLog {
    fn default() -> Self {
        let weigher = |_: &PrinterId, events: &Events| {
            let events = events.lock();
            let bytes: usize =
                events.iter().map(|event| EVENT_BYTES + event.picture.as_ref().map_or(0, Bytes::len)).sum();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(MAX_BYTES).weigher(weigher).build())
    }
}

impl EventLog {
    pub(crate) fn note(&self, event: &Arc<ReportedEvent>) {
        let events = self.0.get(&event.printer).unwrap_or_default();
        {
            let mut events = events.lock();
            if let Some(last) = events.back_mut()
                && last.picture.is_some()
            {
                *last = Arc::new(ReportedEvent { picture: None, ..(**last).clone() });
            }
            if events.len() >= MAX_EVENTS {
                events.pop_front();
            }
            events.push_back(Arc::clone(event));
        }
        // Anew, so that it is weighed anew.
        self.0.insert(event.printer.clone(), events);
    }

    /// Those of a printer, the latest first.
    pub(crate) fn of(&self, printer: &PrinterId) -> Vec<Arc<ReportedEvent>> {
        self.0.get(printer).map(|events| events.lock().iter().rev().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use model::events::EventKind;

    use super::*;

    #[test]
    fn the_latest_are_kept_and_one_picture() {
        let (log, printer) = (EventLog::default(), PrinterId::generate());
        for n in 0..100 {
            let event = PrintEvent { progress: Some(n), ..PrintEvent::new(EventKind::Progress) };
            let picture = Some(Bytes::from_static(b"picture"));
            log.note(&Arc::new(ReportedEvent { printer: printer.clone(), at: SystemTime::now(), event, picture }));
        }
        let events = log.of(&printer);
        assert_eq!((events.len(), events[0].event.progress), (MAX_EVENTS, Some(99)));
        assert_eq!(events.iter().filter(|event| event.picture.is_some()).count(), 1);
        assert!(log.of(&PrinterId::generate()).is_empty());
    }
}
