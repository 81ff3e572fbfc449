//! Times and sizes in words.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment as `datetime` attributes and APIs have it: ISO 8601 in UTC, whole seconds.
pub(crate) fn iso(time: SystemTime) -> String {
    let moment = OffsetDateTime::from(time).truncate_to_second();
    moment.format(&Rfc3339).unwrap_or_default()
}

/// `2 d 3 h`, `1 h 5 min`, `40 s`: two units are enough.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// A size with the unit that suits it.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_scripts_read_them() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_789);
        assert_eq!(iso(time), "2024-02-29T12:34:56Z");
    }

    #[test]
    fn two_units_are_enough() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_900, "1 h 5 min"), (97_200, "1 d 3 h")] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        for (n, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (u64::MAX, "16777216.0 TiB")] {
            assert_eq!(bytes(n), text);
        }
    }
}
