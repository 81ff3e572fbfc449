//! The printer's certificate: made by the printer, so nobody vouches for it. The first one that accepts the access code
//! is kept, and from then on no other.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::public_key;

/// Where the certificate is kept in the platform's directory.
const FILE: &str = "bambu-certificate.sha256";
/// What is kept is a tenth of it; a longer file is not ours.
const MAX_FILE: u64 = 1024;
/// Sessions of one connection and its data channels.
const SESSIONS: usize = 8;

/// The SHA-256 digest of a public key with its algorithm.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of no key at all.
    const NOBODYS: Self = Self([0; 32]);

    fn of(key: &SubjectPublicKeyInfoDer<'_>) -> Self {
        Self(Sha256::digest(key).into())
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut digest = [0; 32];
        if text.len() != 2 * digest.len() || !text.is_ascii() {
            return None;
        }
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which certificate the printer has.
#[derive(Debug)]
pub(super) struct PinnedCertificate {
    /// `None` where nothing can be kept.
    path: Option<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    pinned: Option<Fingerprint>,
    /// What was shown at the first contact, until the access code was accepted.
    shown: Option<Fingerprint>,
    /// Why the last certificate was refused.
    refusal: Option<String>,
}

/// Whether a certificate that is not known yet may be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstUse {
    /// By the connection that tells the printer's state: it knows whether the access code was accepted.
    Learns,
    /// All others wait for that one.
    Waits,
}

impl PinnedCertificate {
    /// Goes on with what is kept in `directory`.
    pub(super) fn open(directory: Option<PathBuf>) -> Arc<Self> {
        let path = directory.map(|directory| directory.join(FILE));
        let pinned = path.as_deref().and_then(read);
        Arc::new(Self { path, known: Mutex::new(Known { pinned, ..Known::default() }) })
    }

    /// Settings for TLS with this printer, with sessions of their own: some of its servers take a data channel only
    /// if it goes on with its control channel's session.
    pub(super) fn tls(self: &Arc<Self>, first_use: FirstUse, base: &ClientConfig) -> Arc<ClientConfig> {
        let provider = Arc::clone(base.crypto_provider());
        let verifier = Verifier { pin: Arc::clone(self), first_use, provider };
        let mut config = base.clone();
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        // The certificate names the serial number, and the server has but one.
        config.enable_sni = false;
        Arc::new(config)
    }

    /// The printer that was connected to last has accepted the access code: its certificate is the one to keep.
    pub(super) fn keep(&self) {
        let mut known = self.known.lock();
        let Some(shown) = known.shown.take().filter(|_| known.pinned.is_none()) else { return };
        known.pinned = Some(shown);
        if let Some(path) = &self.path
            && let Err(error) = write_private(path, format!("{shown}\n").as_bytes())
        {
            warn!(%error, "the printer's certificate cannot be kept over a restart");
        }
    }

    /// Why the last certificate was refused, if it was, for the owner.
    pub(super) fn take_refusal(&self) -> Option<String> {
        self.known.lock().refusal.take()
    }

    fn check(&self, shown: Fingerprint, first_use: FirstUse) -> Result<(), Error> {
        let mut known = self.known.lock();
        if let Some(path) = &self.path
            && known.pinned.is_some_and(|pinned| pinned != shown)
        {
            // Somebody may have deleted it.
            known.pinned = read(path);
        }
        let refusal = match (known.pinned, first_use) {
            (Some(pinned), _) if pinned == shown => return Ok(()),
            (None, FirstUse::Learns) => return Ok(()),
            (None, FirstUse::Waits) => {
                "the printer's certificate is not known before it has accepted the access code".to_owned()
            }
            (Some(_), _) => {
                let remedy = match &self.path {
                    Some(path) => format!("delete {}", path.display()),
                    None => "restart the agent".to_owned(),
                };
                format!(
                    "the printer shows another certificate than before: if it was reset or replaced, {remedy}; \
                     if not, somebody may be in between"
                )
            }
        };
        known.refusal = Some(refusal);
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    /// The other side has proved that the certificate is its own.
    fn handle_proof(&self, shown: Fingerprint) {
        self.known.lock().shown = Some(shown);
    }
}

/// The certificate that is kept; `None` if none is. What cannot be read is one that no printer has: else somebody who
/// damages the file could put another printer in place of this one.
fn read(path: &Path) -> Option<Fingerprint> {
    let kept = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Ok(file) if file.len() <= MAX_FILE => std::fs::read_to_string(path).ok(),
        _ => None,
    };
    Some(kept.as_deref().and_then(Fingerprint::parse).unwrap_or(Fingerprint::NOBODYS))
}

/// Written whole or not at all, and readable by nobody else.
fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(contents)?;
    std::fs::rename(fresh, path)
}

