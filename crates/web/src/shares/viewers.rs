//! How many strangers watch a printer's cameras at once.

use std::collections::HashMap;
use std::sync::Arc;

use model::PrinterId;
use parking_lot::Mutex;

/// Strangers who watch one printer: more moving pictures than that no uplink at home carries.
const MAX_VIEWERS: usize = 20;

/// Counts those who watch by Live Links. Clones share the count.
#[derive(Clone, Default)]
pub struct Viewers(Arc<Mutex<HashMap<PrinterId, usize>>>);

/// Somebody who watches, until it is dropped.
pub(crate) struct Place {
    viewers: Viewers,
    printer: PrinterId,
}

impl Viewers {
    /// A place at a printer, if there is one left.
    pub(crate) fn enter(&self, printer: &PrinterId) -> Option<Place> {
        let mut viewers = self.0.lock();
        let count = viewers.entry(printer.clone()).or_default();
        if *count >= MAX_VIEWERS {
            return None;
        }
        *count += 1;
        Some(Place { viewers: self.clone(), printer: printer.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut viewers = self.viewers.0.lock();
        if let Some(count) = viewers.get_mut(&self.printer) {
            *count -= 1;
            if *count == 0 {
                viewers.remove(&self.printer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_some_and_leaving_makes_room() {
        let (viewers, printer) = (Viewers::default(), PrinterId::generate());
        let mut places: Vec<Place> = std::iter::from_fn(|| viewers.enter(&printer)).collect();
        assert_eq!(places.len(), MAX_VIEWERS);
        assert!(viewers.enter(&PrinterId::generate()).is_some(), "another printer");
        places.pop();
        assert!(viewers.enter(&printer).is_some());
        drop(places);
        assert!(viewers.0.lock().is_empty());
    }
}
