//! What a slow visitor has not taken yet, on the disk (T30).
//!
//! The files have no name, so they are gone with whoever held them, whatever ends the process.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use thiserror::Error;

/// Bytes of one file. What was read is given back in steps of this size.
const SEGMENT: u64 = 8 * 1024 * 1024;
/// Bytes read at once.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Bytes of one stream: a large print with its pictures, and more than a phone has room for.
const MAX_STREAM: u64 = 2 << 30;
/// Bytes of one printer's streams.
const MAX_PRINTER: u64 = 4 << 30;
/// Bytes of all printers' streams.
const MAX_NODE: u64 = 16 << 30;
/// Bytes of the disk that stay free. The database is on it, too, and does worse without room than a slow visitor.
const DISK_RESERVE: u64 = 512 << 20;
/// Bytes of all printers' streams that wait in memory before anything goes to the disk: what fast visitors need.
const MAX_MEMORY: u64 = 48 << 20;

/// Why something is not kept.
#[derive(Debug, Error)]
pub(crate) enum SpillError {
    /// A quota is used up.
    #[error("too much is kept for slow visitors")]
    Full,
    /// The disk has next to no room left.
    #[error("the disk is nearly full")]
    NoRoom,
    /// The disk does not take it.
    #[error("what a slow visitor has not taken cannot be kept")]
    Disk(#[from] io::Error),
}

/// Counts bytes on the disk up to a limit.
#[derive(Debug)]
struct Quota {
    used: AtomicU64,
    limit: u64,
}

impl Quota {
    fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit }
    }

    fn add(&self, bytes: u64) -> Result<(), SpillError> {
        let added = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added) {
            Ok(_) => Ok(()),
            Err(_) => Err(SpillError::Full),
        }
    }

    fn remove(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Where the files are, and how much they may hold.
#[derive(Clone, Debug)]
pub(crate) struct SpillArea {
    directory: Arc<PathBuf>,
    node: Arc<Quota>,
    printer: Arc<Quota>,
    memory: Arc<Quota>,
    reserve: u64,
}

impl SpillArea {
    pub(crate) fn new(directory: PathBuf) -> Self {
        let printer = Arc::new(Quota::new(MAX_PRINTER));
        let (node, memory) = (Arc::new(Quota::new(MAX_NODE)), Arc::new(Quota::new(MAX_MEMORY)));
        Self { directory: Arc::new(directory), node, printer, memory, reserve: DISK_RESERVE }
    }

    /// Whether there is room for so many bytes in memory. They count until they are given back.
    pub(crate) fn take_memory(&self, bytes: usize) -> bool {
        self.memory.add(bytes as u64).is_ok()
    }

    pub(crate) fn give_back_memory(&self, bytes: usize) {
        self.memory.remove(bytes as u64);
    }

    /// Whether the disk has room for another file.
    fn has_room(&self) -> io::Result<bool> {
        let disk = rustix::fs::statvfs(&*self.directory)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize) >= self.reserve.saturating_add(SEGMENT))
    }

    /// The same for another printer.
    pub(crate) fn of_printer(&self) -> Self {
        Self { printer: Arc::new(Quota::new(MAX_PRINTER)), ..self.clone() }
    }

    /// Bytes on the disk.
    #[cfg(test)]
    fn used(&self) -> u64 {
        self.node.used.load(Ordering::Relaxed)
    }
}

/// A queue of bytes on the disk.
#[derive(Debug)]
pub(crate) struct Spill {
    area: SpillArea,
    segments: VecDeque<Segment>,
}

#[derive(Debug)]
struct Segment {
    file: Arc<File>,
    written: u64,
    read: u64,
}

/// A piece that can be read without the queue, on a thread that may wait for the disk.
pub(crate) struct Chunk {
    file: Arc<File>,
    position: u64,
    length: usize,
}

impl Chunk {
    pub(crate) fn read(self) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.length];
        self.file.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes.into())
    }
}

impl Spill {
    pub(crate) fn new(area: SpillArea) -> Self {
        Self { area, segments: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.written).sum()
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<(), SpillError> {
        let length = data.len() as u64;
        if self.bytes() + length > MAX_STREAM {
            return Err(SpillError::Full);
        }
        self.area.printer.add(length)?;
        if let Err(error) = self.area.node.add(length) {
            self.area.printer.remove(length);
            return Err(error);
        }
        self.write(data).inspect_err(|_| self.area.give_back(length))
    }

    fn write(&mut self, data: &[u8]) -> Result<(), SpillError> {
        if self.segments.back().is_none_or(|segment| segment.written >= SEGMENT) {
            if !self.area.has_room()? {
                return Err(SpillError::NoRoom);
            }
            let file = Arc::new(tempfile::tempfile_in(&*self.area.directory)?);
            self.segments.push_back(Segment { file, written: 0, read: 0 });
        }
        let Some(segment) = self.segments.back_mut() else { return Ok(()) };
        segment.file.write_all_at(data, segment.written)?;
        segment.written += data.len() as u64;
        Ok(())
    }

    /// Takes the next bytes, which have to be read.
    pub(crate) fn take(&mut self) -> Option<Chunk> {
        let segment = self.segments.front_mut()?;
        let length = usize::try_from(segment.written - segment.read).unwrap_or(CHUNK).min(CHUNK);
        let chunk = Chunk { file: Arc::clone(&segment.file), position: segment.read, length };
        segment.read += length as u64;
        if segment.read >= segment.written {
            let written = segment.written;
            self.segments.pop_front();
            self.area.give_back(written);
        }
        Some(chunk)
    }
}

impl SpillArea {
    fn give_back(&self, bytes: u64) {
        self.node.remove(bytes);
        self.printer.remove(bytes);
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.area.give_back(self.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_in_order_and_room_is_given_back() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let area = SpillArea::new(directory.path().to_owned());
        let mut spill = Spill::new(area.of_printer());
        let data: Vec<u8> = (0..20 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
        for piece in data.chunks(100_000) {
            spill.push(piece).expect("there is room");
        }
        assert_eq!(area.used(), data.len() as u64);
        assert_eq!(std::fs::read_dir(directory.path()).expect("it can be read").count(), 0, "the files have no names");
        let mut read = Vec::new();
        while let Some(chunk) = spill.take() {
            read.extend_from_slice(&chunk.read().expect("it can be read"));
        }
        assert!(read == data);
        assert_eq!(area.used(), 0);
        spill.push(b"more").expect("there is room");
        drop(spill);
        assert_eq!(area.used(), 0);
    }

    #[test]
    fn quotas_hold_and_failures_cost_nothing() {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mut area = SpillArea::new(directory.path().to_owned());
        area.printer = Arc::new(Quota::new(10));
        let (mut first, mut second) = (Spill::new(area.clone()), Spill::new(area.clone()));
        first.push(b"123456").expect("there is room");
        assert!(matches!(second.push(b"12345"), Err(SpillError::Full)));
        second.push(b"1234").expect("there is room");
        drop(first);
        second.push(b"123456").expect("there is room again");
        drop(second);
        area.reserve = u64::MAX - SEGMENT;
        let mut reserved = Spill::new(area);
        assert!(matches!(reserved.push(b"x"), Err(SpillError::NoRoom)));
        assert_eq!(reserved.area.used(), 0);
        drop(reserved);
        let mut nowhere = Spill::new(SpillArea::new("/nowhere".into()));
        assert!(matches!(nowhere.push(b"x"), Err(SpillError::Disk(_))));
        assert_eq!(nowhere.area.used(), 0);
    }
}
