//! Compressed messages of the existing plugin, decompressed a second time without limits.

use std::io::Read;
use std::sync::OnceLock;

use bytes::Bytes;
use octo::Dictionary;
use octo::inflate::{Inflater, PIECE};
use octo::wire::Compression;

use crate::input::split_choice;

/// The most that a message of a test becomes.
const LIMIT: u64 = 1 << 22;
/// Bytes before each message: how much it says to become, and how long it is.
const HEAD: usize = 5;

/// The made-up dictionary of the protocol's examples.
fn dictionary_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let digits: Vec<u8> = include_bytes!("../../octo/tests/data/zstd_synthetic_dictionary.hex")
            .iter()
            .filter_map(|digit| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        digits.chunks_exact(2).map(|pair| 16 * pair[0] + pair[1]).collect()
    })
}

pub(crate) fn dictionary() -> Option<Dictionary> {
    static DICTIONARY: OnceLock<Option<Dictionary>> = OnceLock::new();
    *DICTIONARY.get_or_init(|| Dictionary::install(dictionary_bytes()).ok())
}

/// A byte for the algorithm and whether there is a dictionary; then messages, each with three bytes of what it says to
/// become, two of its length, and itself.
pub fn check(data: &[u8]) {
    let (choice, mut rest) = split_choice(data);
    let compression = if choice & 1 == 0 { Compression::Zlib } else { Compression::Zstandard };
    let mut inflater = Inflater::new(dictionary().filter(|_| choice & 2 == 0), LIMIT);
    let (mut read, mut written) = (Vec::new(), Vec::new());
    while let Some((head, after)) = rest.split_at_checked(HEAD) {
        let declared = u64::from(u32::from_le_bytes([head[0], head[1], head[2], 0]));
        let length = usize::from(u16::from_le_bytes([head[3], head[4]])).min(after.len());
        let (message, after) = after.split_at(length);
        rest = after;
        let Some(becomes) = inflate(&mut inflater, message, compression, declared) else { return };
        assert_eq!(becomes.len() as u64, declared, "as announced");
        read.extend_from_slice(message);
        written.extend_from_slice(&becomes);
        match compression {
            Compression::Zlib => assert_eq!(second_zlib(message), becomes),
            _ => assert!(second_zstd(&read, written.len(), choice & 2 == 0).starts_with(&written)),
        }
    }
}

fn inflate(inflater: &mut Inflater, message: &[u8], compression: Compression, declared: u64) -> Option<Vec<u8>> {
    let taken = inflater.handle_message(Bytes::copy_from_slice(message), compression, declared);
    assert_eq!(declared > LIMIT, matches!(taken, Err(octo::InflateError::TooLarge { .. })));
    taken.ok()?;
    let mut becomes = Vec::new();
    while let Some(piece) = inflater.next_piece().ok()? {
        assert!(!piece.is_empty() && piece.len() <= PIECE);
        becomes.extend_from_slice(&piece);
        assert!(becomes.len() as u64 <= declared, "never more than announced");
    }
    assert!(!inflater.has_more());
    Some(becomes)
}

/// Nothing may follow the stream.
fn second_zlib(message: &[u8]) -> Vec<u8> {
    let mut decoder = flate2::bufread::ZlibDecoder::new(message);
    let mut becomes = Vec::new();
    let result = decoder.read_to_end(&mut becomes);
    assert!(result.is_ok() && decoder.into_inner().is_empty(), "taken, but damaged: {result:?}");
    becomes
}

/// As much as there is of frames that may be cut off.
fn second_zstd(read: &[u8], enough: usize, has_dictionary: bool) -> Vec<u8> {
    let names_one = zstd::zstd_safe::get_dict_id_from_frame(read).is_some();
    let dictionary = if has_dictionary && names_one { dictionary_bytes() } else { &[] };
    let mut becomes = Vec::new();
    if let Ok(decoder) = zstd::stream::read::Decoder::with_dictionary(read, dictionary) {
        // It ends with an error where the frame is cut off; what came before is there.
        let _ = decoder.take(enough as u64).read_to_end(&mut becomes);
    }
    becomes
}
