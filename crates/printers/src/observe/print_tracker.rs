//! Tells one print from the next.
//!
//! Printers' software has no name for a print that all of it shares, and people start the same file again. What is
//! kept on the disk lets an agent that was restarted in the middle recognise the print.

use std::time::{SystemTime, UNIX_EPOCH};

use model::RequestId;
use model::printing::{Phase, PrinterCommand, PrinterState};
use serde::{Deserialize, Serialize};

/// Software counts seconds with roundings of its own; less than this back is no new print.
const COUNTING_ERROR: u64 = 5;
/// A print that began this much earlier or later than the one before the agent's restart is another one.
const SAME_BEGINNING: u64 = 120;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Print {
    id: String,
    file: Option<String>,
    /// When it would have begun had it never been paused, in seconds since 1970.
    began: u64,
    paused: bool,
    ended: bool,
}

/// Knows the print that is under way or was the last.
#[derive(Debug, Default)]
pub(crate) struct PrintTracker {
    print: Option<Print>,
    /// The same, and it stays when the printer has forgotten its print.
    last: Option<(String, u64)>,
    /// How long it had been printing when it was last seen; unknown after a restart.
    seconds: Option<u64>,
}

impl PrintTracker {
    /// Goes on from what was kept, if it can be read.
    pub(crate) fn restore(kept: &[u8]) -> Self {
        let print: Option<Print> = serde_json::from_slice(kept).ok();
        Self { last: print.as_ref().map(|print| (print.id.clone(), print.began)), print, seconds: None }
    }

    /// What to keep over a restart.
    pub(crate) fn kept(&self) -> Vec<u8> {
        serde_json::to_vec(&self.print).unwrap_or_default()
    }

    /// The id of the print that is under way or was the last, and when it began, in seconds since 1970.
    pub(crate) fn last(&self) -> Option<(String, u64)> {
        self.last.clone()
    }

    /// Gives the state its print's id. Returns whether there is something new to keep.
    pub(crate) fn handle_state(&mut self, state: &mut PrinterState, now: SystemTime) -> bool {
        let before = self.print.clone();
        state.print_id = match state.phase {
            // Nothing is known, so nothing has ended.
            Phase::Unknown => return false,
            Phase::Idle => {
                self.print = None;
                None
            }
            Phase::Complete | Phase::Cancelled | Phase::Error => {
                // Another file's end was missed by an agent that was not there.
                let is_its_end = |print: &&mut Print| state.file.is_none() || state.file == print.file;
                // A fault that somebody can see to has not ended the print.
                let goes_on = state.phase == Phase::Error && state.commands.contains(&PrinterCommand::Cancel);
                self.print.as_mut().filter(is_its_end).map(|print| {
                    print.ended |= !goes_on;
                    print.id.clone()
                })
            }
            _ => Some(self.under_way(state, now)),
        };
        let without_time = |print: &Option<Print>| print.clone().map(|print| Print { began: 0, ..print });
        without_time(&before) != without_time(&self.print)
    }

