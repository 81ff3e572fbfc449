//! The log, on standard error.

use std::io::IsTerminal;
use std::sync::LazyLock;

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::recent_log::RecentLog;

/// What somebody who runs the agent wants to see; the libraries below speak only when something is wrong.
const DEFAULT: &str = "info,h2=warn,hyper=warn,rustls=warn,tungstenite=warn";

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line, for log collectors.
    Json,
}

/// Libraries that would write passwords of printers into the log if they were let.
const DISCREET: [&str; 1] = ["suppaftp"];

/// Reads a filter: a level, or pairs of module and level.
pub(crate) fn parse_filter(text: &str) -> Result<Targets, String> {
    text.parse()
        .map_err(|_| "give a level (error, warn, info, debug, trace), or a list like `info,tunnel=debug`".to_owned())
}

/// What was written lately.
static RECENT: LazyLock<RecentLog> = LazyLock::new(RecentLog::default);

/// What was written lately, for those who ask for it from afar.
pub(crate) fn recent() -> &'static RecentLog {
    &RECENT
}

/// Starts logging. A second call does nothing.
pub(crate) fn start(filter: Option<Targets>, format: LogFormat) {
    let filter = filter.unwrap_or_else(|| DEFAULT.parse().expect("the default is a filter"));
    let filter = discreet(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        LogFormat::Human => {
            let colours =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
            layer.with_ansi(colours).with_target(false).boxed()
        }
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Only tests that share a process come here twice.
    let recent = recent().clone().with_filter(filter.clone());
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).with(recent).try_init();
}

/// The filter, which lets nothing through that holds a secret.
fn discreet(filter: Targets) -> Targets {
    // More exact targets go before others, so none of theirs may be left.
    let others = filter.iter().filter(|(target, _)| !DISCREET.iter().any(|discreet| target.starts_with(discreet)));
    let others: Targets = others.map(|(target, level)| (target.to_owned(), level)).collect();
    let others = match filter.default_level() {
        Some(level) => others.with_default(level),
        None => others,
    };
    others.with_targets(DISCREET.map(|target| (target, LevelFilter::WARN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_printers_are_never_let_through() {
        for filter in ["trace", "suppaftp=trace", "info,suppaftp::async_ftp=trace,h2=debug"] {
            let filter = discreet(parse_filter(filter).expect("it is a filter"));
            assert!(!filter.would_enable("suppaftp::async_ftp::tokio_ftp::control", &tracing::Level::INFO));
            assert!(filter.would_enable("suppaftp", &tracing::Level::WARN));
        }
        let filter = discreet(parse_filter("trace").expect("it is a filter"));
        assert!(filter.would_enable("printers", &tracing::Level::TRACE));
    }

    #[test]
    fn filters() {
        assert!(parse_filter(DEFAULT).is_ok());
        assert!(parse_filter("debug").is_ok());
        assert!(parse_filter("info,tunnel=trace").is_ok());
        assert!(parse_filter("tunnel=loud").is_err());
    }
}
