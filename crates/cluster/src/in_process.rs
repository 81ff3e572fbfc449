//! The directory of a single node.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use model::PrinterId;
use parking_lot::RwLock;

use crate::{Directory, Finding, Registration, Whereabouts};

/// An agent that lost its link comes back within this time, if it comes back by itself.
const RECENTLY: Duration = Duration::from_secs(120);
/// Lost links are forgotten when this many have piled up and are old.
const PRUNE_ABOVE: usize = 1024;

/// Links in a map.
#[derive(Debug)]
pub struct InProcess<L> {
    state: RwLock<State<L>>,
}

#[derive(Debug)]
struct State<L> {
    links_by_printer: HashMap<PrinterId, (Registration, L)>,
    lost_at_by_printer: HashMap<PrinterId, Instant>,
    last_registration: u64,
}

impl<L> Default for InProcess<L> {
    fn default() -> Self {
        let state =
            State { links_by_printer: HashMap::new(), lost_at_by_printer: HashMap::new(), last_registration: 0 };
        Self { state: RwLock::new(state) }
    }
}

impl<L: Clone + Send + Sync> Directory<L> for InProcess<L> {
    fn find<'a>(&'a self, printer: &'a PrinterId) -> Finding<'a, L> {
        let state = self.state.read();
        let whereabouts = match state.links_by_printer.get(printer) {
            Some((_, link)) => Whereabouts::Here(link.clone()),
            None => {
                let lost_recently = state.lost_at_by_printer.get(printer).is_some_and(|at| at.elapsed() < RECENTLY);
                Whereabouts::Nowhere { lost_recently }
            }
        };
        Box::pin(std::future::ready(Ok(whereabouts)))
    }

    fn register(&self, printer: &PrinterId, link: L) -> (Registration, Option<L>) {
        let mut state = self.state.write();
        state.last_registration += 1;
        let registration = Registration(state.last_registration);
        state.lost_at_by_printer.remove(printer);
        let replaced = state.links_by_printer.insert(printer.clone(), (registration, link));
        (registration, replaced.map(|(_, link)| link))
    }

    fn remove(&self, printer: &PrinterId, registration: Registration) {
        let mut state = self.state.write();
        if state.links_by_printer.get(printer).is_some_and(|(current, _)| *current == registration) {
            state.links_by_printer.remove(printer);
            if state.lost_at_by_printer.len() >= PRUNE_ABOVE {
                state.lost_at_by_printer.retain(|_, at| at.elapsed() < RECENTLY);
            }
            state.lost_at_by_printer.insert(printer.clone(), Instant::now());
        }
    }

    fn links_here(&self) -> Vec<(PrinterId, L)> {
        let state = self.state.read();
        state.links_by_printer.iter().map(|(printer, (_, link))| (printer.clone(), link.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_old_links_end_does_not_remove_the_new_one() {
        let directory = InProcess::default();
        let printer = PrinterId::generate();
        let nowhere = Whereabouts::Nowhere { lost_recently: false };
        assert_eq!(directory.find(&printer).await.ok(), Some(nowhere));
        let (old, replaced) = directory.register(&printer, "old");
        assert_eq!(replaced, None);
        let (new, replaced) = directory.register(&printer, "new");
        assert_eq!(replaced, Some("old"));
        directory.remove(&printer, old);
        assert_eq!(directory.find(&printer).await.ok(), Some(Whereabouts::Here("new")));
        directory.remove(&printer, new);
        let lost = Whereabouts::Nowhere { lost_recently: true };
        assert_eq!(directory.find(&printer).await.ok(), Some(lost));
        assert!(directory.links_here().is_empty());
    }
}
