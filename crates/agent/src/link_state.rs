//! The last that was heard of a link, kept for `spoolway-agent status`.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::data_directory::replace_file;

const FILE: &str = "link.json";

/// A link, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkState {
    pub(crate) connected: bool,
    /// Since when, in milliseconds since 1970.
    pub(crate) since_unix_ms: u64,
    /// What the service calls the printer, once it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) printer_name: Option<String>,
    /// What was told last.
    pub(crate) message: String,
}

impl LinkState {
    /// The state as it begins `now`.
    pub(crate) fn new(connected: bool, now: SystemTime, printer_name: Option<String>, message: String) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { connected, since_unix_ms: since.as_millis() as u64, printer_name, message }
    }

    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        replace_file(&directory.join(FILE), &text)
    }

    /// `None` if there is none, or none that can be read: it is only a help.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(directory.join(FILE)).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn is_read_back_and_missing_or_damaged_is_none() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(LinkState::read(directory.path()), None);
        let state = LinkState::new(true, SystemTime::now(), Some("Prusa".to_owned()), "linked".to_owned());
        state.write(directory.path()).unwrap();
        assert_eq!(LinkState::read(directory.path()), Some(state));
        std::fs::write(directory.path().join(FILE), "{").unwrap();
        assert_eq!(LinkState::read(directory.path()), None);
    }
}
