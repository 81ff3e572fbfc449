//! A run's results for people and for programs.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::figures::Figure;
use crate::nginx;
use crate::results::{Row, Value};
use crate::target::Route;

/// What the JSON file holds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    taken_at_unix_seconds: u64,
    /// The commit that was measured, where the bench runs in its repository.
    commit: Option<String>,
    machine: Machine,
    nginx: String,
    /// Set where nginx's buffers in between are not of its own sizes.
    nginx_buffer_kibibytes: Option<u32>,
    n_rounds: usize,
    quick: bool,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    processor: String,
    n_cores: usize,
    kernel: String,
}

impl Report {
    pub(crate) fn new(
        rows: Vec<Row>,
        n_rounds: usize,
        quick: bool,
        nginx_buffer_kibibytes: Option<u32>,
    ) -> Result<Self> {
        let taken_at = SystemTime::now().duration_since(UNIX_EPOCH).context("read the clock")?;
        Ok(Self {
            taken_at_unix_seconds: taken_at.as_secs(),
            commit: commit(),
            machine: Machine::here(),
            nginx: nginx::version()?,
            nginx_buffer_kibibytes,
            n_rounds,
            quick,
            rows,
        })
    }

    /// Whether every figure that was measured reaches the first release's row.
    pub(crate) fn reaches_first_release(&self) -> bool {
        self.rows.iter().all(|row| row.reaches_first_release != Some(false))
    }

    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        }
        let mut json = serde_json::to_string_pretty(self).context("write the results as JSON")?;
        json.push('\n');
        fs::write(path, json).with_context(|| format!("write {}", path.display()))
    }

    /// For the terminal: a line for each figure.
    pub(crate) fn table(&self) -> String {
        let head = ["", "direct", "nginx", "Spoolway", "ratio", "first release", "goal"].map(str::to_owned);
        let lines: Vec<[String; 7]> = std::iter::once(head).chain(self.rows.iter().map(table_line)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
        let mut table = String::new();
        for line in &lines {
            let [title, values @ ..] = line;
            table.push_str(&pad_right(title, width(0)));
            for (index, value) in values.iter().enumerate() {
                let missing = width(index + 1).saturating_sub(value.chars().count());
                let _ = write!(table, "  {}{value}", " ".repeat(missing));
            }
            table.truncate(table.trim_end().len());
            table.push('\n');
        }
        table
    }

    /// For the README: one row for each way, one column for each figure of the comparison, ratios in brackets.
    pub(crate) fn markdown(&self) -> String {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| COMPARED.contains(&row.figure)).collect();
        let mut markdown = String::from("| |");
        rows.iter().for_each(|row| markdown.push_str(&format!(" {} |", row.title)));
        markdown.push_str("\n|---|");
        rows.iter().for_each(|_| markdown.push_str("---:|"));
        for route in Route::ALL {
            let _ = write!(markdown, "\n| {} |", route.title());
            for row in &rows {
                let value = row.values.get(&route).map_or("–".to_owned(), |value| with_ratio(row.figure, value));
                let _ = write!(markdown, " {value} |");
            }
        }
        markdown.push('\n');
        markdown
    }

    /// What was measured, and where, in one line.
    pub(crate) fn caption(&self) -> String {
        let Machine { processor, n_cores, kernel } = &self.machine;
        let commit = self.commit.as_deref().unwrap_or("unknown");
        let buffers =
            self.nginx_buffer_kibibytes.map(|size| format!(" with buffers of {size} KiB")).unwrap_or_default();
        format!(
            "commit {commit}, {}{buffers}, {processor}, {n_cores} cores, Linux {kernel}, median of {} rounds, all over loopback",
            self.nginx, self.n_rounds
        )
    }
}

/// The columns of the comparison with other tunnels.
const COMPARED: [Figure; 7] = [
    Figure::RequestsPerCpuSecond,
    Figure::DownloadPerCpuSecond,
    Figure::UploadPerCpuSecond,
    Figure::WebSocketSlow,
    Figure::CameraSlow,
    Figure::AgentMemory,
    Figure::AgentsPerSecond,
];

fn table_line(row: &Row) -> [String; 7] {
    let text = |route| row.values.get(&route).map(|value| number(row.figure, value.median)).unwrap_or_default();
    let ratio = row.values.get(&Route::Spoolway).and_then(|value| value.ratio);
    let verdict = |bound: Option<String>, reached: Option<bool>| match (bound, reached) {
        (Some(bound), Some(true)) => format!("{bound} ✓"),
        (Some(bound), Some(false)) => format!("{bound} ✗"),
        (bound, _) => bound.unwrap_or_default(),
    };
    [
        row.title.to_owned(),
        text(Route::Direct),
        text(Route::Nginx),
        text(Route::Spoolway),
        ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        verdict(row.bounds.map(|bounds| bounds.first_release.text()), row.reaches_first_release),
        verdict(row.bounds.map(|bounds| bounds.goal.text()), row.reaches_goal),
    ]
}

fn with_ratio(figure: Figure, value: &Value) -> String {
    let number = number(figure, value.median);
    value.ratio.map_or(number.clone(), |ratio| format!("{number} ({ratio:.2})"))
}

/// A value with its thousands set apart.
fn number(figure: Figure, value: f64) -> String {
    let text = format!("{value:.*}", figure.n_decimals());
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut grouped = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{grouped}.{fraction}"),
        None => grouped,
    }
}

fn pad_right(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.chars().count())))
}

fn commit() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Machine {
    fn here() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: processor.map_or("unknown processor", |(_, name)| name.trim()).to_owned(),
            n_cores: thread::available_parallelism().map_or(1, Into::into),
            kernel: kernel.trim().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(number(Figure::RequestsPerCpuSecond, 97_061.4), "97,061");
        assert_eq!(number(Figure::RequestsPerCpuSecond, 999.0), "999");
        assert_eq!(number(Figure::CameraSlow, 1234.567), "1,234.57");
        assert_eq!(number(Figure::GibibyteGrowth, -1234.5), "-1,234.5");
    }
}
