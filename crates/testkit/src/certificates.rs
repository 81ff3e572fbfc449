//! Certificates for names of this machine.

use std::path::PathBuf;

use relay::edge::CertificateFiles;
use tempfile::TempDir;

/// PEM files of an authority and of a certificate that it signed.
pub struct TestCertificates {
    /// The authority, to be trusted.
    pub authority: PathBuf,
    /// The chain of `localhost`, `spoolway.localhost` and what is below it, and 127.0.0.1.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    _directory: TempDir,
}

impl TestCertificates {
    /// What a listener needs of them.
    pub fn files(&self) -> CertificateFiles {
        CertificateFiles { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}

/// Makes new ones.
pub fn test_certificates() -> TestCertificates {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "Test authority");
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    // `*.localhost` would stand for a top-level domain, which clients do not accept.
    let names = ["localhost", "spoolway.localhost", "*.spoolway.localhost", "127.0.0.1"].map(str::to_owned);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(path("authority.pem"), authority_certificate.pem()).unwrap();
    std::fs::write(path("certificate.pem"), certificate.pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    TestCertificates {
        authority: path("authority.pem"),
        certificate: path("certificate.pem"),
        key: path("key.pem"),
        _directory: directory,
    }
}