    fn under_way(&mut self, state: &PrinterState, now: SystemTime) -> String {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let counted = state.seconds_printing.map(|seconds| now.saturating_sub(seconds));
        let paused = state.phase == Phase::Paused;
        let known = self.print.take().filter(|print| {
            let again = match (self.seconds, state.seconds_printing) {
                (Some(before), Some(seconds)) => seconds.saturating_add(COUNTING_ERROR) < before,
                // Seen for the first time since a restart: pauses move the beginning, as long as they last.
                (None, Some(_)) => {
                    let is_elsewhere = counted.is_some_and(|began| print.began.abs_diff(began) > SAME_BEGINNING);
                    !(print.paused && paused) && is_elsewhere
                }
                (_, None) => false,
            };
            !print.ended && print.file == state.file && !again
        });
        // Where nobody counts, it began when it was first seen.
        let began = counted.or(known.as_ref().map(|print| print.began)).unwrap_or(now);
        let id = known.map_or_else(|| RequestId::generate().as_str().to_owned(), |print| print.id);
        self.seconds = state.seconds_printing.or(self.seconds);
        // The beginning moves with pauses; the first one seen is when somebody pressed the button.
        if self.last.as_ref().is_none_or(|(last, _)| *last != id) {
            self.last = Some((id.clone(), began));
        }
        self.print = Some(Print { id: id.clone(), file: state.file.clone(), began, paused, ended: false });
        id
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn see(tracker: &mut PrintTracker, phase: Phase, file: &str, seconds: u64, now: u64) -> Option<String> {
        let mut state = PrinterState {
            phase,
            file: Some(file.to_owned()),
            seconds_printing: Some(seconds),
            ..PrinterState::default()
        };
        tracker.handle_state(&mut state, at(now));
        state.print_id
    }

    #[test]
    fn a_print_keeps_its_id_to_its_end() {
        let mut tracker = PrintTracker::default();
        let id = see(&mut tracker, Phase::WarmingUp, "a", 0, 0);
        assert!(id.is_some());
        for (phase, seconds, now) in [
            (Phase::Printing, 10, 10),
            (Phase::Paused, 10, 500),
            (Phase::Resuming, 10, 600),
            (Phase::Printing, 20, 610),
            (Phase::Complete, 20, 700),
            (Phase::Complete, 20, 9000),
        ] {
            assert_eq!(see(&mut tracker, phase, "a", seconds, now), id, "{phase}");
        }
        assert_eq!(see(&mut tracker, Phase::Unknown, "a", 0, 9001), None);
        assert_ne!(see(&mut tracker, Phase::Printing, "a", 0, 9002), id, "the same file again is another print");
        assert_eq!(see(&mut tracker, Phase::Idle, "a", 0, 9003), None);
        assert_eq!(see(&mut tracker, Phase::Error, "a", 0, 9004), None);
    }

    #[test]
    fn a_printer_that_was_away_goes_on_with_its_print() {
        let mut tracker = PrintTracker::default();
        let id = see(&mut tracker, Phase::Printing, "a", 50, 50);
        see(&mut tracker, Phase::Unknown, "", 0, 60);
        assert_eq!(see(&mut tracker, Phase::Printing, "a", 80, 80), id);
        assert_ne!(see(&mut tracker, Phase::Printing, "a", 3, 90), id, "it began anew while nobody looked");
        let id = see(&mut tracker, Phase::Printing, "a", 4, 91);
        assert_ne!(see(&mut tracker, Phase::Printing, "b", 5, 92), id);
    }

    #[test]
    fn a_restarted_agent_recognises_the_print() {
        let mut tracker = PrintTracker::default();
        let id = see(&mut tracker, Phase::Printing, "a", 50, 50);
        let kept = tracker.kept();
        assert_eq!(see(&mut PrintTracker::restore(&kept), Phase::Printing, "a", 150, 150), id);
        assert_ne!(see(&mut PrintTracker::restore(&kept), Phase::Printing, "a", 50, 5000), id);
        assert_ne!(see(&mut PrintTracker::restore(&kept), Phase::Printing, "b", 150, 150), id);
        see(&mut tracker, Phase::Paused, "a", 60, 60);
        assert_eq!(see(&mut PrintTracker::restore(&tracker.kept()), Phase::Paused, "a", 60, 90_000), id);
        assert_eq!(see(&mut PrintTracker::restore(&kept), Phase::Complete, "a", 150, 150), id);
        assert_eq!(see(&mut PrintTracker::restore(&kept), Phase::Complete, "b", 150, 150), None);
        for damaged in [&b""[..], b"null", b"{", b"[1]"] {
            assert!(see(&mut PrintTracker::restore(damaged), Phase::Printing, "a", 1, 1).is_some());
        }
    }

    #[test]
    fn a_print_of_which_nobody_knows_how_long_it_took_keeps_its_beginning() {
        let mut tracker = PrintTracker::default();
        let id = see(&mut tracker, Phase::Printing, "a", 0, 50);
        let mut restarted = PrintTracker::restore(&tracker.kept());
        let mut unknown =
            PrinterState { phase: Phase::Printing, file: Some("a".to_owned()), ..PrinterState::default() };
        restarted.handle_state(&mut unknown, at(5000));
        assert_eq!((unknown.print_id, restarted.last().unwrap().1), (id.clone(), 1_000_050));
        assert_eq!(see(&mut restarted, Phase::Printing, "a", 4951, 5001), id);
    }

    #[test]
    fn a_fault_that_somebody_can_see_to_does_not_end_a_print() {
        let mut tracker = PrintTracker::default();
        let id = see(&mut tracker, Phase::Printing, "a", 0, 0);
        for (commands, is_same) in [(vec![PrinterCommand::Cancel], true), (vec![], false)] {
            let file = Some("a".to_owned());
            let mut fault = PrinterState { phase: Phase::Error, file, commands, ..PrinterState::default() };
            tracker.handle_state(&mut fault, at(10));
            assert_eq!(fault.print_id, id);
            assert_eq!(see(&mut tracker, Phase::Printing, "a", 20, 20) == id, is_same);
        }
    }

    #[test]
    fn only_what_is_new_has_to_be_kept() {
        let mut tracker = PrintTracker::default();
        let mut state = PrinterState { phase: Phase::Printing, seconds_printing: Some(1), ..PrinterState::default() };
        assert!(tracker.handle_state(&mut state, at(1)));
        state.seconds_printing = Some(2);
        assert!(!tracker.handle_state(&mut state, at(3)));
        state.phase = Phase::Paused;
        assert!(tracker.handle_state(&mut state, at(4)));
    }
}
