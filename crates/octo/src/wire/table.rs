//! Reading a table in a verified buffer.
//!
//! The verifier has been here, so nothing is out of range. Every read is checked all the same, and what could not be
//! read counts as absent.

use std::ops::Range;

use bytes::Bytes;

/// A field's place in its table: the index of the field, from zero.
pub(super) type Slot = u16;

/// The field's place in bytes in the table of offsets.
pub(super) const fn vtable_offset(slot: Slot) -> u16 {
    // After the lengths of itself and of the table.
    4 + 2 * slot
}

/// One table.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    buffer: &'a Bytes,
    position: usize,
    vtable: &'a [u8],
}

impl<'a> Table<'a> {
    /// The table to which the offset at `position` leads.
    pub(super) fn root(buffer: &'a Bytes, position: usize) -> Option<Self> {
        Self::at(buffer, follow(buffer, position)?)
    }

    fn at(buffer: &'a Bytes, position: usize) -> Option<Self> {
        let back = i64::from(i32::from_le_bytes(read(buffer, position)?));
        let start = usize::try_from(i64::try_from(position).ok()? - back).ok()?;
        let length = usize::from(u16::from_le_bytes(read(buffer, start)?));
        Some(Self { buffer, position, vtable: buffer.get(start..start.checked_add(length)?)? })
    }

    /// Where a field is, if it is there.
    fn position(&self, slot: Slot) -> Option<usize> {
        match u16::from_le_bytes(read(self.vtable, usize::from(vtable_offset(slot)))?) {
            0 => None,
            offset => self.position.checked_add(usize::from(offset)),
        }
    }

    /// The bytes of a number, least significant first.
    pub(super) fn number<const N: usize>(&self, slot: Slot) -> Option<[u8; N]> {
        read(self.buffer, self.position(slot)?)
    }

    /// A vector of bytes, in the memory of the message.
    pub(super) fn bytes(&self, slot: Slot) -> Option<Bytes> {
        let range = vector(self.buffer, follow(self.buffer, self.position(slot)?)?, 1)?;
        Some(self.buffer.slice(range))
    }

    /// A string.
    pub(super) fn text(&self, slot: Slot) -> Option<&'a str> {
        text(self.buffer, follow(self.buffer, self.position(slot)?)?)
    }

    /// A vector of strings.
    pub(super) fn texts(&self, slot: Slot) -> Option<Vec<String>> {
        self.elements(slot, |buffer, position| text(buffer, position).map(str::to_owned))
    }

    /// Another table.
    pub(super) fn table(&self, slot: Slot) -> Option<Self> {
        Self::at(self.buffer, follow(self.buffer, self.position(slot)?)?)
    }

    /// A vector of tables.
    pub(super) fn tables<T>(&self, slot: Slot, read: impl Fn(&Table<'_>) -> T) -> Option<Vec<T>> {
        self.elements(slot, |buffer, position| Some(read(&Table::at(buffer, position)?)))
    }

    fn elements<T>(&self, slot: Slot, read: impl Fn(&'a Bytes, usize) -> Option<T>) -> Option<Vec<T>> {
        let range = vector(self.buffer, follow(self.buffer, self.position(slot)?)?, OFFSET)?;
        range.step_by(OFFSET).map(|position| read(self.buffer, follow(self.buffer, position)?)).collect()
    }
}

/// Bytes of an offset, and of a vector's length.
const OFFSET: usize = 4;

fn read<const N: usize>(buffer: &[u8], position: usize) -> Option<[u8; N]> {
    buffer.get(position..)?.first_chunk().copied()
}

/// Where the offset at `position` leads.
fn follow(buffer: &[u8], position: usize) -> Option<usize> {
    let offset = u32::from_le_bytes(read(buffer, position)?);
    position.checked_add(usize::try_from(offset).ok()?)
}

/// The range of the elements of the vector at `position`, each of `size` bytes.
fn vector(buffer: &[u8], position: usize, size: usize) -> Option<Range<usize>> {
    let length = usize::try_from(u32::from_le_bytes(read(buffer, position)?)).ok()?.checked_mul(size)?;
    let start = position.checked_add(OFFSET)?;
    let end = start.checked_add(length)?;
    (end <= buffer.len()).then_some(start..end)
}

fn text(buffer: &[u8], position: usize) -> Option<&str> {
    std::str::from_utf8(buffer.get(vector(buffer, position, 1)?)?).ok()
}
