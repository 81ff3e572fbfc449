//! Files of the agent that are replaced as a whole.

use std::io;
use std::path::Path;

/// Writes a file so that a crash leaves either the old or the new.
pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, contents)?;
    std::fs::rename(fresh, path)
}
