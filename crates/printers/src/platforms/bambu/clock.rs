//! How long a print has taken, and how long it will go on, in between what the printer says of it.

use std::time::{Duration, Instant};

/// Percent that a print may fall back by; further back it is another print of the same name.
const FALL_BACK: f64 = 5.0;
/// The printer tells the time left in minutes.
const MINUTE: u64 = 60;
/// Longer than any print, and far from where sums overflow.
const MAX_MINUTES: u64 = 1_000_000;

/// What there is to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Activity {
    /// There is no print.
    #[default]
    Nothing,
    /// A print gets ready: it takes time, and the guess of the time left does not move.
    Preparing,
    /// A print goes on.
    Running,
    /// A print waits.
    Waiting,
    /// A print has ended.
    Ended,
}

/// The agent's own clock of a print; the printer has none.
#[derive(Debug, Default)]
pub(super) struct PrintClock {
    print: Option<Print>,
    /// Whether anything has been seen yet. A print that is there at the first look began before it.
    has_looked: bool,
}

#[derive(Debug)]
struct Print {
    name: String,
    progress: Option<f64>,
    /// `None` where its beginning was not seen.
    took: Option<Duration>,
    looked: Instant,
    counts: bool,
    has_ended: bool,
}

impl PrintClock {
    /// A look; returns how many seconds the print has taken, if that is known. `name` and `progress`, in percent, tell
    /// one print from the next.
    pub(super) fn handle(
        &mut self,
        activity: Activity,
        name: &str,
        progress: Option<f64>,
        now: Instant,
    ) -> Option<u64> {
        let had_looked = std::mem::replace(&mut self.has_looked, true);
        if let Some(print) = &mut self.print {
            if print.counts {
                print.took = print.took.map(|took| took + now.saturating_duration_since(print.looked));
            }
            print.looked = now;
        }
        let is_another = |print: &Print| {
            let fell_back =
                progress.zip(print.progress).is_some_and(|(progress, before)| progress + FALL_BACK < before);
            print.has_ended || print.name != name || fell_back
        };
        match activity {
            Activity::Nothing => self.print = None,
            Activity::Ended => {
                self.print = self.print.take().filter(|print| print.name == name);
                if let Some(print) = &mut self.print {
                    (print.counts, print.has_ended) = (false, true);
                }
            }
            Activity::Preparing | Activity::Running | Activity::Waiting => {
                let known = self.print.take().filter(|print| !is_another(print));
                let took = had_looked.then_some(Duration::ZERO);
                let begun =
                    || Print { name: name.to_owned(), progress, took, looked: now, counts: false, has_ended: false };
                let print = self.print.insert(known.unwrap_or_else(begun));
                print.progress = progress.or(print.progress);
                print.counts = activity != Activity::Waiting;
            }
        }
        self.print.as_ref()?.took.map(|took| took.as_secs())
    }

    /// Somebody else remembers how long the print that is now had taken.
    pub(super) fn recall(&mut self, took: Duration) {
        if let Some(print) = &mut self.print {
            print.took = print.took.or(Some(took));
        }
    }
}

/// Counts the time left down while the printer's number of minutes stays the same.
#[derive(Debug, Default)]
pub(super) struct Countdown {
    minutes: Option<u64>,
    passed: Duration,
    looked: Option<Instant>,
    activity: Activity,
}

impl Countdown {
    /// A look, with what the printer says; returns the seconds left.
    pub(super) fn handle(&mut self, minutes: Option<f64>, activity: Activity, now: Instant) -> Option<u64> {
        let minutes =
            minutes.filter(|minutes| (0.0..=MAX_MINUTES as f64).contains(minutes)).map(|minutes| minutes as u64);
        let since = self.looked.map_or(Duration::ZERO, |looked| now.saturating_duration_since(looked));
        if minutes != self.minutes {
            (self.minutes, self.passed) = (minutes, Duration::ZERO);
        } else if self.activity == Activity::Running {
            self.passed += since;
        }
        (self.looked, self.activity) = (Some(now), activity);
        // Past the minute the printer's guess has grown, and only the printer knows by how much.
        Some((minutes? * MINUTE).saturating_sub(self.passed.as_secs().min(MINUTE - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::Activity::*;
    use super::*;

    #[test]
    fn a_print_takes_as_long_as_it_does_not_wait() {
        let start = Instant::now();
        let mut clock = PrintClock::default();
        let mut at = |seconds: u64, activity, name: &str, progress| {
            clock.handle(activity, name, Some(progress), start + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, Nothing, "", 0.0), None);
        assert_eq!(at(10, Preparing, "a", 0.0), Some(0));
        assert_eq!(at(70, Running, "a", 1.0), Some(60));
        assert_eq!(at(100, Waiting, "a", 40.0), Some(90));
        assert_eq!(at(900, Waiting, "a", 40.0), Some(90));
        assert_eq!(at(1000, Running, "a", 38.0), Some(90), "it waited to the last");
        assert_eq!(at(1010, Ended, "a", 100.0), Some(100));
        assert_eq!(at(5000, Ended, "a", 100.0), Some(100));
        assert_eq!(at(5001, Running, "a", 0.0), Some(0), "the same file again");
        assert_eq!(at(5061, Running, "a", 50.0), Some(60));
        assert_eq!(at(5062, Running, "a", 2.0), Some(0), "again, while nobody looked");
        assert_eq!(at(5072, Running, "b", 2.0), Some(0));
        assert_eq!(at(5073, Ended, "c", 2.0), None);
        assert_eq!(at(5074, Nothing, "c", 2.0), None);
    }

    #[test]
    fn a_print_that_was_there_before_takes_what_is_remembered() {
        let start = Instant::now();
        let mut clock = PrintClock::default();
        assert_eq!(clock.handle(Running, "a", None, start), None);
        clock.recall(Duration::from_secs(500));
        assert_eq!(clock.handle(Running, "a", Some(1.0), start + Duration::from_secs(5)), Some(505));
        clock.recall(Duration::from_secs(7));
        assert_eq!(clock.handle(Running, "a", None, start), Some(505), "clocks that go back stand still");
    }

    #[test]
    fn minutes_are_counted_down_while_it_prints() {
        let start = Instant::now();
        let mut left = Countdown::default();
        let mut at = |seconds, minutes, activity| left.handle(minutes, activity, start + Duration::from_secs(seconds));
        assert_eq!(at(0, None, Running), None);
        assert_eq!(at(1, Some(90.0), Preparing), Some(5400));
        assert_eq!(at(300, Some(90.0), Running), Some(5400), "it got ready");
        assert_eq!(at(320, Some(90.0), Running), Some(5380));
        assert_eq!(at(321, Some(89.0), Running), Some(5340));
        assert_eq!(at(1000, Some(89.0), Waiting), Some(5281));
        assert_eq!(at(1001, Some(0.0), Running), Some(0));
        for wrong in [-1.0, f64::MAX, f64::NAN] {
            assert_eq!(at(1002, Some(wrong), Running), None, "{wrong}");
        }
    }
}
