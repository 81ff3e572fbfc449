//! Where the database is.

use std::fmt;
use std::path::{Path, PathBuf};

/// The address of a database. Its `Debug` output is safe to log.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Location);

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A file; its directory is made if it is missing.
    Sqlite(PathBuf),
}

impl DatabaseUrl {
    /// The SQLite database of a data directory.
    pub fn in_data_directory(directory: &Path) -> Self {
        Self(Location::Sqlite(directory.join("spoolway.db")))
    }

    pub(crate) fn location(&self) -> &Location {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Location::Sqlite(path) => write!(f, "DatabaseUrl(sqlite {})", path.display()),
        }
    }
}
