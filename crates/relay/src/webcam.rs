//! Webcam streams and what a plan allows of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, header};
use model::{PrinterId, WebcamWindow, wire};
use parking_lot::Mutex;

/// Meters of printers that streamed nothing lately are dropped when this many have piled up.
const PRUNE_ABOVE: usize = 1024;
/// A boundary is at most this long (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;

/// Whether a response is a webcam stream.
pub(crate) fn is_webcam_stream(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/x-mixed-replace"))
}

/// Whether a response is a stream of server-sent events, which may be silent for long.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

/// Whether a request asks for a webcam stream in a way that is known before the printer has answered.
pub(crate) fn asks_for_webcam_stream(uri: &http::Uri) -> bool {
    is_agent_stream(uri)
        || is_stream_command(uri)
        || uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "action=stream"))
}

/// Whether a request is for the stream that the agent makes of a camera, and not for one of the printer's own paths.
pub(crate) fn is_agent_stream(uri: &http::Uri) -> bool {
    uri.path().eq_ignore_ascii_case("/oe-webcam-stream")
}

fn is_stream_command(uri: &http::Uri) -> bool {
    let path = uri.path().to_ascii_lowercase();
    path.strip_prefix(wire::COMMAND_API_PREFIX).is_some_and(|command| command.starts_with("webcam/stream"))
}

/// The camera that such a request means: the first one unless it says another. `None` if it says what is no number.
pub(crate) fn camera_of(uri: &http::Uri) -> Option<usize> {
    let index = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("index="));
    match index {
        None | Some("") => Some(0),
        Some(index) => index.parse().ok(),
    }
}

/// What frames of a webcam stream begin with, after two dashes; none if the response is no such stream.
pub(crate) fn boundary_of(headers: &HeaderMap) -> Option<&str> {
    boundary_parameter(headers).filter(|_| is_webcam_stream(headers))
}

fn boundary_parameter(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let mut parameters = value.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
    let (_, boundary) = parameters.find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let boundary = boundary.trim_matches('"').trim_start_matches("--");
    (!boundary.is_empty() && boundary.len() <= MAX_BOUNDARY).then_some(boundary)
}

/// Seconds streamed by each printer.
#[derive(Default)]
pub(crate) struct WebcamMeters(Mutex<HashMap<PrinterId, Arc<WebcamMeter>>>);

impl WebcamMeters {
    /// The meter of a printer.
    pub(crate) fn of(&self, printer: &PrinterId) -> Arc<WebcamMeter> {
        let mut meters = self.0.lock();
        if meters.len() >= PRUNE_ABOVE {
            meters.retain(|_, meter| Arc::strong_count(meter) > 1 || !meter.spans.lock().is_empty());
        }
        Arc::clone(meters.entry(printer.clone()).or_default())
    }
}

/// The streams of one printer, past and running.
#[derive(Default)]
pub(crate) struct WebcamMeter {
    spans: Mutex<VecDeque<Span>>,
}

struct Span {
    id: u64,
    start: Instant,
    end: Option<Instant>,
}

/// A running stream; its time is counted until it is dropped.
pub(crate) struct RunningStream {
    meter: Arc<WebcamMeter>,
    id: u64,
}

impl Drop for RunningStream {
    fn drop(&mut self) {
        let mut spans = self.meter.spans.lock();
        if let Some(span) = spans.iter_mut().find(|span| span.id == self.id) {
            span.end = Some(Instant::now());
        }
    }
}

impl WebcamMeter {
    /// Starts a stream at `now`.
    ///
    /// # Errors
    /// The time until the window allows one, if it is used up.
    pub(crate) fn start(
        self: &Arc<Self>,
        window: Option<WebcamWindow>,
        now: Instant,
    ) -> Result<RunningStream, Duration> {
        if let Some(window) = window {
            self.check(window, now)?;
        }
        let mut spans = self.spans.lock();
        let id = spans.back().map_or(0, |span| span.id + 1);
        spans.push_back(Span { id, start: now, end: None });
        Ok(RunningStream { meter: Arc::clone(self), id })
    }

    /// Whether the window allows a new stream at `now`.
    ///
    /// # Errors
    /// The time until it does, if it is used up.
    pub(crate) fn check(&self, window: WebcamWindow, now: Instant) -> Result<(), Duration> {
        let mut spans = self.spans.lock();
        spans.retain(|span| span.end.is_none_or(|end| now.saturating_duration_since(end) < window.window));
        let used_at = |at: Instant| -> Duration {
            spans
                .iter()
                .map(|span| {
                    let in_window = at.checked_sub(window.window).map_or(span.start, |start| span.start.max(start));
                    span.end.unwrap_or(now).saturating_duration_since(in_window)
                })
                .sum()
        };
        if used_at(now) < window.total {
            return Ok(());
        }
        // Streams that run now go on; the window only moves on as they end, so this is the earliest moment.
        let mut wait = Duration::ZERO;
        while wait < window.window && used_at(now + wait) >= window.total {
            wait += Duration::from_secs(1);
        }
        Err(wait.max(Duration::from_secs(1)))
    }
}

