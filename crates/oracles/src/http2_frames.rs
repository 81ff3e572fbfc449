//! Counting what an HTTP/2 peer makes us read.

use tunnel::frame_meter::{CLIENT_PREFACE_LENGTH, FrameReader};

use crate::input::{pieces, split_choice};

/// RFC 9113 §6: DATA, HEADERS, RST_STREAM, WINDOW_UPDATE, CONTINUATION.
const OF_STREAMS: [u8; 5] = [0, 1, 3, 8, 9];

/// A byte for the side and how the bytes arrive, then the bytes.
pub fn check(data: &[u8]) {
    let (choice, stream) = split_choice(data);
    let preface = if choice & 1 == 1 { CLIENT_PREFACE_LENGTH } else { 0 };
    let mut expected = 0;
    let mut at = preface;
    while let Some([high, middle, low, kind, ..]) = stream.get(at..at + 9) {
        expected += u32::from(!OF_STREAMS.contains(kind));
        at += 9 + (usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low));
    }
    let mut reader = FrameReader::new(preface);
    let count: u32 = pieces(stream, choice >> 1).into_iter().map(|piece| reader.count_control_frames(piece)).sum();
    assert_eq!(count, expected);
}
