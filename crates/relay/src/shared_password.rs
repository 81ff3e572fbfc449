//! The password of a Shared Connection: tried, remembered, and turned into a cookie.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, header};
use model::{RelayError, Secret};
use moka::sync::Cache;
use sha2::Sha256;
use store::{ConnectionRecord, PasswordHash};
use tokio::sync::Semaphore;

use crate::guesses::Guesses;
use crate::respond::Failure;

/// Begins with [`crate::headers::COOKIE_PREFIX`], so that it never reaches the printer.
const COOKIE: &str = "__spoolway_share";
/// How long a browser stays in.
const COOKIE_TIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Programs send the password with every request; it is hashed the slow way once in this time.
const REMEMBERED: Duration = Duration::from_secs(600);
const MAX_REMEMBERED: u64 = 10_000;
/// A try that has to wait longer for its turn is told to come back.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// Checks passwords.
pub(crate) struct SharedPasswords {
    /// Signatures of passwords that were right, made with a key of this process: a memory of them would help nobody.
    right: Cache<[u8; 32], ()>,
    key: Secret,
    /// Hashing takes 19 MiB and a whole core; more at a time than there are cores helps nobody.
    turns: Semaphore,
}

impl Default for SharedPasswords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            right: Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBERED).build(),
            key: Secret::generate(),
            turns: Semaphore::new(cores),
        }
    }
}

impl SharedPasswords {
    /// Tries a password.
    ///
    /// # Errors
    /// 606 if it is wrong, 600 with a time to wait if it was not looked at.
    pub(crate) async fn check(
        &self,
        connection: &ConnectionRecord,
        hash: &PasswordHash,
        password: String,
        address: IpAddr,
        guesses: &Guesses,
    ) -> Result<(), Failure> {
        let signing_key = hash.signing_key();
        let known = sign(self.key.expose().as_bytes(), &[signing_key.as_bytes(), password.as_bytes()]);
        if self.right.contains_key(&known) {
            return Ok(());
        }
        let delay = guesses
            .try_password(&connection.label, address, Instant::now())
            .map_err(|seconds| Failure::retry_after(RelayError::Unknown, seconds))?;
        tokio::time::sleep(delay).await;
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN_LIMIT, self.turns.acquire()).await else {
            return Err(RelayError::Unknown.into());
        };
        let (hash, password) = (hash.clone(), Secret::new(password));
        match tokio::task::spawn_blocking(move || hash.verify(&password)).await {
            Ok(true) => {
                self.right.insert(known, ());
                guesses.handle_right_password(&connection.label, address);
                Ok(())
            }
            Ok(false) => Err(RelayError::InvalidCredentials.into()),
            Err(_) => Err(RelayError::Unknown.into()),
        }
    }

    /// The cookie that keeps a browser in. It is signed with a key made of the password's hash, so that it survives a
    /// restart and ends with the password.
    pub(crate) fn cookie(
        &self,
        connection: &ConnectionRecord,
        hash: &PasswordHash,
        is_https: bool,
        now: SystemTime,
    ) -> Option<HeaderValue> {
        let expires = seconds(now + COOKIE_TIME);
        let signature = BASE32_NOPAD.encode(&cookie_signature(connection, hash, expires));
        let secure = if is_https { "; Secure" } else { "" };
        let age = COOKIE_TIME.as_secs();
        HeaderValue::from_str(&format!(
            "{COOKIE}={expires}.{signature}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}"
        ))
        .ok()
    }

    /// Whether the request has a cookie that opens the connection.
    pub(crate) fn cookie_opens(
        &self,
        connection: &ConnectionRecord,
        hash: &PasswordHash,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> bool {
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
            // A printer's page may have set any number of cookies of this name; a few are looked at.
            .take(4)
            .any(|value| {
                let Some((expires, signature)) = value.split_once('.') else { return false };
                let Ok(expires) = expires.parse::<u64>() else { return false };
                let Ok(signature) = BASE32_NOPAD.decode(signature.as_bytes()) else { return false };
                let expected = cookie_signature(connection, hash, expires);
                let is_ours: bool = subtle::ConstantTimeEq::ct_eq(&signature[..], &expected[..]).into();
                is_ours && expires > seconds(now)
            })
    }
}

fn cookie_signature(connection: &ConnectionRecord, hash: &PasswordHash, expires: u64) -> [u8; 32] {
    let key = hash.signing_key();
    sign(key.as_bytes(), &[b"shared connection cookie", connection.id.as_str().as_bytes(), &expires.to_be_bytes()])
}

fn sign(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        // With lengths, no two lists of parts are signed alike.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
