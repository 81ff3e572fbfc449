//! Passkeys (WebAuthn): the challenges that were sent out, and the checks of what comes back.

use std::time::Duration;

use model::AccountId;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use thiserror::Error;
use url::Url;
use uuid::Uuid;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential,
    RequestChallengeResponse, WebauthnError,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};

/// How long somebody may take for the browser's dialogue.
const CHALLENGE_TIME: Duration = Duration::from_secs(300);
/// Challenges sent out and not answered.
const MAX_CHALLENGES: u64 = 10_000;

/// Makes and checks passkeys of the site's host.
pub struct Passkeys {
    webauthn: Webauthn,
    registrations: Cache<String, PasskeyRegistration>,
    sign_ins: Cache<String, DiscoverableAuthentication>,
}

/// Why a passkey was not taken.
#[derive(Debug, Error)]
pub enum PasskeyError {
    /// No challenge is waiting for this answer, or it took too long.
    #[error("the browser took too long; try again")]
    NoChallenge,
    /// The browser's answer does not prove anything.
    #[error("the passkey was not accepted")]
    Refused(#[source] WebauthnError),
    /// What is stored of a passkey cannot be read.
    #[error("the stored passkey cannot be read")]
    Stored(#[source] serde_json::Error),
}

impl Passkeys {
    /// For a site's origin. None if browsers take no passkeys there: an address in place of a name, or plain HTTP on
    /// anything but this machine.
    pub fn new(origin: &str) -> Option<Self> {
        let origin = Url::parse(origin).ok()?;
        let host = match origin.host()? {
            url::Host::Domain(host) => host.to_owned(),
            _ => return None,
        };
        let is_trustworthy = origin.scheme() == "https" || host == "localhost" || host.ends_with(".localhost");
        if !is_trustworthy {
            return None;
        }
        let webauthn = WebauthnBuilder::new(&host, &origin).ok()?.rp_name("Spoolway").build().ok()?;
        Some(Self { webauthn, registrations: challenges(), sign_ins: challenges() })
    }

    /// Asks a browser to make a passkey for an account.
    pub(crate) fn start_registration(
        &self,
        browser: &str,
        account: &AccountId,
        email: &str,
        known: &[Passkey],
    ) -> Result<serde_json::Value, PasskeyError> {
        let known = known.iter().map(|passkey| passkey.cred_id().clone()).collect();
        let (challenge, state) = self
            .webauthn
            .start_passkey_registration(user_handle(account), email, email, Some(known))
            .map_err(PasskeyError::Refused)?;
        self.registrations.insert(browser.to_owned(), state);
        let mut challenge = serde_json::to_value(challenge).map_err(PasskeyError::Stored)?;
        // Kept by the authenticator itself, so that nobody has to type an address to sign in with it.
        let selection = &mut challenge["publicKey"]["authenticatorSelection"];
        selection["residentKey"] = "required".into();
        selection["requireResidentKey"] = true.into();
        Ok(challenge)
    }

    /// Takes the passkey that the browser made.
    pub(crate) fn finish_registration(
        &self,
        browser: &str,
        credential: &RegisterPublicKeyCredential,
    ) -> Result<Passkey, PasskeyError> {
        let state = self.registrations.remove(browser).ok_or(PasskeyError::NoChallenge)?;
        self.webauthn.finish_passkey_registration(credential, &state).map_err(PasskeyError::Refused)
    }

    /// Asks a browser for any passkey of this site.
    pub(crate) fn start_sign_in(&self, browser: &str) -> Result<RequestChallengeResponse, PasskeyError> {
        let (mut challenge, state) =
            self.webauthn.start_discoverable_authentication().map_err(PasskeyError::Refused)?;
        // A person has pressed a button: the browser shows its dialogue, and not only a hint in a field.
        challenge.mediation = None;
        self.sign_ins.insert(browser.to_owned(), state);
        Ok(challenge)
    }

    /// Checks a browser's answer against the passkey that it names. Returns the passkey if what is stored of it has to
    /// change: its counter tells a copy from the original.
    pub(crate) fn finish_sign_in(
        &self,
        browser: &str,
        credential: &PublicKeyCredential,
        stored: &str,
    ) -> Result<Option<String>, PasskeyError> {
        let state = self.sign_ins.remove(browser).ok_or(PasskeyError::NoChallenge)?;
        let mut passkey: Passkey = serde_json::from_str(stored).map_err(PasskeyError::Stored)?;
        let result = self
            .webauthn
            .finish_discoverable_authentication_v2(credential, state, &passkey)
            .map_err(PasskeyError::Refused)?;
        match passkey.update_credential(&result) {
            Some(true) => serde_json::to_string(&passkey).map(Some).map_err(PasskeyError::Stored),
            _ => Ok(None),
        }
    }

    /// The credential that an answer names.
    pub(crate) fn credential_id(credential: &PublicKeyCredential) -> Vec<u8> {
        credential.get_credential_id().to_vec()
    }
}

fn challenges<V: Clone + Send + Sync + 'static>() -> Cache<String, V> {
    Cache::builder().max_capacity(MAX_CHALLENGES).time_to_live(CHALLENGE_TIME).build()
}

/// The name of an account towards authenticators: says nothing to whoever reads it there.
fn user_handle(account: &AccountId) -> Uuid {
    let digest = Sha256::new().chain_update(b"passkey user\0").chain_update(account.as_str()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_exist_where_browsers_take_them() {
        for origin in ["https://example.org", "https://example.org:8443", "http://localhost:8080"] {
            assert!(Passkeys::new(origin).is_some(), "{origin}");
        }
        for origin in ["http://example.org", "https://192.0.2.1", "http://[::1]:8080", "nonsense"] {
            assert!(Passkeys::new(origin).is_none(), "{origin}");
        }
    }

    #[test]
    fn an_answer_without_a_question_is_none() {
        let passkeys = Passkeys::new("https://example.org").expect("a name");
        let answer = serde_json::json!({
            "id": "AAAA", "rawId": "AAAA", "type": "public-key", "extensions": {},
            "response": {"authenticatorData": "AAAA", "clientDataJSON": "AAAA", "signature": "AAAA", "userHandle": null},
        });
        let answer: PublicKeyCredential = serde_json::from_value(answer).expect("the form of an answer");
        let outcome = passkeys.finish_sign_in("somebody", &answer, "{}");
        assert!(matches!(outcome, Err(PasskeyError::NoChallenge)));
    }
}
