//! Secrets that the service has to work with itself, sealed with a key that is kept beside the database and not in it:
//! a copy of the database alone does not tell them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use model::{AccountId, SecretHash};

/// The key's file in the data directory.
pub(crate) const KEY_FILE: &str = "spoolway.key";
const KEY_LENGTH: usize = 32;
/// Begins everything that is sealed in this way.
const VERSION: u8 = 1;
/// Enough of the key's hash to tell one key from another, and nothing to guess the key by.
const KEY_ID_LENGTH: usize = 8;

/// Seals and opens.
pub(crate) struct SealingKey {
    key: RandomizedNonceKey,
    id: [u8; KEY_ID_LENGTH],
}

impl SealingKey {
    /// Reads the key of a data directory, or makes one if there is none yet. Its file is readable by its owner only.
    pub(crate) fn of_directory(directory: &Path) -> io::Result<Self> {
        let path = directory.join(KEY_FILE);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key_file(directory, &path)?,
            Err(error) => return Err(error),
            Ok(text) => return Self::parse(&text),
        }
        // Not what was just drawn: of several processes that start at once, one has made the file.
        Self::parse(&fs::read_to_string(&path)?)
    }

    fn parse(text: &str) -> io::Result<Self> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("`{KEY_FILE}` holds no key"));
        let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map_err(|_| damaged())?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| damaged())?;
        let mut id = [0; KEY_ID_LENGTH];
        id.copy_from_slice(&SecretHash::of(&HEXLOWER.encode(&bytes)).as_bytes()[..KEY_ID_LENGTH]);
        Ok(Self { key, id })
    }

    /// Seals a secret of an account. Moved to another account's row it does not open.
    pub(crate) fn seal(&self, account: &AccountId, secret: &[u8]) -> Vec<u8> {
        let mut sealed = secret.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(account.as_str()), &mut sealed)
            .expect("secrets are far shorter than what AES-GCM can seal");
        [&[VERSION], &self.id[..], nonce.as_ref(), &sealed].concat()
    }

    /// Opens what [`SealingKey::seal`] made; nothing if it was sealed with another key, for another account, or altered.
    pub(crate) fn open(&self, account: &AccountId, sealed: &[u8]) -> Option<Vec<u8>> {
        if !self.has_sealed(sealed) {
            return None;
        }
        let (nonce, text) = sealed[1 + KEY_ID_LENGTH..].split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let secret = self.key.open_in_place(nonce, Aad::from(account.as_str()), &mut text).ok()?;
        Some(secret.to_vec())
    }

    /// Whether something was sealed with this key.
    pub(crate) fn has_sealed(&self, sealed: &[u8]) -> bool {
        sealed.strip_prefix(&[VERSION]).is_some_and(|rest| rest.starts_with(&self.id))
    }
}

/// Writes a new key to a file of its own and links that into place: the key's file is whole from its first moment, and
/// never replaced.
fn make_key_file(directory: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_LENGTH];
    let mut name = [0; 8];
    rand::fill(&mut key).and_then(|()| rand::fill(&mut name)).map_err(|_| io::Error::other("no random numbers"))?;
    let draft = directory.join(format!("{KEY_FILE}.{}.new", HEXLOWER.encode(&name)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    writeln!(file, "{}", HEXLOWER.encode(&key))?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn only_the_same_key_opens_and_only_for_the_same_account() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = SealingKey::of_directory(directory.path()).expect("a new key");
        let (account, other) = (AccountId::generate(), AccountId::generate());
        let sealed = key.seal(&account, b"secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_ne!(sealed, key.seal(&account, b"secret"), "equal secrets do not look equal");
        let again = SealingKey::of_directory(directory.path()).expect("the same key");
        assert_eq!(again.open(&account, &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(again.open(&other, &sealed), None);
        assert_eq!(SealingKey::parse(OTHER).expect("a key").open(&account, &sealed), None);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(key.open(&account, &altered), None, "byte {at}");
            assert_eq!(key.open(&account, &sealed[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_no_reason_to_make_another() {
        let directory = tempfile::tempdir().expect("a directory");
        for text in ["", "no key", &OTHER[2..]] {
            fs::write(directory.path().join(KEY_FILE), text).expect("a file");
            assert!(SealingKey::of_directory(directory.path()).is_err(), "{text:?}");
            assert_eq!(fs::read_to_string(directory.path().join(KEY_FILE)).expect("the file"), text);
        }
    }
}
