//! Where the portal may send an app's secrets.
//!
//! The address comes with a link that anybody can make, so it decides who gets into a printer. What is refused here is
//! never shown; what passes is named on the consent page, and an app that the operator has registered gets no further
//! than its own patterns.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use url::{Host, Url};

/// Longer ones do not fit the address bars and servers that they have to pass.
const MAX_LENGTH: usize = 2048;
/// Longer than any scheme in use; it is shown to people.
const MAX_SCHEME: usize = 64;
/// Schemes that run code, read files, or hand the address to something that is no app waiting for it.
const FORBIDDEN_SCHEMES: [&str; 30] = [
    "about",
    "blob",
    "chrome",
    "chrome-extension",
    "cid",
    "content",
    "data",
    "edge",
    "feed",
    "file",
    "filesystem",
    "ftp",
    "geo",
    "intent",
    "jar",
    "javascript",
    "mailto",
    "mhtml",
    "moz-extension",
    "opera",
    "resource",
    "search-ms",
    "sms",
    "ssh",
    "tel",
    "vbscript",
    "view-source",
    "wap",
    "ws",
    "wss",
];

/// An address that the portal may go back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReturnUrl {
    url: Url,
    target: Target,
}

/// Who gets the secrets, for people and for the page's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A web server, as `scheme://host`, with the port if it is an unusual one.
    Web(String),
    /// Whatever program on the person's device has claimed the scheme.
    Scheme(String),
}

/// Why an address is refused. The texts are for developers of apps.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum ReturnUrlError {
    #[error("it has more than 2048 characters")]
    TooLong,
    #[error("it is no absolute URL")]
    Malformed,
    #[error("it has spaces, control characters or a backslash")]
    Characters,
    #[error("its scheme is not allowed")]
    Scheme,
    #[error("it has a user name or password")]
    User,
    #[error("its host is not allowed")]
    Host,
    #[error("`http` is only allowed on this device or the local network")]
    PublicHttp,
    #[error("it is not among the return URLs that the app has registered")]
    NotRegistered,
}

impl ReturnUrl {
    /// Checks an address; `patterns` are those of a registered app.
    pub(super) fn read(text: &str, patterns: Option<&[Pattern]>) -> Result<Self, ReturnUrlError> {
        let url = parse(text)?;
        if let Some(patterns) = patterns
            && !patterns.iter().any(|pattern| pattern.matches(&url))
        {
            return Err(ReturnUrlError::NotRegistered);
        }
        if url.scheme() == "http" && patterns.is_none() && !is_local(&url) {
            return Err(ReturnUrlError::PublicHttp);
        }
        let target = match url.scheme() {
            "http" | "https" => Target::Web(url.origin().ascii_serialization()),
            scheme => Target::Scheme(scheme.to_owned()),
        };
        Ok(Self { url, target })
    }

    /// A page of the site's own.
    pub(super) fn own(url: Url) -> Self {
        let target = Target::Web(url.origin().ascii_serialization());
        Self { url, target }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// What the browser may be sent to from the consent page, as a source of a content security policy.
    pub(super) fn policy_source(&self) -> String {
        match &self.target {
            // Policies have no words for these hosts.
            Target::Web(origin)
                if origin.contains('[') || self.url.domain().is_some_and(|host| host.ends_with('.')) =>
            {
                format!("{}:", self.url.scheme())
            }
            Target::Web(origin) => origin.clone(),
            Target::Scheme(scheme) => format!("{scheme}:"),
        }
    }

    /// The address with parameters added behind its own query.
    pub(super) fn with_parameters(&self, parameters: &[(&str, &str)]) -> Url {
        let mut query = self.url.query().unwrap_or_default().to_owned();
        for (key, value) in parameters {
            if !query.is_empty() && !query.ends_with('&') {
                query.push('&');
            }
            query.push_str(key);
            query.push('=');
            // A plus for a space would stay a plus where apps only undo percent signs.
            query.extend(percent_encoding::utf8_percent_encode(value, UNRESERVED));
        }
        let mut url = self.url.clone();
        url.set_query(Some(&query));
        url
    }
}

/// RFC 3986 §2.3.
const UNRESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A return address that the operator registered for an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `myapp:`: everything with this scheme.
    Scheme(String),
    /// `https://example.org/callback`: this scheme, host, port and path, with any query.
    Exact(Url),
    /// `https://example.org/app/*`: everything below the path.
    Below(Url),
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "a return pattern is a scheme (`myapp:`), a URL (`https://example.org/callback`), or everything below one \
     (`https://example.org/app/*`)"
)]
pub struct PatternError;

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if let Some(scheme) = text.strip_suffix("://*").or_else(|| text.strip_suffix(':')) {
            let is_custom = is_valid_scheme(scheme) && !["http", "https"].contains(&scheme);
            return if is_custom { Ok(Self::Scheme(scheme.to_owned())) } else { Err(PatternError) };
        }
        let (text, is_below) = match text.strip_suffix("/*") {
            Some(start) => (format!("{start}/"), true),
            None => (text.to_owned(), false),
        };
        let url = parse(&text).map_err(|_| PatternError)?;
        if text.contains('*') || url.query().is_some() || url.fragment().is_some() {
            return Err(PatternError);
        }
        Ok(if is_below { Self::Below(url) } else { Self::Exact(url) })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) => write!(f, "{scheme}:"),
            Self::Exact(url) => write!(f, "{url}"),
            Self::Below(url) => write!(f, "{url}*"),
        }
    }
}

