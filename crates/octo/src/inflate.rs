//! Decompressing what plugins send (tunnel.md 8).
//!
//! Every message says how much comes out of it. That is checked against a limit before anything is done, the
//! decompressor is never given more room than that, and neither more nor less is taken. What comes out is handed on in
//! pieces, so that memory does not depend on what a message announces.

use std::fmt;

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress};
use thiserror::Error;
use zstd::dict::DecoderDictionary;
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_dict_id_from_dict, get_dict_id_from_frame};

use crate::wire::Compression;

/// The most bytes of one piece of what comes out.
pub const PIECE: usize = 256 * 1024;
/// The largest window that a frame may ask for, as a power of two: 8 MiB. Plugins were seen to ask for 2 MiB
/// (tunnel.md 8.4).
const MAX_WINDOW_LOG: u32 = 23;

/// Why a payload cannot be decompressed.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InflateError {
    /// An algorithm that plugins do not speak.
    #[error("the compression {0:?} is not spoken")]
    Unsupported(Compression),
    /// It announces more than the limit.
    #[error("a message announces {declared} bytes, over the limit of {limit}")]
    TooLarge {
        /// Announced.
        declared: u64,
        /// Allowed.
        limit: u64,
    },
    /// The frame needs a dictionary that we do not have.
    #[error("the dictionary {0} is needed")]
    Dictionary(u32),
    /// What the algorithm calls damage.
    #[error("the compressed data is damaged")]
    Damaged,
    /// Less comes out than announced.
    #[error("less comes out than the message announces")]
    Short,
    /// More comes out, or is left over.
    #[error("more is there than the message announces")]
    Long,
}

/// The bytes are no dictionary.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("these bytes are no trained zstd dictionary")]
pub struct NoDictionary;

/// What plugins and the service know in common before the first byte, which makes short messages small.
#[derive(Clone, Copy)]
pub struct Dictionary {
    /// zstd keeps a plain pointer to it in each decoder and borrows nothing, so it must never go away.
    prepared: &'static DecoderDictionary<'static>,
    id: u32,
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dictionary").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Dictionary {
    /// Prepares a dictionary in zstd's own format. Its memory, some 150 KiB, is never given back: a process has one.
    ///
    /// # Errors
    /// If the bytes are no dictionary, or one without an id.
    pub fn install(bytes: &[u8]) -> Result<Self, NoDictionary> {
        let id = get_dict_id_from_dict(bytes).ok_or(NoDictionary)?.get();
        let prepared = zstd::zstd_safe::DDict::try_create(bytes).map(|_| DecoderDictionary::copy(bytes));
        Ok(Self { prepared: Box::leak(Box::new(prepared.ok_or(NoDictionary)?)), id })
    }

    /// The id by which frames name it.
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// Decompresses the messages of one direction of one stream, in order.
///
/// Each zlib message stands for itself. For zstd one frame spans all of them and never ends, so the decoder is kept,
/// and every message has to pass through it.
pub struct Inflater {
    dictionary: Option<Dictionary>,
    limit: u64,
    zstd: Option<DCtx<'static>>,
    current: Option<Current>,
}

/// A message that is being decompressed.
struct Current {
    zlib: Option<Decompress>,
    data: Bytes,
    left: u64,
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("memory", &self.memory()).finish_non_exhaustive()
    }
}

impl Inflater {
    /// Takes messages that announce up to `limit` bytes each.
    pub fn new(dictionary: Option<Dictionary>, limit: u64) -> Self {
        Self { dictionary, limit, zstd: None, current: None }
    }

    /// Bytes that the decoder holds between messages.
    pub fn memory(&self) -> usize {
        self.zstd.as_ref().map_or(0, DCtx::sizeof)
    }

    /// Takes in a message that is compressed, and becomes `declared` bytes. The message before must have been read to
    /// its end with [`Self::next_piece`].
    ///
    /// # Errors
    /// If the message cannot be decompressed, whatever is in it.
    pub fn handle_message(&mut self, data: Bytes, compression: Compression, declared: u64) -> Result<(), InflateError> {
        if declared > self.limit {
            return Err(InflateError::TooLarge { declared, limit: self.limit });
        }
        let zlib = match compression {
            Compression::Zlib => Some(Decompress::new(true)),
            Compression::Zstandard => {
                if self.zstd.is_none() {
                    self.zstd = Some(self.new_zstd(&data)?);
                }
                None
            }
            other => return Err(InflateError::Unsupported(other)),
        };
        self.current = Some(Current { zlib, data, left: declared });
        Ok(())
    }

