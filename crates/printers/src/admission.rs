//! Getting into a printer's software: whether it lets the agent in, and how to get a key where it hands them out.
//!
//! For the person who sets the agent up. What is asked here changes nothing at the printer.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode, header};
use model::Secret;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use crate::PrinterUrl;
use crate::connector::{ConnectError, PrinterConnector};
use crate::detect::software;
use crate::observe::Login;
use crate::software_client::{AskError, SoftwareClient};

/// A printer on the same LAN answers at once or is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For OctoPrint to take a request for a key.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Of an address within OctoPrint, which has some sixty characters.
const MAX_PATH: usize = 256;
/// Keys have 32 characters.
const MAX_KEY: usize = 256;

/// Why it is not known whether the software lets the agent in. The texts are for people.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct AdmissionError(#[from] Reason);

#[derive(Debug, Error)]
enum Reason {
    #[error("{0}")]
    Ask(#[from] AskError),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the printer's software answers {0}")]
    Odd(StatusCode),
    #[error("OctoPrint has handed out something that is no key")]
    NoKey,
}

/// The door of a printer's software.
pub struct Admission {
    client: SoftwareClient,
}

/// What has become of a request for a key.
#[derive(Debug)]
pub enum KeyDecision {
    /// Nobody has decided yet. It has to be asked again within five seconds, or the request is forgotten.
    Pending,
    /// The key.
    Granted(Secret),
    /// Somebody has said no, or nobody anything for too long.
    Denied,
}

/// A request for a key that waits for its owner's word.
pub struct KeyRequest {
    path: String,
}

impl Admission {
    /// To the software at `target`, with a key or a user if there is one; `tls` is used for `https` addresses.
    ///
    /// # Errors
    /// If the host's name cannot stand in a certificate.
    pub fn new(
        target: &PrinterUrl,
        tls: &Arc<rustls::ClientConfig>,
        api_key: Option<Secret>,
        login: Option<Login>,
    ) -> Result<Self, AdmissionError> {
        let connector = PrinterConnector::new(target.clone(), tls, CONNECT_TIMEOUT).map_err(Reason::from)?;
        let client = match login {
            // A key goes before a user, as it does later.
            Some(login) if api_key.is_none() => SoftwareClient::with_login(connector, login),
            _ => SoftwareClient::new(connector, api_key),
        };
        Ok(Self { client })
    }

    /// Whether the software lets the agent in as it is.
    ///
    /// # Errors
    /// If it does not answer, or not in a way that can be understood.
    pub async fn is_open(&self, software: &str) -> Result<bool, AdmissionError> {
        let path = match software {
            software::MOONRAKER => "/server/info",
            software::OCTOPRINT => "/api/settings",
            _ => "/api/version",
        };
        let answer = self.client.get(path).await.map_err(Reason::from)?;
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(false),
            status if status.is_success() => Ok(true),
            status => Err(Reason::Odd(status).into()),
        }
    }

    /// Whether this is an OctoPrint that hands out keys.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn hands_out_keys(&self) -> Result<bool, AdmissionError> {
        let answer = self.client.get("/plugin/appkeys/probe").await.map_err(Reason::from)?;
        Ok(answer.status == StatusCode::NO_CONTENT)
    }

    /// Asks OctoPrint for a key in the name of `app`; its page then shows the request.
    ///
    /// # Errors
    /// If it does not answer as its programming interface says.
    pub async fn request_key(&self, app: &str) -> Result<KeyRequest, AdmissionError> {
        let body = json!({"app": app});
        let asked = tokio::time::timeout(REQUEST_LIMIT, self.client.post("/plugin/appkeys/request", &body)).await;
        let answer = asked.map_err(|_| AskError::Silent(self.client.target().clone()));
        let answer = answer.flatten().map_err(Reason::from)?;
        if answer.status != StatusCode::CREATED {
            return Err(Reason::Odd(answer.status).into());
        }
        let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        let path = location.and_then(path_of).ok_or(Reason::Odd(answer.status))?;
        Ok(KeyRequest { path })
    }

    /// Asks what has become of a request.
    ///
    /// # Errors
    /// If it does not answer as its programming interface says.
    pub async fn decision(&self, request: &KeyRequest) -> Result<KeyDecision, AdmissionError> {
        #[derive(Deserialize)]
        struct Granted {
            api_key: String,
        }
        let answer = self.client.order(Method::GET, &request.path, REQUEST_LIMIT).await.map_err(Reason::from)?;
        match answer.status {
            StatusCode::ACCEPTED => Ok(KeyDecision::Pending),
            StatusCode::NOT_FOUND => Ok(KeyDecision::Denied),
            StatusCode::OK => {
                let Granted { api_key } = answer.json().map_err(Reason::from)?;
                let is_key =
                    (1..=MAX_KEY).contains(&api_key.len()) && api_key.bytes().all(|byte| byte.is_ascii_graphic());
                if is_key { Ok(KeyDecision::Granted(Secret::new(api_key))) } else { Err(Reason::NoKey.into()) }
            }
            status => Err(Reason::Odd(status).into()),
        }
    }
}

/// The path of an address. What stands before it is what OctoPrint calls itself, which need not be how it is reached.
fn path_of(location: &str) -> Option<String> {
    const PREFIX: &str = "/plugin/appkeys/request/";
    let token = &location[location.find(PREFIX)? + PREFIX.len()..];
    let is_token =
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (is_token && token.len() <= MAX_PATH).then(|| format!("{PREFIX}{token}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stay_within_octoprints_plugin() {
        let path = |location: &str| path_of(location);
        assert_eq!(
            path("http://octopi.local/plugin/appkeys/request/A1b2").as_deref(),
            Some("/plugin/appkeys/request/A1b2")
        );
        assert_eq!(path("/plugin/appkeys/request/x-1_2.3").as_deref(), Some("/plugin/appkeys/request/x-1_2.3"));
        for elsewhere in [
            "",
            "/api/job",
            "/plugin/appkeys/request/",
            "/plugin/appkeys/request/a/../../../api",
            "/plugin/appkeys/request/a?b",
            "/plugin/appkeys/request/a\r\nb",
        ] {
            assert_eq!(path(elsewhere), None, "{elsewhere}");
        }
    }
}
