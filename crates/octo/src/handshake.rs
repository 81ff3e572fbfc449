//! How a session begins: who the plugin is, and how the service proves itself (tunnel.md 4).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bytes::Bytes;
use model::Secret;
use thiserror::Error;

use crate::wire::{Compression, HandshakeAck, HandshakeSyn, Os, ServerHost, SummonMethod};

/// Bytes of an encrypted challenge: one block of RSA with 4096 bits.
pub const CHALLENGE_LENGTH: usize = 512;
/// Characters of a challenge in clear.
pub const ANSWER_LENGTH: usize = 64;
/// The key that plugins encrypt with.
pub const CHALLENGE_VERSION: i8 = 1;
/// A version's text is kept up to this length. Plugins say such as `5.3.1`.
const MAX_VERSION_TEXT: usize = 40;
/// A device's name is kept up to this length.
const MAX_DEVICE_ID: usize = 100;

/// What an introduction lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IntroductionError {
    /// It has no printer id of 40 to 60 letters and digits.
    #[error("the printer id is missing or malformed")]
    PrinterId,
    /// It has no private key of 80 to 128 letters and digits.
    #[error("the private key is missing or malformed")]
    PrivateKey,
    /// It has no challenge of the right length.
    #[error("the challenge is missing or malformed")]
    Challenge,
    /// The challenge is for a key that the service does not have.
    #[error("the challenge is for the unknown key {0}")]
    ChallengeVersion(i8),
    /// It has no version that can be read.
    #[error("the version is missing or malformed")]
    Version,
}

/// The name by which a plugin calls its printer. It is public: it stands in URLs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PluginPrinterId(String);

impl PluginPrinterId {
    /// Its text: 40 to 60 letters and digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PluginPrinterId {
    type Err = IntroductionError;

    fn from_str(text: &str) -> Result<Self, IntroductionError> {
        let is_valid = (40..=60).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_valid { Ok(Self(text.to_owned())) } else { Err(IntroductionError::PrinterId) }
    }
}

/// A plugin's version, which counts by its first three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PluginVersion {
    /// Changes with what does not fit together any more.
    pub major: u32,
    /// Changes with what can be done.
    pub minor: u32,
    /// Changes with what was mended.
    pub patch: u32,
}

impl FromStr for PluginVersion {
    type Err = IntroductionError;

    /// Reads `5`, `5.3`, `5.3.1`, and what begins so, such as `5.3.1rc2`.
    fn from_str(text: &str) -> Result<Self, IntroductionError> {
        let mut parts = text.split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part.get(..digits).unwrap_or_default().parse().map_err(|_| IntroductionError::Version)
        });
        let mut next = || parts.next().transpose();
        let major = next()?.ok_or(IntroductionError::Version)?;
        Ok(Self { major, minor: next()?.unwrap_or(0), patch: next()?.unwrap_or(0) })
    }
}

impl fmt::Display for PluginVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What the service has to decrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge(Bytes);

impl Challenge {
    /// The encrypted bytes, [`CHALLENGE_LENGTH`] of them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A decrypted challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct ChallengeAnswer(String);

impl ChallengeAnswer {
    /// Takes what came out of the decryption. `None` unless it is what plugins put in, [`ANSWER_LENGTH`] letters and
    /// digits: nothing else is ever given away.
    pub fn from_plaintext(plaintext: &[u8]) -> Option<Self> {
        let is_valid = plaintext.len() == ANSWER_LENGTH && plaintext.iter().all(u8::is_ascii_alphanumeric);
        is_valid.then(|| Self(String::from_utf8_lossy(plaintext).into_owned()))
    }
}

impl fmt::Debug for ChallengeAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeAnswer(…)")
    }
}

