//! Signing in with another service (OpenID Connect): the authorisation code flow with PKCE, state and nonce.

use std::sync::Arc;
use std::time::Duration;

use model::AccountId;
use moka::sync::Cache;
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata};
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse, IssuerUrl, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::RwLock;

/// How long somebody may take at the other service.
const FLOW_TIME: Duration = Duration::from_secs(600);
const MAX_FLOWS: u64 = 10_000;
/// What the provider says of itself, its keys included, is asked for again after this time.
const METADATA_TIME: Duration = Duration::from_secs(3600);
const HTTP_TIMEOUT: Duration = Duration::from_secs(15);
/// Keys and tokens are a few kilobytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// How to reach the other service.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// What people call it.
    pub name: String,
    /// Its issuer URL, as it says it itself.
    pub issuer: String,
    /// What it knows this service by.
    pub client_id: String,
    /// The secret shared with it.
    pub client_secret: model::Secret,
}

/// Another service that people sign in with.
pub struct Provider {
    settings: ProviderSettings,
    issuer: IssuerUrl,
    redirect: RedirectUrl,
    http: reqwest::Client,
    metadata: RwLock<Option<(std::time::Instant, CoreProviderMetadata)>>,
    flows: Cache<String, Arc<Mutex<Option<Flow>>>>,
}

/// Somebody on the way to the other service and back.
struct Flow {
    browser: String,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    to: String,
    link_to: Option<AccountId>,
}

/// Somebody who has come back.
#[derive(Debug)]
pub(crate) struct Proven {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// The address, if the provider has checked it.
    pub(crate) email: Option<String>,
    pub(crate) to: String,
    pub(crate) link_to: Option<AccountId>,
}

/// Why somebody could not sign in with the other service.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// The settings make no sense.
    #[error("the provider's settings cannot be used: {0}")]
    Settings(String),
    /// It does not answer, or not as it should.
    #[error("the other service did not answer as it should: {0}")]
    Provider(String),
    /// It was not this browser that went there, or it took too long.
    #[error("that took too long, or was begun in another browser; try again")]
    UnknownFlow,
    /// What it said does not prove who somebody is.
    #[error("the other service's answer could not be verified: {0}")]
    NotProven(String),
}

impl Provider {
    /// Prepares; asks nothing yet, so that the service starts while the provider is away.
    ///
    /// # Errors
    /// If the settings make no sense.
    pub fn new(settings: ProviderSettings, site: &str) -> Result<Self, ProviderError> {
        let wrong = |error: &dyn std::error::Error| ProviderError::Settings(error.to_string());
        let issuer = IssuerUrl::new(settings.issuer.clone()).map_err(|error| wrong(&error))?;
        let redirect = RedirectUrl::new(format!("{site}/sign-in/provider/back")).map_err(|error| wrong(&error))?;
        // The provider is the operator's choice, so it may be anywhere; a redirect would be somebody else's choice.
        let tls = crate::outbound::tls(Vec::new()).map_err(|error| wrong(&error))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(HTTP_TIMEOUT)
            .build()
            .map_err(|error| wrong(&error))?;
        Ok(Self {
            settings,
            issuer,
            redirect,
            http,
            metadata: RwLock::new(None),
            flows: Cache::builder().max_capacity(MAX_FLOWS).time_to_live(FLOW_TIME).build(),
        })
    }

    /// What people call it.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Its origin, to which a form may lead.
    pub(crate) fn origin(&self) -> String {
        self.issuer.url().origin().ascii_serialization()
    }

    /// Where to send a browser.
    pub(crate) async fn start(
        &self,
        browser: String,
        to: String,
        link_to: Option<AccountId>,
    ) -> Result<String, ProviderError> {
        let metadata = self.metadata().await?;
        let client = CoreClient::from_provider_metadata(
            metadata,
            ClientId::new(self.settings.client_id.clone()),
            Some(ClientSecret::new(self.settings.client_secret.expose().to_owned())),
        )
        .set_redirect_uri(self.redirect.clone());
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scope(Scope::new("email".to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        let flow = Flow { browser, nonce, verifier, to, link_to };
        self.flows.insert(state.secret().clone(), Arc::new(Mutex::new(Some(flow))));
        Ok(url.to_string())
    }

    /// Takes what a browser brought back.
    pub(crate) async fn finish(&self, browser: &str, state: &str, code: String) -> Result<Proven, ProviderError> {
        let flow = self.flows.remove(state).and_then(|flow| flow.lock().take()).ok_or(ProviderError::UnknownFlow)?;
        if flow.browser != browser {
            return Err(ProviderError::UnknownFlow);
        }
        let metadata = self.metadata().await?;
        let client = CoreClient::from_provider_metadata(
            metadata,
            ClientId::new(self.settings.client_id.clone()),
            Some(ClientSecret::new(self.settings.client_secret.expose().to_owned())),
        )
        .set_redirect_uri(self.redirect.clone());
        let http = |request| fetch(self.http.clone(), request);
        let tokens = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| ProviderError::Provider(error.to_string()))?
            .set_pkce_verifier(flow.verifier)
            .request_async(&http)
            .await
            .map_err(|error| ProviderError::Provider(error.to_string()))?;
        let token = tokens.id_token().ok_or_else(|| ProviderError::NotProven("it sent no identity".to_owned()))?;
        let claims = token
            .claims(&client.id_token_verifier(), &flow.nonce)
            .map_err(|error| ProviderError::NotProven(error.to_string()))?;
        let is_verified = claims.email_verified() == Some(true);
        Ok(Proven {
            issuer: claims.issuer().to_string(),
            subject: claims.subject().to_string(),
            email: claims.email().filter(|_| is_verified).map(|email| email.to_string()),
            to: flow.to,
            link_to: flow.link_to,
        })
    }

    async fn metadata(&self) -> Result<CoreProviderMetadata, ProviderError> {
        if let Some((at, metadata)) = &*self.metadata.read().await
            && at.elapsed() < METADATA_TIME
        {
            return Ok(metadata.clone());
        }
        let mut kept = self.metadata.write().await;
        if let Some((at, metadata)) = &*kept
            && at.elapsed() < METADATA_TIME
        {
            return Ok(metadata.clone());
        }
        let http = |request| fetch(self.http.clone(), request);
        let metadata = CoreProviderMetadata::discover_async(self.issuer.clone(), &http)
            .await
            .map_err(|error| ProviderError::Provider(error.to_string()))?;
        *kept = Some((std::time::Instant::now(), metadata.clone()));
        Ok(metadata)
    }
}

#[derive(Debug, Error)]
enum FetchError {
    #[error("the request failed")]
    Http(#[source] reqwest::Error),
    #[error("the answer is too large")]
    TooLarge,
    #[error("the answer is malformed")]
    Malformed(#[source] http::Error),
}

async fn fetch(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    let request = request.try_into().map_err(FetchError::Http)?;
    let mut answer = client.execute(request).await.map_err(FetchError::Http)?;
    let mut response = http::Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(FetchError::Http)? {
        if body.len() + piece.len() > MAX_ANSWER {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    response.body(body).map_err(FetchError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_is_away_is_no_reason_not_to_start() {
        let settings = |issuer: &str| ProviderSettings {
            name: "House key".to_owned(),
            issuer: issuer.to_owned(),
            client_id: "spoolway".to_owned(),
            client_secret: model::Secret::generate(),
        };
        assert!(Provider::new(settings("https://away.invalid"), "https://example.org").is_ok());
        assert!(matches!(Provider::new(settings("nonsense"), "https://example.org"), Err(ProviderError::Settings(_))));
    }
}
