//! What a printer's heaters measured lately.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use model::printing::{MAX_PARTS, Temperature};

/// How far back it goes. A print's trouble shows in minutes, and what is older nobody scrolls to.
pub(crate) const KEPT: Duration = Duration::from_secs(30 * 60);
/// The time between two samples; a screen has no more points for half an hour.
pub(crate) const STEP: Duration = Duration::from_secs(5);
/// What fits into [`KEPT`].
const MAX_SAMPLES: usize = (KEPT.as_secs() / STEP.as_secs()) as usize + 1;

/// What a printer's heaters measured at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct TemperatureSample {
    /// When.
    pub at: SystemTime,
    /// Each heater.
    pub temperatures: Vec<Temperature>,
}

/// Samples of one printer, oldest first.
///
/// Names are kept once and not for each sample, which is most of what samples of ten thousand printers would cost.
#[derive(Debug, Default)]
pub(crate) struct History {
    names: Vec<String>,
    times: VecDeque<SystemTime>,
    /// One for each name and time, those of one time beside each other.
    readings: VecDeque<Option<Reading>>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    actual: f32,
    target: f32,
}

impl History {
    /// The heaters measure this at `now`. Within [`STEP`] of the last sample it takes that one's place.
    pub(crate) fn handle_reading(&mut self, temperatures: &[Temperature], now: SystemTime) {
        let temperatures = temperatures.get(..MAX_PARTS).unwrap_or(temperatures);
        if temperatures.is_empty() {
            return;
        }
        self.forget_old(now);
        if !self.names.iter().eq(temperatures.iter().map(|temperature| &temperature.name)) {
            self.rename(temperatures.iter().map(|temperature| temperature.name.clone()).collect());
        }
        let replaces_last =
            self.times.back().is_some_and(|last| now.duration_since(*last).is_ok_and(|since_last| since_last < STEP));
        if replaces_last {
            self.readings.truncate(self.readings.len() - self.names.len());
        } else {
            self.times.push_back(now);
        }
        self.readings.extend(
            temperatures
                .iter()
                .map(|temperature| Some(Reading { actual: temperature.actual, target: temperature.target })),
        );
        if self.times.len() > MAX_SAMPLES {
            self.forget_first();
        }
    }

    /// What is known at `now`.
    pub(crate) fn samples(&mut self, now: SystemTime) -> Vec<TemperatureSample> {
        self.forget_old(now);
        let width = self.names.len();
        let sample = |(row, at): (usize, &SystemTime)| {
            let readings = self.readings.range(row * width..(row + 1) * width);
            let temperatures = self.names.iter().zip(readings).filter_map(|(name, reading)| {
                reading.map(|Reading { actual, target }| Temperature { name: name.clone(), actual, target })
            });
            TemperatureSample { at: *at, temperatures: temperatures.collect() }
        };
        self.times.iter().enumerate().map(sample).collect()
    }

    /// Drops what is older than [`KEPT`], and what a clock that was set back has left in the future.
    fn forget_old(&mut self, now: SystemTime) {
        while self.times.back().is_some_and(|last| *last > now) {
            self.times.pop_back();
            self.readings.truncate(self.readings.len() - self.names.len());
        }
        while self.times.front().is_some_and(|first| now.duration_since(*first).is_ok_and(|age| age > KEPT)) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        self.times.pop_front();
        self.readings.drain(..self.names.len());
    }

    /// Heaters came or went: what is known of those that stay is kept.
    fn rename(&mut self, names: Vec<String>) {
        let width = self.names.len();
        let columns: Vec<Option<usize>> =
            names.iter().map(|name| self.names.iter().position(|known| known == name)).collect();
        let old = &self.readings;
        let readings = (0..self.times.len())
            .flat_map(|row| columns.iter().map(move |column| column.and_then(|column| old[row * width + column])))
            .collect();
        self.readings = readings;
        self.names = names;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn temperature(name: &str, actual: f32) -> Temperature {
        Temperature { name: name.to_owned(), actual, target: 0.0 }
    }

    #[test]
    fn the_latest_of_each_step_is_kept() {
        let mut history = History::default();
        for second in 0..12 {
            history.handle_reading(&[temperature("bed", second as f32)], at(second));
        }
        let kept: Vec<_> = history.samples(at(12)).iter().map(|sample| sample.temperatures[0].actual).collect();
        assert_eq!(kept, [4.0, 9.0, 11.0]);
        assert_eq!(history.samples(at(12))[0].at, at(0));
    }

    #[test]
    fn heaters_that_come_and_go_keep_what_is_theirs() {
        let mut history = History::default();
        history.handle_reading(&[temperature("bed", 1.0), temperature("hotend", 2.0)], at(0));
        history.handle_reading(&[temperature("chamber", 3.0), temperature("bed", 4.0)], at(10));
        let samples = history.samples(at(10));
        assert_eq!(samples[0].temperatures, [temperature("bed", 1.0)]);
        assert_eq!(samples[1].temperatures, [temperature("chamber", 3.0), temperature("bed", 4.0)]);
    }

    proptest! {
        /// Whatever an agent sends and however the clock jumps: never more than fits, in order, none too old.
        #[test]
        fn it_stays_bounded_and_in_order(
            readings in proptest::collection::vec((-100i64..2000, proptest::collection::vec("[a-c]{0,2}", 0..12)), 0..600)
        ) {
            let mut history = History::default();
            let mut seconds = 100_000i64;
            for (elapsed, names) in readings {
                seconds += if elapsed > 1900 { elapsed } else { elapsed.min(20) };
                let now = at(seconds.unsigned_abs());
                let temperatures: Vec<_> = names.iter().map(|name| temperature(name, 1.0)).collect();
                history.handle_reading(&temperatures, now);
                let samples = history.samples(now);
                prop_assert!(samples.len() <= MAX_SAMPLES);
                prop_assert_eq!(history.readings.len(), history.times.len() * history.names.len());
                prop_assert!(samples.iter().all(|sample| sample.temperatures.len() <= MAX_PARTS));
                prop_assert!(samples.windows(2).all(|pair| pair[1].at >= pair[0].at + STEP));
                prop_assert!(samples.iter().all(|sample| sample.at <= now && sample.at + KEPT >= now));
            }
        }
    }
}
