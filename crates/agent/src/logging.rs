//! The log, on standard error.

use std::io::IsTerminal;
use std::sync::LazyLock;

use clap::ValueEnum;
use tracing_subscriber::filter::Targets;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        assert!(parse_filter(DEFAULT).is_ok());
        assert!(parse_filter("debug").is_ok());
        assert!(parse_filter("info,tunnel=trace").is_ok());
        assert!(parse_filter("tunnel=loud").is_err());
    }
}
