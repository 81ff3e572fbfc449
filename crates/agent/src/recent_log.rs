//! What the agent has written lately, by printer: for an owner who asks for its log from afar.
//!
//! One agent serves several printers, and who may see one of them must not read about the others.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;
use printers::command_api::AgentLog;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Bytes kept for each printer: some hours of an ordinary day, and little beside what the agent takes anyway.
const MAX_BYTES: usize = 96 * 1024;
/// Bytes of one line.
const MAX_LINE: usize = 2 * 1024;
/// The span that says which printer a line is about, where there are several.
pub(crate) const SPAN: &str = "printer";

/// Lines by printer; those of an agent with one printer have no name.
#[derive(Clone, Default)]
pub(crate) struct RecentLog {
    lines_by_printer: Arc<Mutex<BTreeMap<Option<String>, Lines>>>,
}

#[derive(Default)]
struct Lines {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Lines {
    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }
}

impl RecentLog {
    /// What concerns one printer; `None` is the only one.
    pub(crate) fn of(&self, printer: Option<&str>) -> Arc<dyn AgentLog> {
        Arc::new(PrinterLog { log: self.clone(), printer: printer.map(str::to_owned) })
    }
}

struct PrinterLog {
    log: RecentLog,
    printer: Option<String>,
}

impl AgentLog for PrinterLog {
    fn text(&self) -> Vec<u8> {
        let lines_by_printer = self.log.lines_by_printer.lock();
        let Some(lines) = lines_by_printer.get(&self.printer) else { return Vec::new() };
        lines.lines.iter().flat_map(|line| line.bytes()).collect()
    }
}

/// In a span's extensions: the printer that it names.
struct PrinterName(String);

impl<S> Layer<S> for RecentLog
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != SPAN {
            return;
        }
        let mut name = NameVisitor::default();
        attributes.record(&mut name);
        if let (Some(span), Some(name)) = (context.span(id), name.0) {
            span.extensions_mut().insert(PrinterName(name));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let named = |span: tracing_subscriber::registry::SpanRef<'_, S>| {
            span.extensions().get::<PrinterName>().map(|name| name.0.clone())
        };
        let printer = context.event_scope(event).and_then(|mut scope| scope.find_map(named));
        let mut line = String::new();
        // Writing to a string cannot fail, and a clock before 1970 is no reason to lose the line.
        let _ = SystemTime.format_time(&mut Writer::new(&mut line));
        let _ = write!(line, " {:>5} ", event.metadata().level());
        event.record(&mut LineVisitor(&mut line));
        let mut end = line.len().min(MAX_LINE);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line = line.replace(['\r', '\n'], " ");
        line.push('\n');
        self.lines_by_printer.lock().entry(printer).or_default().push(line);
    }
}

#[derive(Default)]
struct NameVisitor(Option<String>);

impl Visit for NameVisitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}

struct LineVisitor<'a>(&'a mut String);

impl Visit for LineVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // As above.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing::{info, info_span, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn text(log: &RecentLog, printer: Option<&str>) -> String {
        String::from_utf8_lossy(&log.of(printer).text()).into_owned()
    }

    #[test]
    fn lines_are_kept_by_printer_and_not_for_ever() {
        let log = RecentLog::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        tracing::subscriber::with_default(subscriber, || {
            warn!(code = 7, "all\nprinters");
            let name = "one".to_owned();
            info_span!(SPAN, name).in_scope(|| {
                info_span!("inner").in_scope(|| info!("hello"));
            });
            let name = "two".to_owned();
            info_span!(SPAN, name).in_scope(|| {
                for number in 0..10_000 {
                    info!("line {number} {}", "x".repeat(5_000));
                }
            });
        });
        let one = text(&log, Some("one"));
        assert!(one.ends_with(" INFO hello\n") && one.lines().count() == 1, "{one}");
        let all = text(&log, None);
        assert!(all.contains(" WARN all printers code=7\n"), "{all}");
        let two = text(&log, Some("two"));
        assert!(two.len() <= MAX_BYTES && two.contains("line 9999") && !two.contains("line 0 "), "{}", two.len());
        assert_eq!(text(&log, Some("three")), "");
    }
}
