//! Which host a request means, decided once.
//!
//! Tenants are told apart by host name, and stock HTTP servers leave the `Host` header to their users: none, two, or
//! one that contradicts the request's target all arrive here. [`Authority::of_request`] turns a request into exactly
//! one authority or refuses it (RFC 9112 §3.2, RFC 9113 §8.3.1); nothing else may read the header.

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

use std::fmt;

use http::{Version, header, request, uri};
use model::Label;
use thiserror::Error;

/// RFC 1035 §2.3.4.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host and optional port, validated: lower case, no trailing dot, no user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

/// Why a request names no host.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AuthorityError {
    /// No `Host`, and no authority in the target.
    #[error("the request names no host")]
    Missing,
    /// More than one, or two that differ.
    #[error("the request names more than one host")]
    Ambiguous,
    /// One that no host can have.
    #[error("the request's host is malformed")]
    Malformed,
}

impl Authority {
    /// The authority that a request means.
    ///
    /// # Errors
    /// See [`AuthorityError`]. The answer is 400, and the connection must be closed.
    pub fn of_request(request: &request::Parts) -> Result<Self, AuthorityError> {
        let mut hosts = request.headers.get_all(header::HOST).iter();
        let from_header = match (hosts.next(), hosts.next()) {
            (None, _) => None,
            (Some(host), None) => Some(host.to_str().map_err(|_| AuthorityError::Malformed)?.parse::<Self>()?),
            (Some(_), Some(_)) => return Err(AuthorityError::Ambiguous),
        };
        let from_target = request.uri.authority().map(uri::Authority::as_str).map(str::parse::<Self>).transpose()?;
        match (from_target, from_header) {
            // RFC 9112 §3.2 demands the header in HTTP/1.1 even where the target has the host.
            (Some(_), None) if request.version < Version::HTTP_2 => Err(AuthorityError::Missing),
            (Some(target), Some(host)) if target != host => Err(AuthorityError::Ambiguous),
            (Some(authority), _) | (None, Some(authority)) => Ok(authority),
            (None, None) => Err(AuthorityError::Missing),
        }
    }

    /// The host, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if it was given.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl std::str::FromStr for Authority {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or(AuthorityError::Malformed)?;
                let address: std::net::Ipv6Addr = address.parse().map_err(|_| AuthorityError::Malformed)?;
                let port = match after.strip_prefix(':') {
                    Some(port) => port,
                    None if after.is_empty() => "",
                    None => return Err(AuthorityError::Malformed),
                };
                (format!("[{address}]"), port)
            }
            None => {
                let (name, port) = text.split_once(':').unwrap_or((text, ""));
                (valid_name(name)?, port)
            }
        };
        let port = match port {
            // RFC 3986 §3.2.3 lets a port be empty.
            "" => None,
            digits if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| AuthorityError::Malformed)?)
            }
            _ => return Err(AuthorityError::Malformed),
        };
        Ok(Self { host, port })
    }
}

fn valid_name(name: &str) -> Result<String, AuthorityError> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let valid_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() <= MAX_NAME && name.split('.').all(valid_label) {
        Ok(name.to_owned())
    } else {
        Err(AuthorityError::Malformed)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// The names under which the service is reached.
#[derive(Clone, Debug)]
pub struct SiteNames {
    /// `https`, or `http` on loopback and in tests.
    pub scheme: String,
    /// The site's own, with the port that visitors use.
    pub domain: Authority,
    /// Connections are one label below it. The same as `domain` unless the operator keeps them apart.
    pub printers_domain: Authority,
}

/// What a host name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// The site itself.
    Site,
    /// An App Connection.
    App(Label),
    /// A Shared Connection.
    Shared(Label),
    /// An owner's view of a printer.
    Owner(Label),
    /// Not ours.
    Foreign,
}

impl SiteNames {
    /// What a request's host leads to. The port is not looked at: behind a proxy or a port forwarding, visitors use
    /// another one than the service listens on.
    pub fn classify(&self, authority: &Authority) -> Host {
        let host = authority.host();
        if host == self.domain.host() {
            return Host::Site;
        }
        let Some(label) = host.strip_suffix(self.printers_domain.host()).and_then(|rest| rest.strip_suffix('.')) else {
            return if self.domain.host() == "localhost" && is_loopback(host) { Host::Site } else { Host::Foreign };
        };
        let connection = |prefix| label.strip_prefix(prefix).and_then(|label| label.parse().ok());
        if let Some(label) = connection("app-") {
            Host::App(label)
        } else if let Some(label) = connection("shared-") {
            Host::Shared(label)
        } else if let Some(label) = connection("p-") {
            Host::Owner(label)
        } else {
            Host::Foreign
        }
    }

    /// The site's page about an error.
    pub fn help_url(&self, error: model::RelayError) -> String {
        format!("{}://{}/errors/{}", self.scheme, self.domain, error.code())
    }
}

