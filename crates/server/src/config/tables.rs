//! Settings that stand in tables of their own, each useful only with all of its parts.

use std::net::SocketAddr;
use std::path::PathBuf;

use relay::edge::CertificateFiles;
use web::mail::Mailer;
use web::oidc::ProviderSettings;

use super::Reader;

impl Reader {
    pub(super) fn mailer(&mut self) -> Option<Mailer> {
        let url: Option<String> = self.get("smtp.url", "a URL like `smtps://user:password@mail.example.org`");
        let from: Option<String> = self.get("smtp.from", "a sender like `Spoolway <printers@example.org>`");
        match (url, from) {
            (None, None) => None,
            (Some(url), Some(from)) => match Mailer::new(&url, &from) {
                Ok(mailer) => Some(mailer),
                Err(error) => {
                    let key = if matches!(error, web::mail::MailError::From(_)) { "smtp.from" } else { "smtp.url" };
                    self.mistake(key, format!("{error}; no mail could be sent"));
                    None
                }
            },
            (Some(_), None) => {
                self.mistake("smtp.from", "is missing beside `smtp.url`; mail needs a sender");
                None
            }
            (None, Some(_)) => {
                self.mistake("smtp.url", "is missing beside `smtp.from`; there is no server to send mail with");
                None
            }
        }
    }

    pub(super) fn provider(&mut self) -> Option<ProviderSettings> {
        let keys = ["oidc.issuer", "oidc.client_id", "oidc.client_secret"];
        let values = keys.map(|key| self.get::<String>(key, "text"));
        let name: Option<String> = self.get("oidc.name", "text");
        match values {
            [Some(issuer), Some(client_id), Some(client_secret)] => {
                let is_url = issuer.starts_with("https://") || issuer.starts_with("http://");
                if !is_url {
                    self.mistake("oidc.issuer", "it is no `https://` URL; nobody could sign in with it");
                }
                Some(ProviderSettings {
                    name: name.unwrap_or_else(|| "single sign-on".to_owned()),
                    issuer,
                    client_id,
                    client_secret: model::Secret::new(client_secret),
                })
            }
            [None, None, None] => {
                if name.is_some() {
                    self.mistake("oidc.name", "does nothing without `oidc.issuer`");
                }
                None
            }
            values => {
                for (key, value) in keys.iter().zip(values) {
                    if value.is_none() {
                        self.mistake(key, "is missing; signing in with the other service needs all three");
                    }
                }
                None
            }
        }
    }

    pub(super) fn tls(&mut self) -> Option<(CertificateFiles, Option<SocketAddr>)> {
        let certificate: Option<PathBuf> = self.get("tls.certificate", "the path of a PEM file");
        let key: Option<PathBuf> = self.get("tls.key", "the path of a PEM file");
        let listen = self.address("tls.listen");
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                let files = CertificateFiles { certificate, key };
                if let Err(error) = files.load() {
                    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    self.mistake("tls.certificate", format!("{error}: {cause}; no visitor could connect"));
                }
                Some((files, listen))
            }
            (None, None) => {
                if listen.is_some() {
                    self.mistake("tls.listen", "needs `tls.certificate` and `tls.key`; nobody could connect there");
                }
                None
            }
            (Some(_), None) => {
                self.mistake("tls.key", "is missing beside `tls.certificate`; TLS needs both");
                None
            }
            (None, Some(_)) => {
                self.mistake("tls.certificate", "is missing beside `tls.key`; TLS needs both");
                None
            }
        }
    }
}
