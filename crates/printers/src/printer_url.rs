//! The address of a printer's software.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use url::{Host, Url};

use crate::detect::software;

/// Where a printer's software listens: `http://octopi.local`, `https://192.168.1.20:7130`, `bambu://192.168.1.30`.
///
/// It is only scheme, host and port. Everything else of a relayed request comes from the visitor, so a path, a query
/// or credentials in it would silently do nothing; they are refused instead.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PrinterUrl {
    scheme: Scheme,
    host: String,
    port: u16,
    authority: String,
}

/// How a printer's software is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
    /// Bambu Lab: MQTT over TLS.
    Bambu,
    /// Elegoo Centauri Carbon: SDCP in a WebSocket.
    ElegooCc1,
    /// Elegoo Centauri Carbon 2: MQTT.
    ElegooCc2,
}

impl Scheme {
    const ALL: [Self; 5] = [Self::Http, Self::Https, Self::Bambu, Self::ElegooCc1, Self::ElegooCc2];

    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Bambu => "bambu",
            Self::ElegooCc1 => "elegoo-cc1",
            Self::ElegooCc2 => "elegoo-cc2",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Bambu => 8883,
            Self::ElegooCc1 => 3030,
            Self::ElegooCc2 => 1883,
        }
    }
}

/// Why a text is no [`PrinterUrl`].
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PrinterUrlError {
    /// It does not begin with a scheme.
    #[error("it must begin with `http://` or `https://`, or with `bambu://`, `elegoo-cc1://` or `elegoo-cc2://`")]
    SchemeMissing,
    /// It has a scheme that no printer speaks.
    #[error(
        "`{0}://` is not supported, only `http://` and `https://`, and `bambu://`, `elegoo-cc1://` and `elegoo-cc2://`"
    )]
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
    /// Whether the software is spoken to in HTTP over TLS.
    pub fn scheme_is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// `http`, `https`, or the name of a kind of printer that speaks neither.
    pub fn scheme(&self) -> &'static str {
        self.scheme.name()
    }

    /// The kind of software where the scheme tells it, by one of the names in [`crate::detect::software`]; `None` where
    /// it has to be found out over HTTP.
    pub fn software(&self) -> Option<&'static str> {
        match self.scheme {
            Scheme::Http | Scheme::Https => None,
            Scheme::Bambu => Some(software::BAMBU),
            Scheme::ElegooCc1 => Some(software::ELEGOO_CC1),
            Scheme::ElegooCc2 => Some(software::ELEGOO_CC2),
        }
    }

    /// Where the printer's web interface is; `None` where it has none.
    pub fn web(&self) -> Option<Self> {
        match self.scheme {
            Scheme::Http | Scheme::Https => Some(self.clone()),
            Scheme::Bambu => None,
            Scheme::ElegooCc1 => Some(self.at_http_port(80)),
            // What its own slicer opens; the camera is there too.
            Scheme::ElegooCc2 => Some(self.at_http_port(8080)),
        }
    }

    /// Another port of the same host, in plain HTTP.
    pub(crate) fn at_http_port(&self, port: u16) -> Self {
        Self::new(Scheme::Http, self.host.clone(), port)
    }

    /// Another port of the same host, over TLS.
    pub(crate) fn at_tls_port(&self, port: u16) -> Self {
        Self::new(Scheme::Https, self.host.clone(), port)
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

    fn new(scheme: Scheme, host: String, port: u16) -> Self {
        let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let authority = if port == scheme.default_port() { name } else { format!("{name}:{port}") };
        Self { scheme, host, port, authority }
    }
}

impl FromStr for PrinterUrl {
    type Err = PrinterUrlError;

    fn from_str(text: &str) -> Result<Self, PrinterUrlError> {
        // `octopi.local:5000` is a URL too, of the scheme `octopi.local`. Nobody who types it means that.
        let Some((scheme, rest)) = text.split_once("://") else { return Err(PrinterUrlError::SchemeMissing) };
        let name = scheme.trim_start().to_ascii_lowercase();
        let Some(scheme) = Scheme::ALL.into_iter().find(|scheme| scheme.name() == name) else {
            let url = Url::parse(text).map_err(PrinterUrlError::Malformed)?;
            return Err(PrinterUrlError::SchemeUnsupported(url.scheme().to_owned()));
        };
        // Hosts of schemes that the URL standard does not know are not looked into, so all are read as the web's. Two
        // readings, because each leaves its own default port out.
        let read = |scheme: &str| Url::parse(&format!("{scheme}://{rest}")).map_err(PrinterUrlError::Malformed);
        let (url, other) = (read("http")?, read("https")?);
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
        let port = url.port().or(other.port()).unwrap_or(scheme.default_port());
        if port == 0 {
            return Err(PrinterUrlError::PortZero);
        }
        Ok(Self::new(scheme, host, port))
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
        check("https://a:80", "https://a:80", "a", 80, "a:80");
        check("http://a:443", "http://a:443", "a", 443, "a:443");
    }

    #[test]
    fn printers_that_speak_no_http_have_schemes_of_their_own() {
        check("Bambu://Bambu-X1.local", "bambu://bambu-x1.local", "bambu-x1.local", 8883, "bambu-x1.local");
        check("bambu://192.168.1.30:8883/", "bambu://192.168.1.30", "192.168.1.30", 8883, "192.168.1.30");
        check("elegoo-cc1://192.168.1.31", "elegoo-cc1://192.168.1.31", "192.168.1.31", 3030, "192.168.1.31");
        check("elegoo-cc2://[fe80::1]:80", "elegoo-cc2://[fe80::1]:80", "fe80::1", 80, "[fe80::1]:80");
        check("elegoo-cc2://0x7f.1:443", "elegoo-cc2://127.0.0.1:443", "127.0.0.1", 443, "127.0.0.1:443");
        let url = |text: &str| text.parse::<PrinterUrl>().unwrap();
        let web = |text: &str| (url(text).software(), url(text).web().map(|web| web.to_string()));
        assert_eq!(web("https://a:7"), (None, Some("https://a:7".to_owned())));
        assert_eq!(web("bambu://a"), (Some("bambu"), None));
        assert_eq!(web("elegoo-cc1://a"), (Some("elegoo-cc1"), Some("http://a".to_owned())));
        assert_eq!(web("elegoo-cc2://a:9"), (Some("elegoo-cc2"), Some("http://a:8080".to_owned())));
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
        assert_eq!(error("bambu://bblp:code@a"), PrinterUrlError::Credentials);
        assert_eq!(error("elegoo-cc1://a/websocket"), PrinterUrlError::NotRoot("/websocket".to_owned()));
        assert_eq!(error("elegoo-cc2://a:0"), PrinterUrlError::PortZero);
        assert_eq!(error("elegoo://a"), PrinterUrlError::SchemeUnsupported("elegoo".to_owned()));
        for malformed in [
            "bambu://",
            "bambu://:8883",
            "elegoo-cc2://a:65536",
            "http://",
            "http://:80",
            "http://octopi.local:99999",
            "http://[::1",
            "http://a b",
        ] {
            assert!(matches!(error(malformed), PrinterUrlError::Malformed(_)), "{malformed}");
        }
    }
}
