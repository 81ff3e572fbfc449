//! Outcomes, for people and for programs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;

/// What a command has to say, both ways.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) json: String,
    pub(super) text: String,
}

impl Report {
    pub(super) fn new(value: &impl Serialize, text: impl Into<String>) -> Self {
        let json = serde_json::to_string_pretty(value).expect("values of texts and numbers can be written as JSON");
        Self { json, text: text.into() }
    }

    /// A list as a table, or `empty` where there is nothing to list.
    pub(super) fn list<T: Serialize, const N: usize>(
        rows: &[T],
        headings: [&str; N],
        cells: impl Fn(&T) -> [String; N],
        empty: &str,
    ) -> Self {
        if rows.is_empty() {
            return Self::new(&rows, empty);
        }
        let mut lines = vec![headings.map(str::to_owned)];
        lines.extend(rows.iter().map(cells));
        Self::new(&rows, table(&lines))
    }
}

/// Columns as wide as their widest cell, two spaces apart.
fn table<const N: usize>(lines: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (width, cell) in widths.iter().zip(line) {
            let _ = write!(row, "{cell:<width$}  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// Labels and values below each other.
pub(super) fn facts<const N: usize>(facts: [(&str, &str); N]) -> String {
    let lines = facts.map(|(label, value)| [format!("  {label}"), value.to_owned()]);
    table(&lines)
}

/// A time in UTC, to the second.
pub(super) fn time(time: SystemTime) -> String {
    // The format ends with the year 9999, and asking for more is a panic.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let last = SystemTime::UNIX_EPOCH + LAST;
    humantime::format_rfc3339_seconds(time.clamp(SystemTime::UNIX_EPOCH, last)).to_string()
}

/// A time that may be absent, for a cell of a table.
pub(super) fn time_or(moment: Option<SystemTime>, absent: &str) -> String {
    moment.map_or_else(|| absent.to_owned(), time)
}

/// A word of a command line, such that a shell takes it as it is.
pub(super) fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters() {
        let lines = [["A", "LONG"], ["größer", ""], ["x", "y"]].map(|line| line.map(str::to_owned));
        assert_eq!(table(&lines), "A       LONG\ngrößer\nx       y\n");
    }

    #[test]
    fn words_survive_a_shell() {
        for (word, expected) in
            [("ann@example.org", "ann@example.org"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn times_beyond_the_format_are_its_last() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(time(far), "9999-12-31T23:59:59Z");
        assert_eq!(time(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }
}