/// Finds where a multipart stream may be cut: before a boundary, so that no frame is torn.
pub(crate) struct BoundaryFinder {
    delimiter: Vec<u8>,
    /// The end of what has passed, in case a delimiter began there.
    tail: Vec<u8>,
}

impl BoundaryFinder {
    /// For a response with these headers.
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let delimiter =
            boundary_parameter(headers).map_or_else(Vec::new, |boundary| format!("--{boundary}").into_bytes());
        Self { delimiter, tail: Vec::new() }
    }

    /// How much of the next piece may pass before the stream is cut; `None` if the cut must wait for another piece.
    pub(crate) fn cut_in(&mut self, piece: &[u8]) -> Option<usize> {
        if self.delimiter.is_empty() {
            return Some(0);
        }
        let carried = self.tail.len();
        self.tail.extend_from_slice(piece);
        let found = self.tail.windows(self.delimiter.len()).position(|window| window == self.delimiter);
        if found.is_none() {
            let kept = self.tail.len().min(self.delimiter.len() - 1);
            self.tail.drain(..self.tail.len() - kept);
        }
        // A delimiter that began in the piece before has partly passed; nothing of this piece belongs to a frame.
        found.map(|position| position.saturating_sub(carried))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_camera_is_named_by_its_index() {
        for (uri, expected) in [
            ("/oe-webcam-stream", Some(0)),
            ("/OE-Webcam-Stream?index=", Some(0)),
            ("/oe-webcam-stream?t=1&index=2", Some(2)),
            ("/oe-webcam-stream?index=-1", None),
            ("/oe-webcam-stream?index=1/../../octoprint-key", None),
            ("/oe-webcam-stream?index=99999999999999999999999", None),
        ] {
            let uri = uri.parse().expect("test targets are valid");
            assert!(is_agent_stream(&uri) && asks_for_webcam_stream(&uri), "{uri}");
            assert_eq!(camera_of(&uri), expected, "{uri}");
        }
        assert!(!is_agent_stream(&http::Uri::from_static("/oe-webcam-stream/x")));
    }

    #[test]
    fn the_window_is_a_sum_over_streams_and_moves_on() {
        let meter = Arc::new(WebcamMeter::default());
        let window = WebcamWindow { window: 60 * SECOND, total: 10 * SECOND };
        let start = Instant::now() + 1000 * SECOND;
        {
            let mut spans = meter.spans.lock();
            spans.push_back(Span { id: 0, start, end: Some(start + 6 * SECOND) });
            spans.push_back(Span { id: 1, start, end: Some(start + 4 * SECOND) });
        }
        assert_eq!(meter.check(window, start + 9 * SECOND), Err(52 * SECOND));
        assert_eq!(meter.check(window, start + 61 * SECOND), Ok(()));
        assert_eq!(meter.check(window, start + 1000 * SECOND), Ok(()));
        assert!(meter.spans.lock().is_empty(), "what has left the window is forgotten");
    }

    #[test]
    fn running_streams_count_too() {
        let meter = Arc::new(WebcamMeter::default());
        let window = WebcamWindow { window: 60 * SECOND, total: 10 * SECOND };
        let start = Instant::now();
        let running = meter.start(Some(window), start).expect("nothing has been streamed");
        assert!(meter.start(Some(window), start + 5 * SECOND).is_ok());
        assert!(meter.start(Some(window), start + 11 * SECOND).is_err());
        drop(running);
    }

    #[test]
    fn a_stream_is_cut_before_a_boundary_however_it_arrives() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("multipart/x-mixed-replace; boundary=\"frame\""));
        assert!(is_webcam_stream(&headers));
        let stream = b"jpegjpeg\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n";
        for step in 1..stream.len() {
            let mut finder = BoundaryFinder::new(&headers);
            let mut passed = 0;
            for piece in stream.chunks(step) {
                match finder.cut_in(piece) {
                    Some(length) => {
                        passed += length;
                        break;
                    }
                    None => passed += piece.len(),
                }
            }
            assert!((10..10 + 7).contains(&passed), "in steps of {step}: {passed}");
        }
    }
}