impl Pattern {
    /// Both addresses were taken apart by the same parser, which has undone `..` and its encodings.
    fn matches(&self, url: &Url) -> bool {
        let same_server = |ours: &Url| {
            ours.scheme() == url.scheme()
                && ours.host() == url.host()
                && ours.port_or_known_default() == url.port_or_known_default()
        };
        match self {
            Self::Scheme(scheme) => url.scheme() == scheme,
            Self::Exact(ours) => same_server(ours) && ours.path() == url.path(),
            Self::Below(ours) => same_server(ours) && url.path().starts_with(ours.path()),
        }
    }
}

/// Takes an address apart, if every reader would take it apart the same way.
fn parse(text: &str) -> Result<Url, ReturnUrlError> {
    if text.len() > MAX_LENGTH {
        return Err(ReturnUrlError::TooLong);
    }
    // Parsers drop or turn these, each in its own way.
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(ReturnUrlError::Characters);
    }
    let (scheme, rest) = text.split_once(':').ok_or(ReturnUrlError::Malformed)?;
    let scheme = scheme.to_ascii_lowercase();
    if !is_valid_scheme(&scheme) {
        return Err(ReturnUrlError::Scheme);
    }
    let url = Url::parse(text).map_err(|_| ReturnUrlError::Malformed)?;
    if url.scheme() != scheme {
        return Err(ReturnUrlError::Malformed);
    }
    // An `@` behind the path is none of the host's business; one before it is, even where the parser finds no user.
    let authority = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if !url.username().is_empty() || url.password().is_some() || authority.is_some_and(|text| text.contains('@')) {
        return Err(ReturnUrlError::User);
    }
    if matches!(scheme.as_str(), "http" | "https") {
        // Browsers forgive missing and surplus slashes; others find another host.
        if authority.is_none_or(str::is_empty) {
            return Err(ReturnUrlError::Malformed);
        }
        let is_plain = |host: &str| {
            host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte))
        };
        match url.host() {
            Some(Host::Domain(host)) if !is_plain(host) => return Err(ReturnUrlError::Host),
            Some(_) => {}
            None => return Err(ReturnUrlError::Host),
        }
    } else if rest.trim_start_matches('/').is_empty() && !rest.starts_with("//") {
        return Err(ReturnUrlError::Malformed);
    }
    Ok(url)
}

fn is_valid_scheme(scheme: &str) -> bool {
    // RFC 3986 §3.1, in lower case.
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
    is_scheme && scheme.len() <= MAX_SCHEME && !FORBIDDEN_SCHEMES.contains(&scheme)
}

/// Whether a web address stays on this device or in the local network.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => is_local_v4(address),
        Some(Host::Ipv6(address)) => is_local_v6(address),
        None => false,
    }
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_private() || address.is_link_local()
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    match address.to_ipv4_mapped() {
        Some(address) => is_local_v4(address),
        None => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
