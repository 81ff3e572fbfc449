//! Who a printer's agent is, kept where it survives a restart.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use model::{PrinterId, Secret};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::warn;
use tunnel::agent_loop::Identity;

use crate::data_directory::{DataDirectory, keep_private, replace_file};

const FILE: &str = "identity.json";

/// An identity that cannot be read or kept.
#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    #[error("the identity `{path}` cannot be read: {source}", path = .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "the identity `{path}` is damaged: {source}\n\
         Restore it from a backup; or delete it, and enrol the printer again with a new token",
        path = .path.display()
    )]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("the identity `{path}` cannot be written: {source}", path = .path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

/// A printer's identity and the file that it is kept in.
pub(crate) struct IdentityStore {
    path: PathBuf,
    token: Option<Secret>,
    stored: Mutex<Stored>,
}

/// The file. Its fields may be added to, never renamed: it outlives the agent's versions.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    #[serde(skip_serializing_if = "Option::is_none")]
    printer_id: Option<PrinterId>,
    key: String,
}

impl IdentityStore {
    /// Reads the identity, or makes one.
    ///
    /// A new key is on the disk before anybody hears of it. Should the machine crash after the service has taken it and
    /// before the printer's id is kept, the same token with the same key is accepted again.
    pub(crate) fn open(directory: &DataDirectory, token: Option<Secret>) -> Result<Self, IdentityError> {
        let path = directory.path().join(FILE);
        let stored = match read(&path)? {
            Some(stored) => {
                match keep_private(&path, 0o600) {
                    Ok(false) => {}
                    Ok(true) => warn!(path = %path.display(), "others could read the identity; now only its owner can"),
                    Err(source) => return Err(IdentityError::Unreadable { path, source }),
                }
                stored
            }
            None => {
                let stored = Stored { printer_id: None, key: Secret::generate().expose().to_owned() };
                write(&path, &stored).map_err(|source| IdentityError::Unwritable { path: path.clone(), source })?;
                stored
            }
        };
        Ok(Self { path, token, stored: Mutex::new(stored) })
    }

    /// The id that a directory's identity has, whether an agent runs there or not.
    pub(crate) fn peek(directory: &Path) -> Result<Option<PrinterId>, IdentityError> {
        Ok(read(&directory.join(FILE))?.and_then(|stored| stored.printer_id))
    }
}

impl Identity for IdentityStore {
    fn printer_id(&self) -> Option<PrinterId> {
        self.stored.lock().printer_id.clone()
    }

    fn key(&self) -> Secret {
        Secret::new(self.stored.lock().key.clone())
    }

    fn enrolment_token(&self) -> Option<Secret> {
        self.token.clone()
    }

    fn enrolled(&self, printer_id: &PrinterId) -> io::Result<()> {
        let mut stored = self.stored.lock();
        let enrolled = Stored { printer_id: Some(printer_id.clone()), key: stored.key.clone() };
        write(&self.path, &enrolled)?;
        *stored = enrolled;
        Ok(())
    }
}

impl fmt::Debug for IdentityStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityStore").field("path", &self.path).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Option<Stored>, IdentityError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(IdentityError::Unreadable { path: path.to_owned(), source }),
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| IdentityError::Damaged { path: path.to_owned(), source })
}

fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(stored)?;
    text.push(b'\n');
    replace_file(path, &text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn the_key_is_kept_before_the_first_contact() {
        let (parent, directory) = directory();
        let first = IdentityStore::open(&directory, token()).unwrap();
        assert_eq!(first.printer_id(), None);
        let key = first.key();
        assert_eq!(key.expose().len(), 32);
        assert!(std::fs::read_to_string(parent.path().join(FILE)).unwrap().contains(key.expose()));
        // The machine crashes before the id is kept: the same key goes with the token again.
        drop(first);
        let second = IdentityStore::open(&directory, token()).unwrap();
        assert!(second.key() == key && second.enrolment_token() == token());
    }

    #[test]
    fn enrolment_survives_a_restart_and_needs_no_token_any_more() {
        let (_parent, directory) = directory();
        let id = PrinterId::generate();
        let first = IdentityStore::open(&directory, token()).unwrap();
        first.enrolled(&id).unwrap();
        assert_eq!(first.printer_id(), Some(id.clone()));
        let second = IdentityStore::open(&directory, None).unwrap();
        assert!(second.printer_id() == Some(id.clone()) && second.key() == first.key());
        assert_eq!(IdentityStore::peek(directory.path()).unwrap(), Some(id));
    }

    #[test]
    fn without_a_token_a_key_is_kept_for_the_code_that_will_be_entered() {
        let (parent, directory) = directory();
        assert_eq!(IdentityStore::peek(directory.path()).unwrap(), None);
        let first = IdentityStore::open(&directory, None).unwrap();
        assert!(first.printer_id().is_none() && first.enrolment_token().is_none());
        assert!(parent.path().join(FILE).exists());
        let again = IdentityStore::open(&directory, None).unwrap();
        assert!(again.key() == first.key());
    }

    #[test]
    fn damage_is_told_and_never_overwritten() {
        for damage in ["", "{", "[]", r#"{"key":7}"#, r#"{"printerId":"a/b","key":"k"}"#] {
            let (parent, directory) = directory();
            std::fs::write(parent.path().join(FILE), damage).unwrap();
            let error = IdentityStore::open(&directory, token()).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{damage}");
            assert!(error.to_string().contains("backup"), "{error}");
            assert_eq!(std::fs::read_to_string(parent.path().join(FILE)).unwrap(), damage);
        }
    }

    #[test]
    fn fields_of_later_versions_are_no_damage() {
        let (parent, directory) = directory();
        std::fs::write(parent.path().join(FILE), r#"{"printerId":"abc","key":"k","later":true}"#).unwrap();
        let store = IdentityStore::open(&directory, None).unwrap();
        assert_eq!(store.printer_id().unwrap().as_str(), "abc");
    }

    #[cfg(unix)]
    #[test]
    fn an_identity_that_others_can_read_is_closed_to_them() {
        use std::os::unix::fs::PermissionsExt;
        let (parent, directory) = directory();
        drop(IdentityStore::open(&directory, token()).unwrap());
        let path = parent.path().join(FILE);
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        drop(IdentityStore::open(&directory, token()).unwrap());
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn debug_output_hides_the_key() {
        let (_parent, directory) = directory();
        let store = IdentityStore::open(&directory, token()).unwrap();
        assert!(!format!("{store:?}").contains(store.key().expose()));
    }

    fn directory() -> (tempfile::TempDir, DataDirectory) {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDirectory::take(parent.path()).unwrap();
        (parent, directory)
    }

    fn token() -> Option<Secret> {
        Some(Secret::new("Enrolment1"))
    }
}
