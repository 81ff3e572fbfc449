//! What the virtual printer does, as a pure state machine: commands and the time go in, the state comes out.
//!
//! Time is the span since the printer was switched on. Nothing happens by itself: each call brings the state up to
//! its `now` first, so a printer that nobody looks at costs nothing.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::file_name::FileName;

/// Room temperature, °C.
const AMBIENT: f64 = 21.0;
/// What PLA is printed at, °C.
const HOTEND_TARGET: f64 = 210.0;
/// What PLA sticks to, °C.
const BED_TARGET: f64 = 60.0;
/// A real hot end takes a minute. Here people are watching, so most of the way takes this long.
const HOTEND_TIME_CONSTANT: f64 = 4.0;
/// The bed is heavier.
const BED_TIME_CONSTANT: f64 = 8.0;
/// Closer to its target than this a heater counts as settled: it is what the state shows, rounded.
const SETTLED: f64 = 0.05;
/// Made up, so that there are layers to be seen: a small part has some ten thousand lines.
const LINES_PER_LAYER: u64 = 200;
/// As many as a high print has.
const MAX_LAYERS: u64 = 1000;

/// How fast G-code is worked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrintSpeed {
    /// Whatever the lines contain.
    BytesPerSecond(u64),
    /// However long the lines are.
    LinesPerSecond(u64),
}

/// What is known of a file to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gcode {
    pub(super) name: FileName,
    pub(super) bytes: u64,
    pub(super) lines: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Phase {
    Idle,
    Printing,
    Paused,
    Finished,
    Cancelled,
}

/// A command that does not fit the state.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum CommandError {
    #[error("a print is under way; cancel it first")]
    Busy,
    #[error("nothing is being printed")]
    NotPrinting,
    #[error("the print is not paused")]
    NotPaused,
}

#[derive(Debug)]
pub(super) struct Machine {
    speed: PrintSpeed,
    now: Duration,
    phase: Phase,
    job: Option<Job>,
    hotend: Heater,
    bed: Heater,
    light: bool,
}

#[derive(Debug)]
struct Job {
    file: Gcode,
    printing_for: Duration,
}

#[derive(Debug)]
struct Heater {
    actual: f64,
    target: f64,
    time_constant: f64,
}

impl Machine {
    pub(super) fn new(speed: PrintSpeed) -> Self {
        Self {
            speed,
            now: Duration::ZERO,
            phase: Phase::Idle,
            job: None,
            hotend: Heater { actual: AMBIENT, target: 0.0, time_constant: HOTEND_TIME_CONSTANT },
            bed: Heater { actual: AMBIENT, target: 0.0, time_constant: BED_TIME_CONSTANT },
            light: false,
        }
    }

    /// Whether the state will look different in a moment without anybody doing anything.
    pub(super) fn is_moving(&self) -> bool {
        self.phase == Phase::Printing || !self.hotend.is_settled() || !self.bed.is_settled()
    }

    pub(super) fn is_printing(&self) -> bool {
        self.phase == Phase::Printing
    }

    /// The file that is being printed and must not vanish meanwhile.
    pub(super) fn file_in_use(&self) -> Option<&FileName> {
        let job = self.job.as_ref()?;
        matches!(self.phase, Phase::Printing | Phase::Paused).then_some(&job.file.name)
    }

    pub(super) fn start(&mut self, now: Duration, file: Gcode) -> Result<(), CommandError> {
        self.handle_time(now);
        if self.file_in_use().is_some() {
            return Err(CommandError::Busy);
        }
        self.phase = Phase::Printing;
        self.job = Some(Job { file, printing_for: Duration::ZERO });
        self.heat(HOTEND_TARGET, BED_TARGET);
        Ok(())
    }

    pub(super) fn pause(&mut self, now: Duration) -> Result<(), CommandError> {
        self.handle_time(now);
        if self.phase != Phase::Printing {
            return Err(CommandError::NotPrinting);
        }
        self.phase = Phase::Paused;
        Ok(())
    }

    pub(super) fn resume(&mut self, now: Duration) -> Result<(), CommandError> {
        self.handle_time(now);
        if self.phase != Phase::Paused {
            return Err(CommandError::NotPaused);
        }
        self.phase = Phase::Printing;
        Ok(())
    }

    pub(super) fn cancel(&mut self, now: Duration) -> Result<(), CommandError> {
        self.handle_time(now);
        if self.file_in_use().is_none() {
            return Err(CommandError::NotPrinting);
        }
        self.phase = Phase::Cancelled;
        self.heat(0.0, 0.0);
        Ok(())
    }