/// Compares keys, and has them proved as in any handshake.
#[derive(Debug)]
struct Verifier {
    pin: Arc<PinnedCertificate>,
    first_use: FirstUse,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }

    fn prove(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let encoding = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let spki = public_key::of_certificate(certificate).ok_or_else(encoding)?;
        let key = webpki::RawPublicKeyEntity::try_from(&spki).map_err(|_| encoding())?;
        let known = self.algorithms().mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, algorithms) = known.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        // One scheme may stand for several curves.
        if !algorithms.iter().any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok()) {
            return Err(Error::InvalidCertificate(CertificateError::BadSignature));
        }
        self.pin.handle_proof(Fingerprint::of(&spki));
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = public_key::of_certificate(end_entity);
        let key = key.ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        self.pin.check(Fingerprint::of(&key), self.first_use)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.prove(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        use SignatureScheme::*;
        // Signatures that only older versions know must not be taken here (RFC 8446 §4.2.3).
        if matches!(
            signed.scheme,
            RSA_PKCS1_SHA1 | RSA_PKCS1_SHA256 | RSA_PKCS1_SHA384 | RSA_PKCS1_SHA512 | ECDSA_SHA1_Legacy
        ) {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        self.prove(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConnection, ServerConfig, ServerConnection};

    use super::*;
    use crate::cameras::tests::no_tls;

    fn server(algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<ServerConfig> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(vec!["serial".to_owned()]).unwrap().self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::clone(no_tls().crypto_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }

    /// A whole handshake in memory.
    fn connect(client: Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Result<(), Error> {
        let mut client = ClientConnection::new(client, ServerName::try_from("10.0.0.1").unwrap()).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            let _ = server.read_tls(&mut &bytes[..]).unwrap();
            let _ = server.process_new_packets();
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok(())
    }

    #[test]
    fn the_first_certificate_that_took_the_code_is_the_only_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let pin = PinnedCertificate::open(Some(directory.path().to_owned()));
        let (printer, other) = (server(&PKCS_ECDSA_P256_SHA256), server(&PKCS_ECDSA_P384_SHA384));
        let learns = pin.tls(FirstUse::Learns, &no_tls());
        let waits = pin.tls(FirstUse::Waits, &no_tls());
        assert!(connect(Arc::clone(&waits), &printer).is_err());
        assert!(pin.take_refusal().unwrap().contains("not known"));
        // Whoever does not take the code is forgotten.
        connect(Arc::clone(&learns), &other).unwrap();
        assert!(!path.exists());
        connect(Arc::clone(&learns), &printer).unwrap();
        pin.keep();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        connect(Arc::clone(&waits), &printer).unwrap();
        let again = PinnedCertificate::open(Some(directory.path().to_owned()));
        for (pin, first_use) in [(&pin, FirstUse::Learns), (&pin, FirstUse::Waits), (&again, FirstUse::Learns)] {
            connect(pin.tls(first_use, &no_tls()), &printer).unwrap();
            assert!(connect(pin.tls(first_use, &no_tls()), &other).is_err());
            let refusal = pin.take_refusal().unwrap();
            assert!(refusal.contains(&format!("delete {}", path.display())), "{refusal}");
            pin.keep();
        }
        std::fs::write(&path, "damaged").unwrap();
        let damaged = PinnedCertificate::open(Some(directory.path().to_owned()));
        assert!(connect(damaged.tls(FirstUse::Learns, &no_tls()), &printer).is_err());
        std::fs::remove_file(&path).unwrap();
        connect(damaged.tls(FirstUse::Learns, &no_tls()), &other).unwrap();
        damaged.keep();
        connect(again.tls(FirstUse::Waits, &no_tls()), &other).unwrap();
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let printer = server(&PKCS_ECDSA_P256_SHA256);
        let thief = {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
            let stolen = PinnedCertificate::open(None);
            connect(stolen.tls(FirstUse::Learns, &no_tls()), &printer).unwrap();
            // The printer's certificate with a key that is not its own.
            let honest = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
            let certificate = CertificateParams::new(vec!["serial".to_owned()]).unwrap().self_signed(&honest).unwrap();
            let certified = rustls::sign::CertifiedKey::new(vec![certificate.der().clone()], signing);
            let resolver = rustls::sign::SingleCertAndKey::from(certified);
            let provider = Arc::clone(no_tls().crypto_provider());
            ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(resolver))
        };
        let pin = PinnedCertificate::open(None);
        let refused = connect(pin.tls(FirstUse::Learns, &no_tls()), &Arc::new(thief));
        assert!(matches!(refused, Err(Error::InvalidCertificate(CertificateError::BadSignature))), "{refused:?}");
        pin.keep();
        connect(pin.tls(FirstUse::Waits, &no_tls()), &printer).unwrap_err();
    }
}
