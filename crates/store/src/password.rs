//! Passwords that people choose.

use std::fmt;
use std::sync::LazyLock;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash as PhcHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use model::{Secret, SecretHash};
use thiserror::Error;

/// Why a password was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PasswordRefused {
    /// Guessed too soon.
    #[error("the password is too short: it needs at least 8 characters")]
    TooShort,
    /// More than anybody types; hashing is made to be slow, so its input is bounded.
    #[error("the password is too long: it may have at most 1024 bytes")]
    TooLong,
}

/// Argon2id hash of a password, as the text that is stored (`$argon2id$…`).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// NIST SP 800-63B §5.1.1.1 asks for eight at least.
const MIN_CHARACTERS: usize = 8;
const MAX_BYTES: usize = 1024;

impl PasswordHash {
    /// Hashes a password with a salt of its own. Takes tens of milliseconds of processor time and 19 MiB: call it
    /// from `spawn_blocking`.
    pub fn create(password: &Secret) -> Result<Self, PasswordRefused> {
        if password.expose().chars().count() < MIN_CHARACTERS {
            return Err(PasswordRefused::TooShort);
        }
        if password.expose().len() > MAX_BYTES {
            return Err(PasswordRefused::TooLong);
        }
        Ok(hash(password))
    }

    /// Whether `password` is the hashed one. As slow as [`PasswordHash::create`].
    pub fn verify(&self, password: &Secret) -> bool {
        if password.expose().len() > MAX_BYTES {
            return false;
        }
        PhcHash::new(&self.0)
            .is_ok_and(|stored| Argon2::default().verify_password(password.expose().as_bytes(), &stored).is_ok())
    }

    /// The hash of a password that nobody knows, for callers that must take as long where there is nothing to verify.
    pub fn dummy() -> Self {
        static DUMMY: LazyLock<PasswordHash> = LazyLock::new(|| hash(&Secret::generate()));
        DUMMY.clone()
    }

    /// A key to sign what this password has opened with. It changes with the password and cannot be told from outside,
    /// because it is made of the salted hash.
    pub fn signing_key(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    /// A stored hash; `None` if it is none.
    pub(crate) fn from_stored(text: String) -> Option<Self> {
        PhcHash::new(&text).is_ok().then_some(Self(text))
    }

    pub(crate) fn as_stored(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

fn hash(password: &Secret) -> PasswordHash {
    let hash = Argon2::default()
        .hash_password(password.expose().as_bytes())
        .expect("the default parameters are valid and the operating system provides randomness");
    PasswordHash(hash.to_string())
}
