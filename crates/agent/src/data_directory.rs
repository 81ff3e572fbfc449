//! The directory of one printer: whose eyes it is for, and that only one process uses it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

const LOCK: &str = "lock";

/// A directory that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum DirectoryError {
    #[error("`{path}` is used by another running agent; stop that one, or give this one a directory of its own with `--data`", path = .0.display())]
    InUse(PathBuf),
    #[error("the directory `{path}` cannot be used: {source}", path = .path.display())]
    Unusable { path: PathBuf, source: io::Error },
}

/// A directory that is ours for as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    /// The system gives the lock back when the process ends, however it ends.
    _lock: File,
}

impl DataDirectory {
    /// Takes the directory, and makes it if it is not there.
    pub(crate) fn take(path: &Path) -> Result<Self, DirectoryError> {
        let unusable = |source| DirectoryError::Unusable { path: path.to_owned(), source };
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(unusable)?;
        keep_private(path, 0o700).map_err(unusable)?;
        let lock = private_file().open(path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(DirectoryError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// Whether an agent runs in the directory.
    pub(crate) fn is_taken(path: &Path) -> bool {
        let Ok(lock) = OpenOptions::new().read(true).open(path.join(LOCK)) else { return false };
        matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Replaces a file so that after a crash or a power cut either the old or the new one is there, whole.
///
/// Nothing else may write files of this name in the same directory at the same time.
pub(crate) fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = private_file().truncate(true).open(&fresh)?;
    keep_private(&fresh, 0o600)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    // The new name is safe only when the directory is.
    #[cfg(unix)]
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Takes away what others may do with a file or directory of ours. Returns whether there was anything to take away.
pub(crate) fn keep_private(path: &Path, mode: u32) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let too_open = fs::metadata(path)?.permissions().mode() & 0o077 != 0;
        if too_open {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        Ok(too_open)
    }
    #[cfg(not(unix))]
    {
        let _ = (path, mode);
        Ok(false)
    }
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn a_directory_has_one_user() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new/printer");
        assert!(!DataDirectory::is_taken(&path));
        let taken = DataDirectory::take(&path).unwrap();
        assert!(DataDirectory::is_taken(&path));
        let error = DataDirectory::take(&path).unwrap_err();
        assert!(matches!(error, DirectoryError::InUse(_)));
        assert!(error.to_string().contains("used by another running agent"), "{error}");
        drop(taken);
        assert!(!DataDirectory::is_taken(&path));
        DataDirectory::take(&path).unwrap();
    }

    #[test]
    fn a_place_that_is_no_directory_is_told() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        fs::write(&path, "").unwrap();
        let error = DataDirectory::take(&path).unwrap_err();
        assert!(error.to_string().starts_with("the directory `"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_written_is_for_nobody_else() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let directory = DataDirectory::take(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let file = directory.path().join("file.json");
        replace_file(&file, b"one").unwrap();
        replace_file(&file, b"two").unwrap();
        assert_eq!((mode(&file), fs::read(&file).unwrap()), (0o600, b"two".to_vec()));
        assert_eq!(mode(&path.join(LOCK)), 0o600);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2, "no other file is left");
    }
}
