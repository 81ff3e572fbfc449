//! The files of an installed plugin.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// An OctoPrint with all its packages has some 20,000.
const MAX_ENTRIES: usize = 200_000;
/// Deeper than packages lie in each other.
const MAX_DEPTH: usize = 24;
/// Where nothing of the plugin is.
const SKIPPED: [&str; 4] = [".git", "node_modules", "__pycache__", super::adopt::BACKUP];

/// All plain files below a directory, or the one file, in order. Links are not followed: they could lead anywhere.
pub(super) fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let kind = fs::metadata(root).with_context(|| format!("cannot look at `{}`", root.display()))?;
    if kind.is_file() {
        return Ok(vec![root.to_owned()]);
    }
    let (mut files, mut folders, mut n_entries) = (Vec::new(), vec![(root.to_owned(), 0)], 0);
    while let Some((folder, depth)) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list `{}`", folder.display()))?;
            n_entries += 1;
            anyhow::ensure!(
                n_entries <= MAX_ENTRIES,
                "there are too many files below `{}`; name the folder that the plugin is in",
                root.display()
            );
            let kind = entry.file_type().with_context(|| format!("cannot look at `{}`", entry.path().display()))?;
            if kind.is_file() {
                files.push(entry.path());
            } else if kind.is_dir() && depth < MAX_DEPTH && !SKIPPED.iter().any(|name| entry.file_name() == *name) {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    files.sort();
    Ok(files)
}
