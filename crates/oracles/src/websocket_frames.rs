//! WebSocket frames in both directions, taken apart by a second, simpler parser.

use relay::fuzzing::{MAX_FRAGMENTS, MAX_HEADER, MAX_MESSAGE, PIECE, PrinterFrames, VisitorFrames};

use crate::input::{pieces, split_choice};

const CONTINUATION: u8 = 0;
const CONTROL: u8 = 8;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A byte for the direction, extensions and how the bytes arrive, then the bytes. `0x80` in the first byte puts a large
/// frame before them, which fuzzers do not come upon by themselves.
pub fn check(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let seed = choice >> 2 & 0x0f;
    let mut stream = Vec::new();
    // Byte by byte it would take long and show nothing new.
    let seed = if choice & 0x80 != 0 && seed != 0 { seed / 6 * 6 + 5 } else { seed };
    if choice & 0x80 != 0 {
        large_frame(rest.first().copied().unwrap_or_default(), choice & 1 == 0, &mut stream);
    }
    stream.extend_from_slice(rest);
    if choice & 1 == 0 { check_visitor(&stream, seed, choice & 0x40 != 0) } else { check_printer(&stream, seed) }
}

fn large_frame(salt: u8, is_masked: bool, out: &mut Vec<u8>) {
    let length = PIECE - 128 + usize::from(salt);
    out.push(0x82);
    out.push(127 | if is_masked { 0x80 } else { 0 });
    out.extend_from_slice(&(length as u64).to_be_bytes());
    if is_masked {
        out.extend_from_slice(&[1, 2, 3, 4]);
    }
    out.extend((0..length).map(|n| (n % 251) as u8));
}

struct Frame<'a> {
    fin: bool,
    reserved: u8,
    opcode: u8,
    mask: Option<[u8; 4]>,
    announced: u64,
    /// As much of it as has come.
    payload: &'a [u8],
    bytes: &'a [u8],
}

impl Frame<'_> {
    fn is_whole(&self) -> bool {
        self.payload.len() as u64 == self.announced
    }
}

/// The frame that `bytes` begin with, if its head is there.
fn read(bytes: &[u8]) -> Option<Frame<'_>> {
    let [first, second, ..] = *bytes else { return None };
    let (announced, mut at) = match second & 0x7f {
        126 => (u64::from(*bytes.get(2)?) << 8 | u64::from(*bytes.get(3)?), 4),
        127 => (bytes.get(2..10)?.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)), 10),
        length => (u64::from(length), 2),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        mask = Some([*bytes.get(at)?, *bytes.get(at + 1)?, *bytes.get(at + 2)?, *bytes.get(at + 3)?]);
        at += 4;
    }
    let end = usize::try_from(announced)
        .ok()
        .and_then(|length| at.checked_add(length))
        .map_or(bytes.len(), |end| end.min(bytes.len()));
    Some(Frame {
        fin: first & 0x80 != 0,
        reserved: first & 0x70,
        opcode: first & 0x0f,
        mask,
        announced,
        payload: &bytes[at..end],
        bytes: &bytes[..end],
    })
}

/// What frames say, however they are cut into fragments.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Begin(u8, u8),
    Data(Vec<u8>),
    End,
    Control(u8, u8, bool, Vec<u8>),
}

fn say(said: &mut Vec<Said>, frame: &Frame<'_>) {
    if frame.opcode >= CONTROL {
        return said.push(Said::Control(frame.opcode, frame.reserved, frame.fin, frame.payload.to_vec()));
    }
    if frame.opcode != CONTINUATION || frame.reserved != 0 {
        said.push(Said::Begin(frame.opcode, frame.reserved));
    }
    match said.last_mut() {
        Some(Said::Data(data)) => data.extend_from_slice(frame.payload),
        _ if frame.payload.is_empty() => {}
        _ => said.push(Said::Data(frame.payload.to_vec())),
    }
    if frame.fin && frame.is_whole() {
        said.push(Said::End);
    }
}