    /// A decoder for a frame that begins with `data`.
    fn new_zstd(&self, data: &[u8]) -> Result<DCtx<'static>, InflateError> {
        let mut decoder = DCtx::try_create().ok_or(InflateError::Damaged)?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG)).map_err(|_| InflateError::Damaged)?;
        // A frame that names none was made without one, and must be read without one.
        if let Some(id) = get_dict_id_from_frame(data).map(std::num::NonZero::get) {
            let dictionary =
                self.dictionary.filter(|dictionary| dictionary.id == id).ok_or(InflateError::Dictionary(id))?;
            decoder.ref_ddict(dictionary.prepared.as_ddict()).map_err(|_| InflateError::Damaged)?;
        }
        Ok(decoder)
    }

    /// Whether the message last taken in has not been read to its end.
    pub fn has_more(&self) -> bool {
        self.current.is_some()
    }

    /// The next bytes of the message last taken in; `None` after its end.
    ///
    /// # Errors
    /// If the message is not what it announces. Its stream is of no use from there on.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, InflateError> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let mut engine = match (&mut current.zlib, &mut self.zstd) {
            (Some(zlib), _) => Engine::Zlib(zlib),
            (None, Some(zstd)) => Engine::Zstd(zstd),
            (None, None) => return Err(InflateError::Damaged),
        };
        let size = usize::try_from(current.left).unwrap_or(usize::MAX).min(PIECE);
        let mut piece = vec![0; size];
        let mut filled = 0;
        while filled < size {
            let step = engine.step(&current.data, piece.get_mut(filled..).unwrap_or_default())?;
            if step.read == 0 && step.written == 0 {
                return Err(InflateError::Short);
            }
            current.data.advance(step.read);
            filled += step.written;
        }
        current.left = current.left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
        if current.left == 0 {
            engine.finish(&mut current.data)?;
            self.current = None;
        }
        Ok((size > 0).then(|| piece.into()))
    }
}

enum Engine<'a> {
    Zlib(&'a mut Decompress),
    Zstd(&'a mut DCtx<'static>),
}

/// Bytes read and written at once.
struct Step {
    read: usize,
    written: usize,
    /// The stream, which stands for itself, is over.
    is_end: bool,
}

impl Engine<'_> {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, InflateError> {
        match self {
            Self::Zlib(zlib) => {
                let before = (zlib.total_in(), zlib.total_out());
                let status =
                    zlib.decompress(input, output, FlushDecompress::None).map_err(|_| InflateError::Damaged)?;
                let count = |now: u64, before: u64| usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX);
                Ok(Step {
                    read: count(zlib.total_in(), before.0),
                    written: count(zlib.total_out(), before.1),
                    is_end: status == flate2::Status::StreamEnd,
                })
            }
            Self::Zstd(zstd) => {
                let mut input = InBuffer::around(input);
                let mut output = OutBuffer::around(output);
                zstd.decompress_stream(&mut output, &mut input).map_err(|_| InflateError::Damaged)?;
                Ok(Step { read: input.pos(), written: output.pos(), is_end: false })
            }
        }
    }

    /// Sees to it that nothing comes after what was announced.
    fn finish(&mut self, data: &mut Bytes) -> Result<(), InflateError> {
        loop {
            let step = self.step(data, &mut [0])?;
            data.advance(step.read);
            if step.written > 0 {
                return Err(InflateError::Long);
            }
            let is_stuck = step.read == 0;
            match self {
                Self::Zlib(_) if step.is_end => break,
                Self::Zlib(_) if is_stuck => return Err(InflateError::Short),
                Self::Zstd(_) if is_stuck => break,
                _ => {}
            }
        }
        if data.is_empty() { Ok(()) } else { Err(InflateError::Long) }
    }
}
