//! Times are milliseconds since 1970 in the tables.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Times before 1970 or beyond the year 292 million become the nearest that fits: a clock that far off is the
/// operator's to notice, and must not make a write fail.
pub(crate) fn to_milliseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |milliseconds| -milliseconds),
    }
}

pub(crate) fn from_milliseconds(milliseconds: i64) -> SystemTime {
    let distance = Duration::from_millis(milliseconds.unsigned_abs());
    let time = if milliseconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}
