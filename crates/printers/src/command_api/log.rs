//! The log that the owner is given: the printer software's, or the agent's own.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::BodyExt;
use tunnel::agent_services::ServiceBody;

use super::arguments::Arguments;
use super::{CommandApi, FILES_LIMIT};
use crate::platforms::{CommandFailure, Download, Outcome};

/// Of a log's end, this much is kept in memory while the rest flows past.
const MAX_TAIL: usize = 512 * 1024;
/// More lines than that memory has room for.
const MAX_LINES: u32 = 1_000_000;

/// What the agent has written lately about one printer.
pub trait AgentLog: Send + Sync {
    /// The lines, oldest first, each with its line end.
    fn text(&self) -> Vec<u8>;
}

impl CommandApi {
    pub(super) async fn plugin_log(&self, arguments: &Arguments) -> Outcome<Response<ServiceBody>> {
        let lines = arguments.whole(&["tailLines", "tail_lines", "tail-lines", "lines"], MAX_LINES)?;
        let opened = match self.platform() {
            Ok(platform) => tokio::time::timeout(FILES_LIMIT, platform.log())
                .await
                .unwrap_or_else(|_| Err(CommandFailure::Failed("the log has not come in time".to_owned()))),
            Err(_) => Err(CommandFailure::NotSupported),
        };
        let (name, log) = match opened {
            Ok(download) => ("octoprint.log", download),
            Err(CommandFailure::NotSupported) => {
                let text = self.log.as_ref().map(|log| log.text()).filter(|text| !text.is_empty());
                let text = text.ok_or_else(|| CommandFailure::NotFound("there is no log".to_owned()))?;
                let length = Some(text.len() as u64);
                (
                    "octoeverywhere.log",
                    Download { body: super::envelope::whole(text.into()), length, content_type: None },
                )
            }
            Err(failure) => return Err(failure),
        };
        let (body, length) = match lines {
            None => (log.body, log.length),
            Some(lines) => {
                let tail = read_tail(log.body, lines as usize).await?;
                let length = tail.len() as u64;
                (super::envelope::whole(tail), Some(length))
            }
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let disposition = format!("attachment; filename=\"{name}\"");
        if let Ok(disposition) = HeaderValue::from_str(&disposition) {
            headers.insert(header::CONTENT_DISPOSITION, disposition);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        Ok(response)
    }
}

/// The last lines of a body, or as many of them as there is room for.
async fn read_tail(mut body: ServiceBody, lines: usize) -> Outcome<Bytes> {
    let mut tail: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CommandFailure::Failed(format!("the log broke off: {error}")))?;
        tail.extend_from_slice(&frame.into_data().unwrap_or_default());
        if tail.len() > 2 * MAX_TAIL {
            tail.drain(..tail.len() - MAX_TAIL);
        }
    }
    let ends = tail.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
    // A last line without an end is a line too.
    let mut starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
    if starts.last() == Some(&tail.len()) {
        starts.pop();
    }
    let from = starts.len().checked_sub(lines).map_or(0, |first| starts.get(first).copied().unwrap_or(tail.len()));
    Ok(Bytes::from(tail.split_off(from)))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tunnel::agent_side::BoxError;

    use super::*;

    fn pieces(pieces: Vec<Bytes>) -> ServiceBody {
        let frames = pieces.into_iter().map(|piece| Ok::<_, BoxError>(Frame::data(piece)));
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    }

    #[tokio::test]
    async fn the_last_lines_are_counted_from_the_end() {
        let tail = async |text: &'static str, lines| {
            let halves = text.split_at(text.len() / 2);
            let body = pieces(vec![Bytes::from(halves.0), Bytes::from(halves.1)]);
            read_tail(body, lines).await.map(|tail| String::from_utf8_lossy(&tail).into_owned())
        };
        for (text, lines, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\nb\n", 0, ""),
            ("", 3, ""),
        ] {
            assert_eq!(tail(text, lines).await, Ok(expected.to_owned()), "{text:?} {lines}");
        }
        let long = pieces(vec![Bytes::from(vec![b'x'; 100_000]); 100]);
        assert_eq!(read_tail(long, 5).await.map(|tail| tail.len() <= 2 * MAX_TAIL), Ok(true));
    }
}