/// A plugin that introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Its printer.
    pub printer: PluginPrinterId,
    /// What proves that it is this printer's.
    pub key: Secret,
    /// Whether this is the plugin's main session, and not one that it was summoned to.
    pub is_primary: bool,
    /// What the session was made for.
    pub summon_method: SummonMethod,
    /// Its version.
    pub version: PluginVersion,
    /// Its version as it writes it, cut to a bearable length.
    pub version_text: String,
    /// What the service has to decrypt.
    pub challenge: Challenge,
    /// Its flavour.
    pub host: ServerHost,
    /// Whether it runs beside the printer's software, or on another device.
    pub is_companion: bool,
    /// What it runs on.
    pub os: Os,
    /// The printer's address at home, if it is one.
    pub lan_address: Option<IpAddr>,
    /// The best that it can decompress. It compresses with the same.
    pub compression: Compression,
    /// A stable name of the device, by which copied installations are found out.
    pub device_id: Option<String>,
}

impl TryFrom<HandshakeSyn> for Introduction {
    type Error = IntroductionError;

    fn try_from(syn: HandshakeSyn) -> Result<Self, IntroductionError> {
        let printer = syn.printer_id.ok_or(IntroductionError::PrinterId)?.parse()?;
        let key = syn.private_key.filter(|key| is_private_key(key.expose())).ok_or(IntroductionError::PrivateKey)?;
        if syn.ras_challenge_version != CHALLENGE_VERSION {
            return Err(IntroductionError::ChallengeVersion(syn.ras_challenge_version));
        }
        let challenge = syn
            .rsa_challenge
            .filter(|challenge| challenge.len() == CHALLENGE_LENGTH)
            // A copy: the message it stands in may be many times as large.
            .map(|challenge| Challenge(Bytes::copy_from_slice(&challenge)))
            .ok_or(IntroductionError::Challenge)?;
        let version_text = syn.plugin_version.ok_or(IntroductionError::Version)?;
        Ok(Self {
            printer,
            key,
            is_primary: syn.is_primary_connection,
            summon_method: syn.summon_method,
            version: version_text.parse()?,
            version_text: version_text.chars().filter(|c| c.is_ascii_graphic()).take(MAX_VERSION_TEXT).collect(),
            challenge,
            host: syn.server_host,
            is_companion: syn.is_companion,
            os: syn.os_type,
            lan_address: syn.local_device_ip.and_then(|address| address.parse().ok()),
            compression: syn.receive_compression_type,
            device_id: syn
                .device_id
                .map(|id| id.chars().filter(|c| c.is_ascii_graphic()).take(MAX_DEVICE_ID).collect()),
        })
    }
}

fn is_private_key(text: &str) -> bool {
    (80..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What an accepted plugin is told.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// Proves the service's identity.
    pub answer: ChallengeAnswer,
    /// Opens the service's own APIs to the plugin.
    pub octokey: Secret,
    /// Names of the accounts that the printer is linked to. Without any, the plugin asks its owner to link it.
    pub accounts: Vec<String>,
}

impl From<Acceptance> for HandshakeAck {
    fn from(acceptance: Acceptance) -> Self {
        Self {
            accepted: true,
            connected_accounts: Some(acceptance.accounts),
            octokey: Some(acceptance.octokey),
            rsa_challenge_result: Some(acceptance.answer.0),
            ..Self::default()
        }
    }
}

/// What a refused plugin is told. That it should throw its identity away is not among it: nothing could bring the
/// printer's link back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the plugin's log: what its owner can do.
    pub error: String,
    /// Seconds to wait besides the plugin's own back-off of 11 to 210 seconds.
    pub backoff_seconds: u64,
    /// Whether only another version will do. The plugin says so on the printer's screen, and waits for 12 hours or
    /// until it is started anew.
    pub update_required: bool,
}

impl From<Refusal> for HandshakeAck {
    fn from(refusal: Refusal) -> Self {
        Self {
            error: Some(refusal.error),
            backoff_seconds: refusal.backoff_seconds,
            requires_plugin_update: refusal.update_required,
            ..Self::default()
        }
    }
}
