//! Requests to addresses that strangers chose: webhooks, and the logos of apps.
//!
//! Whoever makes the service send a request could otherwise reach what only the service reaches: its own machine, its
//! neighbours, a cloud's metadata. So names are resolved here, only public addresses are left over, and the
//! connection goes to just those; redirects and proxies are not followed, and ports and sizes are bounded.

mod address;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use url::{Host, Url};

/// A receiver that is further away than this would miss the time for its answer as well.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What webhooks' receivers are promised.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of an answer to a webhook. Nobody needs any of it; reading it lets the receiver finish.
const MAX_ANSWER: usize = 64 * 1024;
/// Names lead to a handful of addresses; more only keep the connection attempts going.
const MAX_ADDRESSES: usize = 8;
/// The longest URL that is taken from a stranger.
pub(crate) const MAX_URL: usize = 2048;

/// How the client is made.
#[derive(Clone, Debug, Default)]
pub struct OutboundOptions {
    /// Networks that may be reached although they are not public.
    pub allowed_networks: Vec<IpNet>,
    /// Certificates to trust besides the system's.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

impl OutboundOptions {
    /// The internet, and with `allow_private` everything else too.
    pub fn new(allow_private: bool) -> Self {
        let everything = || [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        Self { allowed_networks: if allow_private { everything().into() } else { Vec::new() }, extra_roots: Vec::new() }
    }
}

/// Sends requests to addresses that strangers chose.
#[derive(Clone, Debug)]
pub struct Outbound {
    client: reqwest::Client,
    allowed: Arc<[IpNet]>,
}

/// An answer from outside.
#[derive(Clone, Debug)]
pub struct OutboundAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer. The texts may be shown to whoever chose the address.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// The URL is not one that the service goes to.
    #[error("the URL cannot be used: {0}")]
    Url(&'static str),
    /// The name leads to no address that may be reached.
    #[error("the host's addresses are not public")]
    Forbidden,
    /// No connection.
    #[error("the host could not be connected to")]
    Connect(#[source] reqwest::Error),
    /// No answer in time.
    #[error("the host did not answer within 10 seconds")]
    Timeout,
    /// The answer is longer than was asked for.
    #[error("the answer is too large")]
    TooLarge,
    /// Something else.
    #[error("the host broke off")]
    Broken(#[source] reqwest::Error),
}

/// The client could not be made.
#[derive(Debug, Error)]
pub enum OutboundSetupError {
    /// TLS.
    #[error("cannot set up TLS for outgoing requests")]
    Tls(#[from] rustls::Error),
    /// The client.
    #[error("cannot set up the client for outgoing requests")]
    Client(#[from] reqwest::Error),
}

/// TLS that trusts what the system trusts.
///
/// # Errors
/// If the provider of its ciphers lacks what TLS needs.
pub(crate) fn tls(extra_roots: Vec<CertificateDer<'static>>) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    if system.certs.is_empty() {
        tracing::warn!(errors = ?system.errors, "the system has no certificates; other servers cannot be verified");
    }
    roots.add_parsable_certificates(system.certs);
    roots.add_parsable_certificates(extra_roots);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

impl Outbound {
    /// Makes the client.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(options: OutboundOptions) -> Result<Self, OutboundSetupError> {
        let tls = tls(options.extra_roots)?;
        let allowed: Arc<[IpNet]> = options.allowed_networks.into();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(CheckedResolver { allowed: Arc::clone(&allowed) }))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            // A kept connection would outlive the check of its address.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("Spoolway/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, allowed })
    }

    /// Whether the service would go there, as far as the URL itself tells.
    ///
    /// # Errors
    /// [`OutboundError::Url`] or [`OutboundError::Forbidden`].
    pub fn check(&self, url: &str) -> Result<Url, OutboundError> {
        if url.len() > MAX_URL {
            return Err(OutboundError::Url("it has more than 2048 characters"));
        }
        let url = Url::parse(url).map_err(|_| OutboundError::Url("it is malformed"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(OutboundError::Url("it is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OutboundError::Url("it has a user name or password"));
        }
        match url.port_or_known_default() {
            Some(80 | 443 | 1024..) => {}
            _ => return Err(OutboundError::Url("its port is neither 80, 443 nor above 1023")),
        }
        // The resolver is not asked about addresses.
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::from(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(OutboundError::Url("it has no host")),
        };
        match address {
            Some(address) if !is_allowed(address, &self.allowed) => Err(OutboundError::Forbidden),
            _ => Ok(url),
        }
    }

    /// Posts JSON and reads the beginning of the answer.
    ///
    /// # Errors
    /// See [`OutboundError`]. Any status is an answer.
    pub async fn post_json(&self, url: &str, body: Vec<u8>) -> Result<OutboundAnswer, OutboundError> {
        let url = self.check(url)?;
        let request = self.client.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
        self.send(request, MAX_ANSWER, true).await
    }

    /// Gets something of at most `max` bytes.
    ///
    /// # Errors
    /// See [`OutboundError`]. Any status is an answer.
    pub async fn get(&self, url: &str, accept: &'static str, max: usize) -> Result<OutboundAnswer, OutboundError> {
        let url = self.check(url)?;
        self.send(self.client.get(url).header(header::ACCEPT, accept), max, false).await
    }

    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        max: usize,
        may_cut: bool,
    ) -> Result<OutboundAnswer, OutboundError> {
        let mut response = request.send().await.map_err(read_error)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(read_error)? {
            let room = max - body.len();
            if chunk.len() > room {
                if !may_cut {
                    return Err(OutboundError::TooLarge);
                }
                body.extend_from_slice(&chunk[..room]);
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(OutboundAnswer { status, headers, body: body.into() })
    }
}

fn read_error(error: reqwest::Error) -> OutboundError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        if inner.is::<ForbiddenAddress>() {
            return OutboundError::Forbidden;
        }
        source = inner.source();
    }
    if error.is_timeout() {
        OutboundError::Timeout
    } else if error.is_connect() {
        OutboundError::Connect(error.without_url())
    } else {
        OutboundError::Broken(error.without_url())
    }
}

fn is_allowed(ip: IpAddr, allowed: &[IpNet]) -> bool {
    address::is_public(ip) || allowed.iter().any(|network| network.contains(&ip))
}

/// Resolves names, and lets through only what may be reached. The client connects to exactly what it is given, so that
/// a name that leads elsewhere a moment later gains nothing.
#[derive(Debug)]
struct CheckedResolver {
    allowed: Arc<[IpNet]>,
}

#[derive(Debug, Error)]
#[error("the host's addresses are not public")]
struct ForbiddenAddress;

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.allowed);
        Box::pin(async move {
            // The port comes from the URL.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<SocketAddr> =
                found.filter(|address| is_allowed(address.ip(), &allowed)).take(MAX_ADDRESSES).collect();
            if addresses.is_empty() {
                return Err(ForbiddenAddress.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests;