    pub(super) fn set_light(&mut self, on: bool) {
        self.light = on;
    }

    pub(super) fn has_light_on(&self) -> bool {
        self.light
    }

    /// Brings the state up to `now`. Times that lie before an earlier one change nothing.
    pub(super) fn handle_time(&mut self, now: Duration) {
        let mut elapsed = now.saturating_sub(self.now);
        self.now = self.now.max(now);
        if self.phase == Phase::Printing
            && let Some(job) = &mut self.job
        {
            let left = job.duration(self.speed).saturating_sub(job.printing_for);
            let printing = elapsed.min(left);
            job.printing_for += printing;
            self.hotend.handle_time(printing);
            self.bed.handle_time(printing);
            if printing == left {
                self.phase = Phase::Finished;
                self.heat(0.0, 0.0);
            }
            elapsed -= printing;
        }
        self.hotend.handle_time(elapsed);
        self.bed.handle_time(elapsed);
    }

    /// What the printer shows of itself.
    pub(super) fn state(&self) -> MachineState {
        MachineState {
            phase: self.phase,
            job: self.job.as_ref().map(|job| job.state(self.speed)),
            temperatures: Temperatures { hotend: self.hotend.state(), bed: self.bed.state() },
            light: self.light,
        }
    }

    /// How much of the job is done, 0 to 1.
    pub(super) fn progress(&self) -> f64 {
        self.job.as_ref().map_or(0.0, |job| job.progress(self.speed))
    }

    fn heat(&mut self, hotend: f64, bed: f64) {
        self.hotend.target = hotend;
        self.bed.target = bed;
    }
}

impl Job {
    /// An empty file still takes a moment, so that there is a print to see.
    const SHORTEST: Duration = Duration::from_millis(100);

    fn duration(&self, speed: PrintSpeed) -> Duration {
        let (amount, per_second) = match speed {
            PrintSpeed::BytesPerSecond(rate) => (self.file.bytes, rate),
            PrintSpeed::LinesPerSecond(rate) => (self.file.lines, rate),
        };
        let seconds = amount as f64 / per_second.max(1) as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).max(Self::SHORTEST)
    }

    fn progress(&self, speed: PrintSpeed) -> f64 {
        self.printing_for.as_secs_f64() / self.duration(speed).as_secs_f64()
    }

    fn state(&self, speed: PrintSpeed) -> JobState {
        let progress = self.progress(speed);
        let duration = self.duration(speed);
        let total_layers = (self.file.lines / LINES_PER_LAYER).clamp(1, MAX_LAYERS);
        JobState {
            file: self.file.name.to_string(),
            bytes: self.file.bytes,
            lines: self.file.lines,
            bytes_printed: (self.file.bytes as f64 * progress) as u64,
            progress: round(progress, 4),
            seconds_printing: round(self.printing_for.as_secs_f64(), 1),
            seconds_left: round(duration.saturating_sub(self.printing_for).as_secs_f64(), 1),
            layer: ((progress * total_layers as f64).ceil() as u64).clamp(1, total_layers),
            total_layers,
        }
    }
}

impl Heater {
    fn rest(&self) -> f64 {
        self.target.max(AMBIENT)
    }

    fn is_settled(&self) -> bool {
        (self.actual - self.rest()).abs() < SETTLED
    }

    /// Newton's law: the difference to where it comes to rest shrinks by the same factor in the same time.
    fn handle_time(&mut self, elapsed: Duration) {
        let remaining = (-elapsed.as_secs_f64() / self.time_constant).exp();
        self.actual = self.rest() + (self.actual - self.rest()) * remaining;
    }

