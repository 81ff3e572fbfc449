//! Certificates from files, looked at again when the files change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// Renewed certificates are in use within this time.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// Where the certificate chain and its key are, in PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why certificates cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("cannot read `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Key and certificate do not fit, or are of an unsupported kind.
    #[error("the certificate in `{certificate}` and the key in `{key}` cannot be used together")]
    Unusable {
        /// The chain's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

impl CertificateFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn load(&self) -> Result<Arc<ServerConfig>, CertificateError> {
        let file_error = |path: &PathBuf| {
            let path = path.clone();
            move |source| CertificateError::File { path, source }
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&self.certificate)
            .map_err(file_error(&self.certificate))?
            .collect::<Result<_, _>>()
            .map_err(file_error(&self.certificate))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(file_error(&self.key))?;
        let unusable = |source| CertificateError::Unusable {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // With tickets, agents that come back after a restart of theirs or of the network skip most of the handshake.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(unusable)?;
        Ok(Arc::new(config))
    }

    fn modified(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok())
    }
}

/// The certificates in use.
#[derive(Clone)]
pub struct Certificates(Arc<RwLock<Arc<ServerConfig>>>);

impl Certificates {
    /// Reads the files, and reads them again whenever they change, until `shutdown`. Files that cannot be used leave
    /// the certificates as they are.
    ///
    /// # Errors
    /// If they cannot be used at the start.
    pub fn follow(files: CertificateFiles, shutdown: CancellationToken) -> Result<Self, CertificateError> {
        let mut seen = files.modified();
        let current = Arc::new(RwLock::new(files.load()?));
        let certificates = Self(Arc::clone(&current));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(RELOAD_INTERVAL) => {}
                    () = shutdown.cancelled() => return,
                }
                let modified = files.modified();
                if modified == seen {
                    continue;
                }
                match files.load() {
                    Ok(config) => {
                        *current.write() = config;
                        tracing::info!(certificate = %files.certificate.display(), "using the renewed certificate");
                        seen = modified;
                    }
                    Err(error) => {
                        // Both files are rarely replaced in one instant; the next look may find a pair.
                        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                        tracing::error!(%error, cause, "the renewed certificate cannot be used; the old one stays");
                    }
                }
            }
        });
        Ok(certificates)
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read())
    }
}
