//! Messages as they travel (tunnel.md 2 and 3).
//!
//! One message is one size-prefixed FlatBuffer. The stock crate's verifier walks every message before a byte of it is
//! read, and its builder writes ours. In between, [`schema`] lists the tables, and `table` reads them with checked
//! reads of its own: what a compiler would generate reads without checks, and is `unsafe` all over.

mod field;
mod kinds;
mod record;
mod schema;
mod table;

use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, InvalidFlatbuffer, Verifier, VerifierOptions};
use thiserror::Error;

pub use kinds::{
    AuthAllowed, Compression, NotificationKind, Os, PathKind, Priority, ServerHost, SummonMethod, WebSocketKind,
};
pub use schema::{
    HandshakeAck, HandshakeSyn, HttpHeader, HttpInitialContext, Message, Notification, Property, StreamMessage, Summon,
};

use table::Table;

/// Bytes of the size prefix.
pub const PREFIX: usize = 4;
/// The most that a message may have, prefix included. The plugin sends single messages of 20 MB (tunnel.md 9.3).
pub const MAX_MESSAGE: usize = 32 * 1024 * 1024;
/// What is around the payload of one of our own messages, unless it opens a stream.
const OVERHEAD: usize = 256;

/// How far the verifier follows a message.
const VERIFIER: VerifierOptions = VerifierOptions {
    // A header lies in the fourth table.
    max_depth: 6,
    // Each header is a table of its own; servers stop at some hundred headers.
    max_tables: 4096,
    // Strings may share their bytes, so a small message can pretend to be a large one.
    max_apparent_size: 2 * MAX_MESSAGE,
    ignore_missing_null_terminator: false,
};

/// Why bytes are no message.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Over [`MAX_MESSAGE`].
    #[error("the message has {0} bytes")]
    TooLarge(usize),
    /// The prefix does not count the bytes after it.
    #[error("the size prefix does not fit a message of {0} bytes")]
    Prefix(usize),
    /// The verifier refused it.
    #[error("the message is no valid buffer")]
    Buffer(#[source] InvalidFlatbuffer),
}

/// Reads a message. Its payload shares the memory of `bytes`.
///
/// # Errors
/// If the bytes are no message, or one over a limit. A kind of message that is not known is no error.
pub fn decode(bytes: &Bytes) -> Result<Message, DecodeError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(DecodeError::TooLarge(bytes.len()));
    }
    let prefix = bytes.first_chunk::<PREFIX>().ok_or(DecodeError::Prefix(bytes.len()))?;
    if usize::try_from(u32::from_le_bytes(*prefix)).ok() != bytes.len().checked_sub(PREFIX) {
        return Err(DecodeError::Prefix(bytes.len()));
    }
    // From the prefix on, and not from behind it: fields of 8 bytes are aligned relative to it (tunnel.md 2.2).
    schema::verify(&mut Verifier::new(&VERIFIER, bytes), PREFIX).map_err(DecodeError::Buffer)?;
    Ok(Table::root(bytes, PREFIX).map_or(Message::Unknown(0), |root| schema::read(&root)))
}

/// Writes a message.
pub fn encode(message: &Message) -> Bytes {
    let payload = match message {
        Message::Stream(stream) => stream.data.as_ref().map_or(0, Bytes::len),
        _ => 0,
    };
    let mut builder = FlatBufferBuilder::with_capacity(payload + OVERHEAD);
    let root = schema::write(message, &mut builder);
    builder.finish_size_prefixed(root, None);
    let (buffer, start) = builder.collapse();
    Bytes::from(buffer).slice(start..)
}
