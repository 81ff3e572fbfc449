//! The key by which plugins know the service (T39).
//!
//! Whoever holds it answers challenges, so answering them is a padding oracle by design. The key is used for nothing
//! else, an answer is given only where the plaintext is what plugins encrypt, and failures are all alike: the same
//! refusal, after the same time.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey, PublicEncryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use model::{PrinterId, Secret, SecretHash};
use octo::ChallengeAnswer;
use octo::handshake::Challenge;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Characters of a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;
/// Bytes of a `SubjectPublicKeyInfo` before the key itself, for RSA with 4096 bits (RFC 3279 §2.3.1).
const SPKI_HEADER: usize = 24;

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the plugins' key cannot be read or written")]
    File(#[from] io::Error),
    /// The file holds no key of the right kind.
    #[error("the plugins' key is no RSA key of 4096 bits in PKCS#8 form")]
    Malformed,
    /// None could be made.
    #[error("no key for plugins could be made")]
    NotMade,
}

/// See the module.
pub(crate) struct ChallengeKey {
    decrypting: Pkcs1PrivateDecryptingKey,
    public: PublicEncryptingKey,
    /// Of the private key, so that nobody else can make an octokey and no file of its own has to be kept.
    octokeys: [u8; 32],
}

impl fmt::Debug for ChallengeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeKey(…)")
    }
}

impl ChallengeKey {
    /// The key in a file, which is made if there is none. Takes a second or two then.
    pub(crate) fn load_or_make(file: &Path) -> Result<Self, KeyError> {
        match fs::read(file) {
            Ok(pem) => Self::from_pem(&pem),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(file),
            Err(error) => Err(error.into()),
        }
    }

    fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::Malformed)?;
        Self::from_pkcs8(pkcs8.secret_pkcs8_der())
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| KeyError::Malformed)?;
        if key.key_size_bytes() != octo::handshake::CHALLENGE_LENGTH {
            return Err(KeyError::Malformed);
        }
        let public = key.public_key();
        let decrypting = Pkcs1PrivateDecryptingKey::new(key).map_err(|_| KeyError::Malformed)?;
        let octokeys = Sha256::new().chain_update(b"octokeys").chain_update(pkcs8).finalize().into();
        Ok(Self { decrypting, public, octokeys })
    }

    fn make(file: &Path) -> Result<Self, KeyError> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa4096).map_err(|_| KeyError::NotMade)?;
        let pkcs8 = key.as_der().map_err(|_| KeyError::NotMade)?;
        let encoded = STANDARD.encode(pkcs8.as_ref());
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(PEM_LINE).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        // Under another name first: a key that was cut off would lock every plugin out.
        let unfinished = file.with_extension("new");
        let mut options = OpenOptions::new();
        let mut writing = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        writing.write_all(pem.as_bytes())?;
        writing.sync_all()?;
        fs::rename(&unfinished, file)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// What a challenge says; `None` if it says nothing that a plugin encrypts. Takes milliseconds of a core.
    pub(crate) fn answer(&self, challenge: &Challenge) -> Option<ChallengeAnswer> {
        let mut plaintext = vec![0; self.decrypting.min_output_size()];
        let plaintext = self.decrypting.decrypt(challenge.as_bytes(), &mut plaintext).ok()?;
        ChallengeAnswer::from_plaintext(plaintext)
    }

    /// The key that plugins have to be given: PKCS#1 in DER.
    pub(crate) fn public_key(&self) -> Result<Vec<u8>, KeyError> {
        let spki: PublicKeyX509Der<'_> = self.public.as_der().map_err(|_| KeyError::Malformed)?;
        // The same for every RSA key of this size: the algorithm's name and the length of what follows.
        spki.as_ref().get(SPKI_HEADER..).map(<[u8]>::to_vec).ok_or(KeyError::Malformed)
    }

    /// Opens the service's own interfaces to a plugin: the same for as long as printer and key are. It is made of what
    /// the store has of the printer's key, so that neither has to be kept.
    pub(crate) fn octokey(&self, printer: &PrinterId, key: &SecretHash) -> Secret {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(&self.octokeys) else { return Secret::generate() };
        let mac = mac.chain_update(printer.as_str()).chain_update([0]).chain_update(key.as_bytes());
        Secret::new(data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use octo::Introduction;
    use octo::wire::{self, Message};

    use super::*;

    const PEM: &[u8] = include_bytes!("../../../testkit/data/plugin_challenge_key.pem");

    fn example() -> Introduction {
        let hex = include_str!("../../../octo/tests/data/handshake_syn.hex");
        let digits: String = hex.split_whitespace().collect();
        let bytes = data_encoding::HEXLOWER.decode(digits.as_bytes()).expect("it is hex");
        match wire::decode(&bytes.into()) {
            Ok(Message::HandshakeSyn(syn)) => (*syn).try_into().expect("it is complete"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_specifications_challenge_is_answered() {
        let key = ChallengeKey::from_pem(PEM).expect("it is a key");
        let expected = b"Tq7Zk2Vb9XwL4mNp8RsD1fGh3JyC6tAe5UiOo0PzQx2WvBn4MkLj7HgFd9SaRrEe";
        assert_eq!(key.answer(&example().challenge), ChallengeAnswer::from_plaintext(expected));
        let id: PrinterId = "P".repeat(60).parse().expect("it is an id");
        let other: PrinterId = "Q".repeat(60).parse().expect("it is an id");
        let octokey = key.octokey(&id, &example().key.hash());
        assert_eq!(octokey.expose().len(), 64);
        assert_ne!(octokey.expose(), key.octokey(&other, &example().key.hash()).expose());
        let public = key.public_key().expect("it has one");
        // A sequence of an integer of 4097 bits and 65537.
        assert_eq!((public.len(), &public[..8]), (526, &[0x30, 0x82, 2, 10, 2, 0x82, 2, 1][..]));
        assert!(public.ends_with(&[2, 3, 1, 0, 1]));
        assert_ne!(octokey.expose(), key.octokey(&id, &SecretHash::of("b")).expose());
    }

    #[test]
    fn a_key_is_made_once_and_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory can be made");
        let file = directory.path().join("plugin-key.pem");
        let made = ChallengeKey::load_or_make(&file).expect("it is made");
        let read = ChallengeKey::load_or_make(&file).expect("it is read");
        assert_eq!(made.octokeys, read.octokeys);
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert!(made.answer(&example().challenge).is_none(), "it is for another key");
        fs::write(&file, "nonsense").expect("it can be written");
        assert!(matches!(ChallengeKey::load_or_make(&file), Err(KeyError::Malformed)));
    }

    /// Threat T39: nothing of how a challenge is wrong can be told from the time that it takes. The plaintexts have a
    /// right padding and a wrong shape; the altered ciphertexts have no padding at all.
    #[test]
    #[ignore = "takes two minutes of a quiet core; a busy machine measures itself"]
    fn what_is_wrong_with_a_challenge_cannot_be_told_from_the_time() {
        use aws_lc_rs::rsa::Pkcs1PublicEncryptingKey;

        const EACH: usize = 5_000;
        /// What is taken for a leak where timing is tested; chance gets there once in a hundred thousand runs.
        const THRESHOLD: f64 = 4.5;
        let key = ChallengeKey::from_pem(PEM).expect("it is a key");
        let encrypting = Pkcs1PublicEncryptingKey::new(key.public.clone()).expect("it encrypts");
        let mut times = [Vec::with_capacity(EACH), Vec::with_capacity(EACH)];
        for n in 0..2 * EACH {
            let mut challenge = vec![0; encrypting.ciphertext_size()];
            encrypting.encrypt(b"not what plugins encrypt", &mut challenge).expect("it is short enough");
            let is_altered = n % 2 == 1;
            if is_altered {
                challenge[n / 2 % 400 + 100] ^= 1 << (n % 8);
            }
            let began = std::time::Instant::now();
            let mut plaintext = vec![0; key.decrypting.min_output_size()];
            let answer = key.decrypting.decrypt(&challenge, &mut plaintext).ok();
            let answer = answer.and_then(|plaintext| ChallengeAnswer::from_plaintext(plaintext));
            times[usize::from(is_altered)].push(began.elapsed().as_secs_f64());
            assert!(answer.is_none());
        }
        let [padded, altered] = times.map(|mut times| {
            // Interrupts are nobody's secret.
            times.sort_by(f64::total_cmp);
            times.truncate(EACH * 9 / 10);
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / times.len() as f64;
            (mean, variance / times.len() as f64)
        });
        let t = (padded.0 - altered.0) / (padded.1 + altered.1).sqrt();
        println!("t = {t:.2}, means {:.1} and {:.1} us", padded.0 * 1e6, altered.0 * 1e6);
        assert!(t.abs() < THRESHOLD, "t = {t}");
    }
}
