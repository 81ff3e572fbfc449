//! Secrets and what is kept of them.

use std::cell::RefCell;
use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The alphabet of every secret and id. Shipped apps splice them into URLs unescaped, so nothing else is allowed.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A credential in clear. It never shows itself in logs; call [`Secret::expose`] where it must be written out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a credential that came from outside.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Makes a credential of 32 letters and digits: 190 bits.
    pub fn generate() -> Self {
        Self(random_alphanumeric(32))
    }

    /// The credential itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What may be stored of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// SHA-256 of a machine-made credential.
///
/// A plain hash is enough because [`Secret::generate`] draws 190 bits: there is no dictionary to try. Passwords that
/// people choose are hashed by the store with argon2 instead.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a credential.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// A stored hash; `None` unless it has 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As text: 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// What [`Self::to_hex`] made; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        Self::from_bytes(&HEXLOWER.decode(text.as_bytes()).ok()?)
    }

    /// Whether `candidate` is the hashed credential; takes the same time whatever the answer.
    pub fn matches(&self, candidate: &str) -> bool {
        self.ct_eq(&Self::of(candidate)).into()
    }
}

impl ConstantTimeEq for SecretHash {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// As [`random_alphanumeric`], for names that are no secrets and are made for every request: the system is asked once
/// for many of them, because asking costs more than all else that making one takes.
pub(crate) fn random_name(length: usize) -> String {
    thread_local! {
        static NAMES: RefCell<String> = const { RefCell::new(String::new()) };
    }
    NAMES.with_borrow_mut(|names| {
        if names.len() < length {
            *names = random_alphanumeric(NAMES_AT_ONCE.max(length));
        }
        names.split_off(names.len() - length)
    })
}

/// Letters that a thread keeps for names; 64 request ids.
const NAMES_AT_ONCE: usize = 1024;

/// `length` letters and digits from the system's random source, each equally likely.
///
/// # Panics
/// If the system has no random source: nothing of ours may run without one.
pub(crate) fn random_alphanumeric(length: usize) -> String {
    random_from(ALPHABET, length)
}

/// As [`random_alphanumeric`], of lower case letters and digits that work in host names and cannot be mistaken.
pub(crate) fn random_base32(length: usize) -> String {
    random_from(b"abcdefghijklmnopqrstuvwxyz234567", length)
}

/// A code that people copy from one screen to another: capitals and digits without those that look alike.
pub fn random_code(length: usize) -> Secret {
    Secret(random_from(b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789", length))
}

fn random_from(alphabet: &[u8], length: usize) -> String {
    // Bytes past the largest multiple of the alphabet's size are thrown away, else its first letters came up more often.
    let limit = 256 - 256 % alphabet.len();
    let mut out = String::with_capacity(length);
    let mut buffer = [0u8; 64];
    while out.len() < length {
        getrandom::fill(&mut buffer).expect("the operating system provides randomness");
        out.extend(
            buffer
                .iter()
                .map(|byte| usize::from(*byte))
                .filter(|byte| *byte < limit)
                .filter_map(|byte| alphabet.get(byte % alphabet.len()))
                .map(|letter| char::from(*letter))
                .take(length - out.len()),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_value() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret:?} {:?}", secret.hash()).contains("hunter2"));
    }

    #[test]
    fn hash_matches_its_own_secret_only() {
        let secret = Secret::generate();
        assert!(secret.hash().matches(secret.expose()));
        assert!(!secret.hash().matches(Secret::generate().expose()));
        assert!(!secret.hash().matches(""));
    }

    #[test]
    fn names_differ_and_have_their_length() {
        let names: std::collections::HashSet<String> = (0..1000).map(|_| random_name(16)).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 16));
        assert_eq!(random_name(5000).len(), 5000);
    }

    #[test]
    fn generated_secrets_use_each_letter_equally_often() {
        let text = random_alphanumeric(62_000);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        for letter in ALPHABET {
            let count = text.bytes().filter(|byte| byte == letter).count();
            // 1000 expected, standard deviation 31: ten of them never happen by chance.
            assert!((690..=1310).contains(&count), "{} came up {count} times", char::from(*letter));
        }
    }
}