fn check_printer(stream: &[u8], seed: u8) {
    // What is whole, and of a large frame what has come, must leave.
    let mut expected = Vec::new();
    let mut fails = false;
    let mut at = 0;
    while let Some(frame) = read(&stream[at..]) {
        let limit = if frame.opcode >= CONTROL { 125 } else { MAX_MESSAGE };
        if frame.mask.is_some() || frame.announced > limit {
            fails = true;
            break;
        }
        // Of a large frame the first byte of its payload is waited for.
        if !frame.is_whole() && (frame.announced <= PIECE as u64 || frame.payload.is_empty()) {
            break;
        }
        say(&mut expected, &frame);
        if !frame.is_whole() {
            break;
        }
        at += frame.bytes.len();
    }
    let mut frames = PrinterFrames::default();
    let mut out = Vec::new();
    let mut failed = false;
    'arriving: for bytes in pieces(stream, seed) {
        frames.handle_bytes(bytes);
        loop {
            match frames.next_piece() {
                Ok(Some(piece)) => {
                    assert!(piece.len() <= PIECE + MAX_HEADER, "a piece of {} bytes", piece.len());
                    out.extend_from_slice(&piece);
                }
                Ok(None) => break,
                Err(_) => {
                    failed = true;
                    break 'arriving;
                }
            }
        }
    }
    let mut said = Vec::new();
    let mut rest = &out[..];
    while let Some(frame) = read(rest) {
        assert!(frame.is_whole(), "a frame left in part");
        say(&mut said, &frame);
        rest = &rest[frame.bytes.len()..];
    }
    assert!(rest.is_empty());
    assert_eq!(failed, fails);
    assert_eq!(said, expected);
}

/// Whether a client may send it (RFC 6455 §5.1, §5.2, §5.5).
fn is_proper(frame: &Frame<'_>, has_extensions: bool) -> bool {
    let allowed = match frame.opcode {
        0..=2 => frame.reserved == 0 || has_extensions,
        CLOSE..=PONG => frame.reserved == 0 && frame.fin && frame.announced <= 125,
        _ => false,
    };
    allowed && frame.mask.is_some()
}

fn check_visitor(stream: &[u8], seed: u8, has_extensions: bool) {
    let (mut expected, mut expected_pongs) = (Vec::new(), Vec::new());
    let mut at = 0;
    let (mut message, mut fragments, mut controls) = (0u64, 0u32, 0u32);
    let (mut refused, mut is_over) = (None, false);
    while let Some(frame) = read(&stream[at..]) {
        let is_control = frame.opcode >= CONTROL;
        controls += u32::from(is_control);
        if is_control && controls > 200 {
            refused = Some(1008);
            break;
        }
        if !is_control {
            message = message.saturating_add(frame.announced);
            fragments += 1;
            if message > MAX_MESSAGE {
                refused = Some(1009);
                break;
            }
            if fragments > MAX_FRAGMENTS {
                refused = Some(1008);
                break;
            }
            if frame.fin {
                (message, fragments) = (0, 0);
            }
        }
        is_over |= frame.opcode == CLOSE || !is_proper(&frame, has_extensions);
        if let (PING, Some(mask), false) = (frame.opcode, frame.mask, is_over) {
            if !frame.is_whole() {
                break;
            }
            let payload = frame.payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
            expected_pongs
                .push([0x80 | PONG, frame.payload.len() as u8].into_iter().chain(payload).collect::<Vec<u8>>());
        } else {
            expected.extend_from_slice(frame.bytes);
        }
        if !frame.is_whole() {
            break;
        }
        at += frame.bytes.len();
    }
    let mut frames = VisitorFrames::new(has_extensions);
    let (mut out, mut pongs) = (Vec::new(), Vec::new());
    let mut outcome = None;
    for bytes in pieces(stream, seed) {
        if let Err(code) = frames.handle_bytes(bytes, &mut out, &mut pongs) {
            outcome = Some(code);
            break;
        }
    }
    assert_eq!(outcome, refused);
    assert_eq!(pongs, expected_pongs);
    assert!(out == expected, "{} bytes passed, not {}", out.len(), expected.len());
}
