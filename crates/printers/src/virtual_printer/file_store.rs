//! The virtual printer's memory card: a directory that vanishes with the printer.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::{TempDir, TempPath};
use thiserror::Error;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::file_name::FileName;
use super::machine::Gcode;

/// Marks directories of ours, so that what a killed process left behind can be told from what is somebody else's.
const DIRECTORY_PREFIX: &str = "spoolway-virtual-printer-";

/// Room for files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    pub(super) file: u64,
    pub(super) total: u64,
}

/// Why an upload was not stored.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    #[error("the file is larger than {0} bytes")]
    FileTooLarge(u64),
    #[error("the memory card of {0} bytes is full; delete a file first")]
    Full(u64),
    #[error("the file could not be written")]
    Io(#[from] io::Error),
}

/// Stored files by name.
pub(super) struct FileStore {
    capacity: Capacity,
    used: Arc<AtomicU64>,
    files: Mutex<BTreeMap<FileName, Arc<StoredFile>>>,
    /// Last, so that the files in it are deleted first.
    directory: TempDir,
}

/// A complete file. It stays readable by whoever holds it, also after it was deleted or replaced.
pub(super) struct StoredFile {
    name: FileName,
    length: u64,
    lines: u64,
    sha256: String,
    path: TempPath,
    _reserved: Reservation,
}

/// A file on its way in. Dropping it leaves nothing behind.
pub(super) struct Upload {
    name: FileName,
    file: File,
    path: TempPath,
    hasher: Sha256,
    length: u64,
    lines: u64,
    ends_in_line: bool,
    reserved: Reservation,
    capacity: Capacity,
}

/// Bytes of the capacity that somebody uses.
struct Reservation {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl FileStore {
    /// Makes a directory of its own below `parent`, or below the system's directory for temporary files.
    ///
    /// Nothing but this store may use a given `parent`: what an earlier one left in it is deleted.
    pub(super) fn create(parent: Option<&Path>, capacity: Capacity) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(DIRECTORY_PREFIX);
        let directory = match parent {
            Some(parent) => {
                std::fs::create_dir_all(parent)?;
                delete_leftovers(parent)?;
                builder.tempdir_in(parent)?
            }
            None => builder.tempdir()?,
        };
        Ok(Self { capacity, used: Arc::default(), files: Mutex::default(), directory })
    }

    pub(super) fn get(&self, name: &FileName) -> Option<Arc<StoredFile>> {
        self.files.lock().get(name).cloned()
    }

    pub(super) fn list(&self) -> Vec<Arc<StoredFile>> {
        self.files.lock().values().cloned().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.files.lock().len()
    }

    /// Bytes in complete files and in those on their way in.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes a file off the card. Its bytes are freed when nobody reads it any more.
    pub(super) fn remove(&self, name: &FileName) -> Option<Arc<StoredFile>> {
        self.files.lock().remove(name)
    }

    /// Begins an upload; `length` is what its sender announced.
    pub(super) async fn begin(&self, name: FileName, length: Option<u64>) -> Result<Upload, StoreError> {
        if length.is_some_and(|length| length > self.capacity.file) {
            return Err(StoreError::FileTooLarge(self.capacity.file));
        }
        if length.is_some_and(|length| self.used().saturating_add(length) > self.capacity.total) {
            return Err(StoreError::Full(self.capacity.total));
        }
        let directory = self.directory.path().to_owned();
        let (file, path) =
            run_blocking(move || tempfile::Builder::new().prefix("file-").tempfile_in(directory)).await?.into_parts();
        Ok(Upload {
            name,
            file: File::from_std(file),
            path,
            hasher: Sha256::new(),
            length: 0,
            lines: 0,
            ends_in_line: false,
            reserved: Reservation { used: Arc::clone(&self.used), bytes: 0 },
            capacity: self.capacity,
        })
    }

    /// Puts a complete upload in its place. The second value is the file that was there before.
    pub(super) async fn finish(
        &self,
        mut upload: Upload,
    ) -> Result<(Arc<StoredFile>, Option<Arc<StoredFile>>), StoreError> {
        upload.file.flush().await?;
        let stored = Arc::new(StoredFile {
            name: upload.name,
            length: upload.length,
            lines: upload.lines + u64::from(upload.ends_in_line),
            sha256: hex(&upload.hasher.finalize()),
            path: upload.path,
            _reserved: upload.reserved,
        });
        let replaced = self.files.lock().insert(stored.name.clone(), Arc::clone(&stored));
        Ok((stored, replaced))
    }
}

impl Upload {
    pub(super) async fn write(&mut self, data: &Bytes) -> Result<(), StoreError> {
        let added = data.len() as u64;
        if self.length.saturating_add(added) > self.capacity.file {
            return Err(StoreError::FileTooLarge(self.capacity.file));
        }
        if !self.reserved.grow(added, self.capacity.total) {
            return Err(StoreError::Full(self.capacity.total));
        }
        self.length += added;
        self.lines += data.iter().filter(|byte| **byte == b'\n').count() as u64;
        if let Some(last) = data.last() {
            self.ends_in_line = *last != b'\n';
        }
        self.hasher.update(data);
        self.file.write_all(data).await?;
        Ok(())
    }
}

impl StoredFile {
    pub(super) fn name(&self) -> &FileName {
        &self.name
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) async fn open(&self) -> io::Result<File> {
        File::open(&self.path).await
    }

    /// A strong validator: equal contents, equal tag.
    pub(super) fn entity_tag(&self) -> String {
        format!("\"{}\"", self.sha256)
    }

    pub(super) fn gcode(&self) -> Gcode {
        Gcode { name: self.name.clone(), bytes: self.length, lines: self.lines }
    }

    pub(super) fn description(&self) -> FileDescription {
        FileDescription {
            name: self.name.to_string(),
            length: self.length,
            lines: self.lines,
            sha256: self.sha256.clone(),
        }
    }
}

/// A file as the API shows it.
#[derive(Debug, Serialize)]
pub(super) struct FileDescription {
    name: String,
    length: u64,
    lines: u64,
    sha256: String,
}

impl Reservation {
    fn grow(&mut self, bytes: u64, total: u64) -> bool {
        let grown = self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= total)
        });
        if grown.is_ok() {
            self.bytes += bytes;
        }
        grown.is_ok()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn delete_leftovers(parent: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(DIRECTORY_PREFIX) {
            let path: PathBuf = entry.path();
            std::fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
