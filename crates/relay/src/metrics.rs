//! What the relay counts. Labels are bounded: codes and kinds, never hosts or ids.

use std::time::Duration;

use model::RelayError;

/// Describes every metric, for the exporter's help lines.
pub fn describe() {
    metrics::describe_counter!("spoolway_requests_total", "Relayed requests by kind of host and status or error code");
    metrics::describe_counter!("spoolway_broken_off_total", "Responses and WebSockets that were cut, by error code");
    metrics::describe_counter!("spoolway_bytes_to_visitors_total", "Bytes of bodies and frames sent to visitors");
    metrics::describe_counter!("spoolway_bytes_from_visitors_total", "Bytes of bodies received from visitors");
    metrics::describe_gauge!("spoolway_open_streams", "Requests and WebSockets open now");
    metrics::describe_gauge!("spoolway_agents", "Agents connected now");
    metrics::describe_counter!("spoolway_agent_connects_total", "Agents that connected, by what they did before");
    metrics::describe_counter!("spoolway_agent_refusals_total", "Agents that were refused, by reason");
    metrics::describe_counter!(
        "spoolway_agent_questions_total",
        "Commands, pictures and keys that agents were asked for, by class of answer or error code"
    );
    metrics::describe_histogram!("spoolway_tunnel_round_trip_seconds", "Heartbeats of agents");
    metrics::describe_histogram!("spoolway_time_to_first_byte_seconds", "From a request's head to its response's head");
    metrics::describe_gauge!("spoolway_visitor_connections", "Connections of visitors and agents open now");
    metrics::describe_counter!("spoolway_visitor_connections_refused_total", "Connections closed at once, by limit");
    metrics::describe_counter!("spoolway_panics_total", "Panics that were caught; each is a bug");
}

/// A request was answered after `elapsed`: by the service with an error, or by the printer with `status`.
pub(crate) fn answered(kind: &'static str, error: Option<RelayError>, status: u16, elapsed: Duration) {
    // Printers may send any status; theirs are counted by class.
    let code = match (error, status) {
        (Some(error), _) => error_code(error),
        (None, status) => class(status),
    };
    metrics::counter!("spoolway_requests_total", "kind" => kind, "code" => code).increment(1);
    metrics::histogram!("spoolway_time_to_first_byte_seconds", "kind" => kind).record(elapsed.as_secs_f64());
}

/// An agent was asked for something by the service, and answered with a status or not at all.
pub(crate) fn asked_agent(ability: &'static str, answer: Result<u16, RelayError>) {
    let code = match answer {
        Ok(status) => class(status),
        Err(error) => error_code(error),
    };
    metrics::counter!("spoolway_agent_questions_total", "ability" => ability, "code" => code).increment(1);
}

const fn class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "other",
    }
}

/// Something that was under way was cut.
pub(crate) fn broken_off(error: RelayError) {
    let code = error_code(error);
    metrics::counter!("spoolway_broken_off_total", "code" => code).increment(1);
}

/// A panic was caught.
pub(crate) fn panicked() {
    metrics::counter!("spoolway_panics_total").increment(1);
}

pub(crate) fn bytes_to_visitors(count: u64) {
    metrics::counter!("spoolway_bytes_to_visitors_total").increment(count);
}

pub(crate) fn bytes_from_visitors(count: u64) {
    metrics::counter!("spoolway_bytes_from_visitors_total").increment(count);
}

const ERROR_CODES: [&str; 14] =
    ["600", "601", "602", "603", "604", "605", "606", "607", "608", "609", "610", "611", "612", "613"];

fn error_code(error: RelayError) -> &'static str {
    ERROR_CODES.get(usize::from(error.code() - 600)).copied().unwrap_or("other")
}
