//! Messages of the existing plugin, read a second time by following offsets by hand.

use bytes::Bytes;
use octo::wire::{self, Message};

use crate::input::split_choice;

/// Where the second reader begins, and the slots that it looks at.
const PREFIX: usize = 4;
const CONTEXT: usize = 1;
const STREAM_ID: usize = 0;
const DATA: usize = 6;

/// An even first byte: a message without its size prefix follows, else one as it is.
pub fn check(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let bytes = if choice & 1 == 0 {
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        Bytes::from([&length.to_le_bytes(), rest].concat())
    } else {
        Bytes::copy_from_slice(rest)
    };
    let Ok(message) = wire::decode(&bytes) else { return };
    match wire::decode(&wire::encode(&message)) {
        Ok(again) => assert_eq!(again, message),
        Err(error) => panic!("{message:?} is written as what is none: {error:?}"),
    }
    let Message::Stream(stream) = &message else { return };
    let reader = SecondReader(&bytes);
    let context = reader.field(reader.follow(PREFIX), CONTEXT).map_or(0, |field| reader.follow(field));
    assert_eq!(stream.stream_id, reader.field(context, STREAM_ID).map_or(0, |field| reader.number(field)));
    let data = reader.field(context, DATA).map(|field| reader.follow(field));
    let expected = data.map(|start| &bytes[start + 4..start + 4 + reader.number(start) as usize]);
    assert_eq!(stream.data.as_deref(), expected);
}

/// Panics where it leaves the buffer, and is asked only after the verifier has said that nothing does.
struct SecondReader<'a>(&'a [u8]);

impl SecondReader<'_> {
    fn number(&self, position: usize) -> u32 {
        (0..4).map(|index| u32::from(self.0[position + index]) << (8 * index)).sum()
    }

    fn follow(&self, position: usize) -> usize {
        position + self.number(position) as usize
    }

    /// Where a field is.
    fn field(&self, table: usize, slot: usize) -> Option<usize> {
        let back = i64::from(self.number(table) as i32);
        let vtable = (table as i64 - back) as usize;
        let short = |position: usize| usize::from(self.0[position]) + 256 * usize::from(self.0[position + 1]);
        let entry = 4 + 2 * slot;
        let offset = if entry < short(vtable) { short(vtable + entry) } else { 0 };
        (offset > 0).then_some(table + offset)
    }
}
