//! The address of a printer's software.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::{Host, Url};

/// Where a printer's software listens: `http://octopi.local`, `https://192.168.1.20:7130`.
///
/// It is only scheme, host and port. Everything else of a relayed request comes from the visitor, so a path, a query
/// or credentials in it would silently do nothing; they are refused instead.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PrinterUrl {
    scheme_is_https: bool,
    host: String,
    port: u16,
    authority: String,
}

/// Why a text is no [`PrinterUrl`].
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PrinterUrlError {
    /// It does not begin with a scheme.
    #[error("it must begin with `http://` or `https://`")]
    SchemeMissing,
    /// It has a scheme that no printer's web interface speaks.
    #[error("`{0}://` is not supported, only `http://` and `https://`")]
    SchemeUnsupported(String),
    /// It cannot be read.
    #[error("it is not a URL")]
    Malformed(#[source] url::ParseError),
    /// It contains `user:password@`.
    #[error("it must not contain a user name or password; visitors sign in to the printer's software themselves")]
    Credentials,
    /// It has a path, a query or a fragment.
    #[error("it must end after the host and port; the printer's software is expected at `/`, not at `{0}`")]
    NotRoot(String),
    /// Its port is 0.
    #[error("port 0 cannot be connected to")]
    PortZero,
}

impl PrinterUrl {
    /// Whether the software is spoken to over TLS.
    pub fn scheme_is_https(&self) -> bool {
        self.scheme_is_https
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.scheme_is_https { "https" } else { "http" }
    }

    /// The host's name or address, in lower case; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also where it is the scheme's default.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host[:port]` as a `Host` header has it: an IPv6 address in brackets, the scheme's default port left out.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl FromStr for PrinterUrl {
    type Err = PrinterUrlError;

    fn from_str(text: &str) -> Result<Self, PrinterUrlError> {
        // `octopi.local:5000` is a URL too, of the scheme `octopi.local`. Nobody who types it means that.
        if !text.contains("://") {
            return Err(PrinterUrlError::SchemeMissing);
        }
        let url = Url::parse(text).map_err(PrinterUrlError::Malformed)?;
        let (scheme_is_https, default_port) = match url.scheme() {
            "http" => (false, 80),
            "https" => (true, 443),
            other => return Err(PrinterUrlError::SchemeUnsupported(other.to_owned())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(PrinterUrlError::Credentials);
        }
        let rest = &url[url::Position::BeforePath..];
        if rest != "/" {
            return Err(PrinterUrlError::NotRoot(rest.to_owned()));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(PrinterUrlError::Malformed(url::ParseError::EmptyHost)),
        };
        let port = url.port().unwrap_or(default_port);
        if port == 0 {
            return Err(PrinterUrlError::PortZero);
        }
        let authority = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        Ok(Self { scheme_is_https, host, port, authority })
    }
}

impl fmt::Display for PrinterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority)
    }
}

impl fmt::Debug for PrinterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn check(text: &str, display: &str, host: &str, port: u16, authority: &str) {
        let url: PrinterUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), display);
        assert_eq!((url.host(), url.port(), url.authority()), (host, port, authority));
        assert_eq!(url.scheme_is_https(), display.starts_with("https:"));
        assert_eq!(display.parse::<PrinterUrl>().unwrap(), url);
    }

    #[test]
    fn knows_its_parts() {
        check("http://octopi.local", "http://octopi.local", "octopi.local", 80, "octopi.local");
        check("HTTP://OctoPi.local:80/", "http://octopi.local", "octopi.local", 80, "octopi.local");
        check("http://127.0.0.1:5000", "http://127.0.0.1:5000", "127.0.0.1", 5000, "127.0.0.1:5000");
        check("https://[fe80::1]:7130/", "https://[fe80::1]:7130", "fe80::1", 7130, "[fe80::1]:7130");
        check("https://[::1]", "https://[::1]", "::1", 443, "[::1]");
        check("https://drucker.häuschen", "https://drucker.xn--huschen-5wa", "drucker.xn--huschen-5wa", 443, {
            "drucker.xn--huschen-5wa"
        });
    }

    #[test]
    fn each_mistake_has_its_reason() {
        let error = |text: &str| text.parse::<PrinterUrl>().unwrap_err();
        assert_eq!(error("octopi.local"), PrinterUrlError::SchemeMissing);
        assert_eq!(error("octopi.local:5000"), PrinterUrlError::SchemeMissing);
        assert_eq!(error(""), PrinterUrlError::SchemeMissing);
        assert_eq!(error("ws://octopi.local"), PrinterUrlError::SchemeUnsupported("ws".to_owned()));
        assert_eq!(error("file:///etc"), PrinterUrlError::SchemeUnsupported("file".to_owned()));
        assert_eq!(error("http://pi:raspberry@octopi.local"), PrinterUrlError::Credentials);
        assert_eq!(error("http://octopi.local/octoprint"), PrinterUrlError::NotRoot("/octoprint".to_owned()));
        assert_eq!(error("http://octopi.local/?a=1"), PrinterUrlError::NotRoot("/?a=1".to_owned()));
        assert_eq!(error("http://octopi.local:0"), PrinterUrlError::PortZero);
        for malformed in ["http://", "http://:80", "http://octopi.local:99999", "http://[::1", "http://a b"] {
            assert!(matches!(error(malformed), PrinterUrlError::Malformed(_)), "{malformed}");
        }
    }
}
