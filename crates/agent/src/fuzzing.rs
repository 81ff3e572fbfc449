//! Entry points to what reads foreign text, for the fuzzers and for the replay of their corpora.

use std::path::PathBuf;

use crate::config_file::ConfigFile;
use crate::settings::{Overrides, Settings};

/// Reads a configuration file's text, with nothing said by flags or environment; `None` if it cannot be used.
pub fn settings(text: &str, default_data: PathBuf) -> Option<Settings> {
    Settings::resolve(Overrides::default(), ConfigFile::parse(text).ok()?, default_data).ok()
}
