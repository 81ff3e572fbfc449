//! Compressing as plugins do.

use std::io::Write;

use bytes::Bytes;
use flate2::write::ZlibEncoder;
use zstd::stream::raw::{Encoder, InBuffer, Operation, OutBuffer};

use crate::wire::Compression;

/// Plugins use it for both algorithms.
const LEVEL: i32 = 3;

/// Compresses the messages of one direction of one stream, in order.
#[derive(Default)]
pub struct Deflater {
    dictionary: Vec<u8>,
    zstd: Option<Encoder<'static>>,
}

impl Deflater {
    /// With a dictionary in zstd's format, or without one if it is empty.
    pub fn new(dictionary: &[u8]) -> Self {
        Self { dictionary: dictionary.to_vec(), zstd: None }
    }

    /// Compresses a message.
    pub fn message(&mut self, data: &[u8], compression: Compression) -> Bytes {
        match compression {
            Compression::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::new(3));
                encoder.write_all(data).and_then(|()| encoder.finish()).expect("memory takes everything").into()
            }
            Compression::Zstandard => self.flushed(data),
            _ => Bytes::copy_from_slice(data),
        }
    }

    /// The one frame goes on, and all of the message can be read from what is there of it.
    fn flushed(&mut self, data: &[u8]) -> Bytes {
        let dictionary = &self.dictionary;
        let encoder = self
            .zstd
            .get_or_insert_with(|| Encoder::with_dictionary(LEVEL, dictionary).expect("the dictionary is one"));
        let mut compressed = vec![0; 2 * data.len() + 1024];
        let mut input = InBuffer::around(data);
        let mut output = OutBuffer::around(&mut compressed[..]);
        while input.pos() < data.len() {
            encoder.run(&mut input, &mut output).expect("there is room");
        }
        while encoder.flush(&mut output).expect("there is room") > 0 {}
        let length = output.pos();
        compressed.truncate(length);
        compressed.into()
    }
}

/// A complete frame, with the content's size in its head, as plugins make for a body that is read at once.
pub(super) fn single_frame(data: &[u8], dictionary: &[u8]) -> Bytes {
    let mut compressor = zstd::bulk::Compressor::with_dictionary(LEVEL, dictionary).expect("the dictionary is one");
    compressor.compress(data).expect("memory takes everything").into()
}