/// A service whose domain is this machine's answers by address too: that is what people type.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    fn parts(version: Version, target: &str, hosts: &[&str]) -> request::Parts {
        let mut request = Request::builder().version(version).uri(target).body(()).expect("test targets are valid");
        for host in hosts {
            let value = HeaderValue::from_bytes(host.as_bytes()).expect("test hosts fit a header");
            request.headers_mut().append(header::HOST, value);
        }
        request.into_parts().0
    }

    #[test]
    fn exactly_one_source_decides() {
        use AuthorityError::{Ambiguous, Malformed, Missing};
        let (v10, v11, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        let good = "app-a.d.example";
        for (version, target, hosts, expected) in [
            (v11, "/", &["d.example"][..], Ok("d.example")),
            (v11, "/", &["D.EXAMPLE."], Ok("d.example")),
            (v11, "/", &["d.example:8080"], Ok("d.example:8080")),
            (v11, "/", &["d.example:"], Ok("d.example")),
            (v11, "/", &["[::1]:80"], Ok("[::1]:80")),
            (v11, "/", &["[0:0::1]"], Ok("[::1]")),
            (v10, "/", &["d.example"], Ok("d.example")),
            (v11, "/", &[], Err(Missing)),
            (v10, "/", &[], Err(Missing)),
            (v11, "/", &[good, good], Err(Ambiguous)),
            (v11, "/", &[good, "other.example"], Err(Ambiguous)),
            (v11, "http://app-a.d.example/", &[good], Ok(good)),
            (v11, "http://app-a.d.example/", &["app-b.d.example"], Err(Ambiguous)),
            (v11, "http://app-a.d.example/", &["app-a.d.example:80"], Err(Ambiguous)),
            (v11, "http://app-a.d.example/", &[], Err(Missing)),
            (v11, "http://u@app-a.d.example/", &[good], Err(Malformed)),
            (v2, "https://app-a.d.example/", &[], Ok(good)),
            (v2, "https://app-a.d.example/", &[good], Ok(good)),
            (v2, "https://app-a.d.example/", &["app-b.d.example"], Err(Ambiguous)),
            (v2, "https://app-a.d.example/", &[good, good], Err(Ambiguous)),
            (v2, "/", &[good], Ok(good)),
            (v2, "/", &[], Err(Missing)),
        ] {
            let outcome = Authority::of_request(&parts(version, target, hosts));
            assert_eq!(
                outcome.map(|authority| authority.to_string()),
                expected.map(str::to_owned),
                "{target} {hosts:?}"
            );
        }
    }

    #[test]
    fn malformed_hosts_are_refused() {
        let long_label = format!("{}.d.example", "a".repeat(64));
        let long_name = "a.".repeat(127) + "aa";
        for bad in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            "a/x",
            "a?x",
            "a#x",
            "u@a",
            "u:p@a",
            "a:b",
            "a:123456",
            "a:99999",
            "a:-1",
            "a:+1",
            "a: 1",
            "a:1:2",
            "a,b",
            "a\\b",
            "a%2eb",
            "a*b",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "[a]",
            "a\tb",
            "a;b",
            "(a)",
            "<a>",
            "a'b",
            "a\"b",
            "é.example",
            "a..",
            "[::1]:x",
            "http://a",
            "a&b",
            "a=b",
            "a!b",
            &long_label,
            &long_name,
        ] {
            assert_eq!(bad.parse::<Authority>(), Err(AuthorityError::Malformed), "{bad:?}");
        }
    }

    fn names(domain: &str, printers: &str) -> SiteNames {
        let parse = |text: &str| text.parse().expect("test names are valid");
        SiteNames { scheme: "https".into(), domain: parse(domain), printers_domain: parse(printers) }
    }

    #[test]
    fn only_one_label_below_the_printers_domain_is_a_connection() {
        let one = names("d.example", "d.example");
        let apart = names("d.example", "p.example");
        let label = |text: &str| text.parse::<Label>().expect("test labels are valid");
        for (names, host, expected) in [
            (&one, "d.example", Host::Site),
            (&one, "app-abc.d.example", Host::App(label("abc"))),
            (&one, "APP-ABC.D.example.:443", Host::App(label("abc"))),
            (&one, "shared-x1.d.example:8443", Host::Shared(label("x1"))),
            (&one, "p-x1.d.example", Host::Owner(label("x1"))),
            (&one, "x.app-abc.d.example", Host::Foreign),
            (&one, "app-a.b.d.example", Host::Foreign),
            (&one, "app-.d.example", Host::Foreign),
            (&one, "app-a-b.d.example", Host::Foreign),
            (&one, "other.d.example", Host::Foreign),
            (&one, "evild.example", Host::Foreign),
            (&one, "app-abcd.example", Host::Foreign),
            (&one, "d.example.evil.example", Host::Foreign),
            (&one, "127.0.0.1", Host::Foreign),
            (&apart, "app-abc.p.example", Host::App(label("abc"))),
            (&apart, "app-abc.d.example", Host::Foreign),
            (&apart, "p.example", Host::Foreign),
            (&names("localhost:8080", "localhost:8080"), "127.0.0.1:8080", Host::Site),
            (&names("localhost:8080", "localhost:8080"), "[::1]", Host::Site),
            (&names("localhost:8080", "localhost:8080"), "10.0.0.1", Host::Foreign),
        ] {
            assert_eq!(names.classify(&host.parse().expect("test hosts are valid")), expected, "{host}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_is_stable(text in "[a-zA-Z0-9.:\\[\\]@/_-]{0,40}|\\PC{0,20}") {
            if let Ok(authority) = text.parse::<Authority>() {
                let printed = authority.to_string();
                prop_assert_eq!(printed.parse::<Authority>(), Ok(authority));
                prop_assert!(printed.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()));
                prop_assert!(!printed.contains('@') && !printed.contains('/'));
            }
        }
    }
}
