//! A camera's stream for a viewer who may be slow: the newest whole frame, and none of those that it has missed.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use memchr::memmem;

use crate::webcam::boundary_of;

/// Bytes of one frame. Plugins send them whole up to 4.5 MiB (tunnel.md 6.7).
const MAX_FRAME: usize = 8 * 1024 * 1024;
/// The end of a part's head, if its length can be told.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A frame is larger than any camera's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FrameTooLarge;

/// Takes a multipart stream apart into frames, each from its boundary to the next.
pub(crate) struct FrameQueue {
    delimiter: Vec<u8>,
    /// The frame that is coming.
    coming: BytesMut,
    /// The newest whole one.
    newest: Option<Bytes>,
}

impl FrameQueue {
    /// For a response with these headers, if it is such a stream.
    pub(crate) fn new(headers: &HeaderMap) -> Option<Self> {
        let delimiter = format!("--{}", boundary_of(headers)?).into_bytes();
        Some(Self { delimiter, coming: BytesMut::new(), newest: None })
    }

    /// Takes in a piece. Returns whether there is a new frame.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<bool, FrameTooLarge> {
        let before = self.newest.is_some();
        let mut searched = self.coming.len().saturating_sub(self.delimiter.len()).max(1);
        self.coming.extend_from_slice(piece);
        let mut is_new = false;
        // The delimiter at the very beginning is the coming frame's own.
        while let Some(found) = self.coming.get(searched..).and_then(|rest| memmem::find(rest, &self.delimiter)) {
            self.newest = Some(self.coming.split_to(searched + found).freeze());
            is_new = true;
            searched = 1;
        }
        if self.is_whole() {
            self.newest = Some(self.coming.split().freeze());
            is_new = true;
        }
        if self.coming.len() > MAX_FRAME {
            return Err(FrameTooLarge);
        }
        Ok(is_new || (before && self.newest.is_some()))
    }

    /// Whether the coming frame has all of its announced length, so that there is no need to wait for the next.
    fn is_whole(&self) -> bool {
        let Some(head) = memmem::find(&self.coming, HEAD_END) else { return false };
        let lines = self.coming.get(..head).unwrap_or_default().split(|byte| *byte == b'\n');
        let length = lines.filter_map(|line| std::str::from_utf8(line).ok()).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        length.is_some_and(|length| {
            let end = head + HEAD_END.len() + length;
            self.coming.len() >= end
                && self.coming.get(end..).is_some_and(|rest| rest.iter().all(u8::is_ascii_whitespace))
        })
    }

    pub(crate) fn has_frame(&self) -> bool {
        self.newest.is_some()
    }

    /// The newest frame that was not taken yet.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        self.newest.take()
    }

    /// The stream is over: what was coming is the last frame.
    pub(crate) fn finish(&mut self) {
        if !self.coming.is_empty() && self.newest.is_none() {
            self.newest = Some(self.coming.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};
    use proptest::prelude::*;

    use super::*;

    fn queue() -> FrameQueue {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_static("multipart/x-mixed-replace;boundary=edge");
        headers.insert(header::CONTENT_TYPE, value);
        FrameQueue::new(&headers).expect("it is a camera's stream")
    }

    fn frame(content: &[u8], has_length: bool) -> Vec<u8> {
        let length = if has_length { format!("Content-Length: {}\r\n", content.len()) } else { String::new() };
        [format!("--edge\r\nContent-Type: image/jpeg\r\n{length}\r\n").as_bytes(), content, b"\r\n"].concat()
    }

    proptest! {
        #[test]
        fn a_viewer_sees_whole_frames_in_order_and_the_last_one(
            contents in prop::collection::vec(prop::collection::vec(97u8..123, 0..300), 1..8),
            has_length: bool, step in 1usize..400, takes in prop::collection::vec(any::<bool>(), 40),
        ) {
            let frames: Vec<Vec<u8>> = contents.iter().map(|content| frame(content, has_length)).collect();
            let stream = frames.concat();
            let (mut queue, mut seen) = (queue(), Vec::new());
            for (piece, takes) in stream.chunks(step).zip(takes.iter().cycle()) {
                queue.push(piece).expect("frames are small");
                if *takes {
                    seen.extend(queue.take());
                }
            }
            seen.extend(queue.take());
            queue.finish();
            seen.extend(queue.take());
            // A frame that ended with its length may have its line break before the next one.
            let trim = |bytes: &[u8]| bytes.trim_ascii().to_vec();
            let seen: Vec<Vec<u8>> = seen.iter().map(|frame| trim(frame)).filter(|frame| !frame.is_empty()).collect();
            let mut rest = frames.iter().map(|frame| trim(frame));
            for frame in &seen {
                prop_assert!(rest.any(|sent| sent == *frame), "{:?} is no frame, or out of order", frame);
            }
            prop_assert_eq!(seen.last().cloned(), frames.last().map(|frame| trim(frame)));
        }
    }

    #[test]
    fn a_frame_without_an_end_is_refused() {
        let mut queue = queue();
        let piece = vec![b'x'; 1024 * 1024];
        assert!((0..9).any(|_| queue.push(&piece) == Err(FrameTooLarge)));
    }

    #[test]
    fn other_responses_are_no_cameras() {
        let mut headers = HeaderMap::new();
        assert!(FrameQueue::new(&headers).is_none());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=x"));
        assert!(FrameQueue::new(&headers).is_none());
    }
}