    fn state(&self) -> Temperature {
        let actual = if self.is_settled() { self.rest() } else { self.actual };
        Temperature { actual: round(actual, 1), target: self.target }
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

/// The machine's part of the state as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MachineState {
    #[serde(rename = "state")]
    pub(super) phase: Phase,
    pub(super) job: Option<JobState>,
    pub(super) temperatures: Temperatures,
    pub(super) light: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobState {
    file: String,
    bytes: u64,
    lines: u64,
    bytes_printed: u64,
    progress: f64,
    seconds_printing: f64,
    seconds_left: f64,
    /// From 1.
    layer: u64,
    total_layers: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Temperatures {
    hotend: Temperature,
    bed: Temperature,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Temperature {
    actual: f64,
    target: f64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn gcode(bytes: u64, lines: u64) -> Gcode {
        Gcode { name: "cube.gcode".parse().unwrap(), bytes, lines }
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_print_takes_its_length_at_the_chosen_speed() {
        for (speed, file) in
            [(PrintSpeed::BytesPerSecond(100), gcode(1000, 7)), (PrintSpeed::LinesPerSecond(5), gcode(123_456, 50))]
        {
            let mut machine = Machine::new(speed);
            machine.start(seconds(5.0), file).unwrap();
            machine.handle_time(seconds(10.0));
            assert_eq!(machine.state().job.unwrap().progress, 0.5);
            assert_eq!(machine.phase, Phase::Printing);
            machine.handle_time(seconds(15.0));
            assert_eq!((machine.phase, machine.progress()), (Phase::Finished, 1.0));
        }
    }

    #[test]
    fn a_pause_stops_the_progress_and_a_cancel_ends_it() {
        let mut machine = Machine::new(PrintSpeed::BytesPerSecond(1));
        machine.start(seconds(0.0), gcode(100, 1)).unwrap();
        machine.pause(seconds(10.0)).unwrap();
        machine.handle_time(seconds(1000.0));
        assert_eq!(machine.progress(), 0.1);
        assert!(machine.file_in_use().is_some());
        machine.resume(seconds(1000.0)).unwrap();
        machine.handle_time(seconds(1010.0));
        assert_eq!(machine.progress(), 0.2);
        machine.cancel(seconds(1010.0)).unwrap();
        assert_eq!((machine.phase, machine.file_in_use()), (Phase::Cancelled, None));
        machine.start(seconds(1011.0), gcode(100, 1)).unwrap();
    }

    #[test]
    fn commands_that_do_not_fit_are_refused() {
        let mut machine = Machine::new(PrintSpeed::BytesPerSecond(1));
        let now = seconds(1.0);
        assert_eq!(machine.pause(now), Err(CommandError::NotPrinting));
        assert_eq!(machine.cancel(now), Err(CommandError::NotPrinting));
        assert_eq!(machine.resume(now), Err(CommandError::NotPaused));
        machine.start(now, gcode(100, 1)).unwrap();
        assert_eq!(machine.start(now, gcode(100, 1)), Err(CommandError::Busy));
        assert_eq!(machine.resume(now), Err(CommandError::NotPaused));
        // A print that has run out of G-code meanwhile is over, whether anybody looked or not.
        assert_eq!(machine.pause(seconds(200.0)), Err(CommandError::NotPrinting));
    }

    #[test]
    fn heaters_warm_up_and_come_to_rest() {
        let mut machine = Machine::new(PrintSpeed::BytesPerSecond(1));
        assert!(!machine.is_moving());
        machine.start(seconds(0.0), gcode(100, 1)).unwrap();
        machine.handle_time(seconds(2.0));
        let warming = machine.state().temperatures.hotend.actual;
        assert!(warming > AMBIENT && warming < HOTEND_TARGET, "{warming}");
        machine.handle_time(seconds(100.0));
        assert!(machine.state().temperatures.hotend.actual > 209.0);
        assert!(machine.is_moving(), "it cools down");
        machine.handle_time(seconds(300.0));
        assert_eq!(machine.state().temperatures.hotend.actual, AMBIENT);
        assert!(!machine.is_moving());
    }

    #[test]
    fn looking_often_changes_nothing() {
        let (mut often, mut once) =
            (Machine::new(PrintSpeed::LinesPerSecond(3)), Machine::new(PrintSpeed::LinesPerSecond(3)));
        for machine in [&mut often, &mut once] {
            machine.start(seconds(1.0), gcode(1, 30)).unwrap();
        }
        for step in 0..200 {
            often.handle_time(seconds(1.0 + f64::from(step) / 10.0));
            // A clock that goes back does no harm.
            often.handle_time(seconds(0.5));
        }
        once.handle_time(seconds(1.0 + 19.9));
        assert_eq!(often.state(), once.state());
    }

    #[test]
    fn odd_speeds_and_lengths_are_survived() {
        for (speed, bytes) in [(PrintSpeed::BytesPerSecond(0), u64::MAX), (PrintSpeed::LinesPerSecond(u64::MAX), 0)] {
            let mut machine = Machine::new(speed);
            machine.start(seconds(0.0), gcode(bytes, 0)).unwrap();
            machine.handle_time(Duration::from_secs(u64::MAX));
            assert!((0.0..=1.0).contains(&machine.progress()));
        }
    }
}
