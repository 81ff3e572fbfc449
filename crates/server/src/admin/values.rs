//! Values on the command line.
//!
//! They are read when the command runs, not by the parser of the command line, so that a mistake in one of them is told
//! like every other error.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};
use model::Secret;
use store::PasswordHash;

/// Reads an id, an address, a name.
pub(super) fn read<T>(text: &str, what: &str) -> anyhow::Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().with_context(|| format!("`{text}` is no {what}"))
}

/// Reads how long something is to last.
pub(super) fn expiry(text: Option<&str>, now: SystemTime) -> anyhow::Result<Option<SystemTime>> {
    /// Nobody means to wait longer; a slip of the finger does not go unnoticed.
    const MAX: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);
    let Some(text) = text else { return Ok(None) };
    let length = humantime::parse_duration(text)
        .with_context(|| format!("`{text}` is no duration; write it like `30d` or `12h 30m`"))?;
    ensure!(!length.is_zero(), "`{text}` has passed before it begins");
    ensure!(length <= MAX, "`{text}` is too long: at most 100 years; leave `--expires` out for no end");
    Ok(Some(now + length))
}

/// A limit: a number, or `none` to take it away.
pub(super) fn limit(text: &str) -> anyhow::Result<Option<u64>> {
    match text {
        "none" => Ok(None),
        number => number.parse().map(Some).with_context(|| format!("`{text}` is neither a whole number nor `none`")),
    }
}

/// Hashes a password away from the threads that serve.
pub(super) async fn hash(password: Secret) -> anyhow::Result<PasswordHash> {
    match tokio::task::spawn_blocking(move || PasswordHash::create(&password)).await {
        Ok(hashed) => Ok(hashed?),
        Err(error) => bail!("the password could not be hashed: {error}"),
    }
}
