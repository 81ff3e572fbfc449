//! The configuration: built-in values, a TOML file, `SPOOLWAY_…` variables and flags, each over the one before.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use ipnet::IpNet;
use relay::edge::{CertificateFiles, DEFAULT_PER_ADDRESS};
use relay::{Authority, Timeouts};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use web::mail::Mailer;
use web::oidc::ProviderSettings;
use web::{SignUp, SiteSettings};

use crate::names_check::{self, NameWarning, Resolve};

/// Where the service listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// Every key, for telling a misspelt one.
const KEYS: [&str; 26] = [
    "listen",
    "domain",
    "printers_domain",
    "public_scheme",
    "data",
    "trusted_proxies",
    "allow_plain_http",
    "metrics_listen",
    "max_connections",
    "max_connections_per_address",
    "sign_up",
    "pairing",
    "beta_features",
    "allow_private_targets",
    "abuse_contact",
    "unknown_names_temporary_until",
    "shared_notice",
    "smtp.url",
    "smtp.from",
    "oidc.name",
    "oidc.issuer",
    "oidc.client_id",
    "oidc.client_secret",
    "tls.listen",
    "tls.certificate",
    "tls.key",
];

/// Settings that the command line can give.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct ConfigFlags {
    /// TOML file with settings; `docs/operating.md` lists them
    #[arg(long, env = "SPOOLWAY_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Name under which visitors reach the service, with the port if it is not the usual one [default: localhost:PORT]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Directory of the database [default: ./data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Address on which Prometheus metrics are served; they are off without it
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<String>,
    /// Whether browsers are told whose printer it is before they see an open Shared Connection [default: true]
    #[arg(long, value_name = "BOOLEAN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_notice: Option<bool>,
}

/// A configuration that the service can start with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listens without TLS, unless `tls` is set and has no listener of its own.
    pub listen: SocketAddr,
    /// Whether `listen` was chosen by somebody.
    pub listen_is_default: bool,
    /// The site's name; made of the listener's port if absent.
    pub domain: Option<Authority>,
    /// The name that connections are below; the site's if absent.
    pub printers_domain: Option<Authority>,
    /// `http` or `https`, as visitors see it.
    pub public_scheme: Option<String>,
    /// Where the database is.
    pub data: PathBuf,
    /// Proxies that may name their visitors.
    pub trusted_proxies: Vec<IpNet>,
    /// Where metrics are served.
    pub metrics_listen: Option<SocketAddr>,
    /// Connections in all; derived from the limit of open files if absent.
    pub max_connections: Option<usize>,
    /// Connections from one address.
    pub max_connections_per_address: usize,
    /// Whether browsers are told whose printer it is before they see an open Shared Connection.
    pub shared_notice: bool,
    /// How long visitors may take; no setting, but for tests.
    pub timeouts: Timeouts,
    /// The operator's choices about the site.
    pub site: SiteSettings,
    /// Sends mail.
    pub mailer: Option<Mailer>,
    /// Another service that people may sign in with.
    pub provider: Option<ProviderSettings>,
    /// Certificates, and where to listen with them if not on `listen`.
    pub tls: Option<(CertificateFiles, Option<SocketAddr>)>,
}

/// Something in the configuration that the service cannot start with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{key}`: {problem}")]
pub struct Mistake {
    /// The setting.
    pub key: String,
    /// What is wrong with it, and what that would lead to.
    pub problem: String,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// All mistakes that were found, not only the first.
    pub fn load(flags: &ConfigFlags) -> Result<Self, Vec<Mistake>> {
        let mut figment = Figment::new();
        if let Some(file) = &flags.config {
            if !file.is_file() {
                let problem = format!("`{}` is no file; nothing of it would be in force", file.display());
                return Err(vec![Mistake { key: "--config".to_owned(), problem }]);
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let variables: Vec<&str> = KEYS.to_vec();
        figment = figment
            .merge(
                Env::prefixed("SPOOLWAY_")
                    .split("__")
                    .filter(move |key| variables.iter().any(|known| key.as_str().eq_ignore_ascii_case(known))),
            )
            .merge(Serialized::defaults(flags));
        Self::read(figment)
    }

    /// Reads a configuration file's text, with nothing said by flags or environment.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        Self::read(Figment::from(Toml::string(text)))
    }

    /// What DNS says about the names that were set; nothing is asked about this machine's own.
    pub async fn check_names(&self, resolve: Resolve<'_>) -> Vec<NameWarning> {
        let Some(domain) = &self.domain else { return Vec::new() };
        names_check::check(domain, self.printers_domain.as_ref().unwrap_or(domain), resolve).await
    }

    fn read(figment: Figment) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader { figment, mistakes: Vec::new() };
        reader.find_unknown_keys();
        let config = reader.read();
        if reader.mistakes.is_empty() { Ok(config) } else { Err(reader.mistakes) }
    }
}

mod tables;

struct Reader {
    figment: Figment,
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn mistake(&mut self, key: &str, problem: impl Into<String>) {
        self.mistakes.push(Mistake { key: key.to_owned(), problem: problem.into() });
    }

    fn find_unknown_keys(&mut self) {
        let settings = match self.figment.extract::<Dict>() {
            Ok(settings) => settings,
            Err(error) => return self.mistake("configuration", format!("it cannot be read: {error}")),
        };
        let mut keys = Vec::new();
        collect_keys(&settings, "", &mut keys);
        for key in keys {
            if !KEYS.contains(&key.as_str()) {
                let problem = match KEYS.iter().find(|known| is_close(known, &key)) {
                    Some(known) => format!("there is no such setting, so it would do nothing; did you mean `{known}`?"),
                    None => "there is no such setting, so it would do nothing".to_owned(),
                };
                self.mistake(&key, problem);
            }
        }
    }

    /// A setting as it stands, if it is there and of the right type.
    fn get<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Option<T> {
        let value = self.figment.find_value(key).ok()?;
        match value.deserialize::<T>() {
            Ok(value) => Some(value),
            Err(_) => {
                self.mistake(key, format!("expected {expected}; the service does not start with a guess"));
                None
            }
        }
    }

    /// A setting that is written as text and has a form of its own.
    fn parse<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        // `8080` in a variable becomes a number on the way here.
        let text = match self.figment.find_value(key).ok()? {
            Value::String(_, text) => text,
            Value::Num(_, number) => {
                number.to_i128().map_or_else(|| format!("{number:?}"), |number| number.to_string())
            }
            other => {
                self.mistake(key, format!("expected text, found {other:?}"));
                return None;
            }
        };
        if text.is_empty() {
            return None;
        }
        match parse(&text) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.mistake(key, problem);
                None
            }
        }
    }

    fn address(&mut self, key: &str) -> Option<SocketAddr> {
        self.parse(key, |text| {
            text.parse().map_err(|_| {
                format!(
                    "`{text}` is no address and port like `127.0.0.1:8080` or `[::]:443`; nothing could be listened on"
                )
            })
        })
    }

    fn name(&mut self, key: &str) -> Option<Authority> {
        self.parse(key, |text| {
            text.parse::<Authority>().map_err(|_| {
                format!("`{text}` is no host name with an optional port, like `spoolway.example`; no visitor could be told apart by it")
            })
        })
    }

    fn read(&mut self) -> Config {
        let default_listen: SocketAddr = DEFAULT_LISTEN.parse().expect("the built-in address is valid");
        let listen = self.address("listen");
        let domain = self.name("domain");
        let printers_domain = self.name("printers_domain");
        let public_scheme = self.parse("public_scheme", |text| match text {
            "http" | "https" => Ok(text.to_owned()),
            _ => Err(format!("`{text}` is neither `http` nor `https`; the URLs given to apps would not work")),
        });
        let data = self.get("data", "the path of a directory").unwrap_or_else(|| PathBuf::from("./data"));
        let trusted_proxies = self.networks();
        let metrics_listen = self.address("metrics_listen");
        let max_connections = self.get("max_connections", "a number of connections");
        if max_connections == Some(0) {
            self.mistake("max_connections", "with 0 nobody could connect");
        }
        let max_connections_per_address =
            self.get("max_connections_per_address", "a number of connections").unwrap_or(DEFAULT_PER_ADDRESS);
        let site = self.site();
        let shared_notice = self.get("shared_notice", "`true` or `false`").unwrap_or(true);
        let mailer = self.mailer();
        let provider = self.provider();
        let tls = self.tls();
        let allow_plain_http = self.get("allow_plain_http", "`true` or `false`").unwrap_or(false);
        let address = listen.unwrap_or(default_listen);
        let listens_plainly = tls.as_ref().is_none_or(|(_, listener)| listener.is_some());
        if listens_plainly && !address.ip().is_loopback() && trusted_proxies.is_empty() && !allow_plain_http {
            self.mistake(
                "listen",
                format!(
                    "`{address}` can be reached from other machines without TLS, so credentials and pictures would cross \
                     the network readable; set `tls.certificate` and `tls.key`, or `trusted_proxies` if a proxy in front \
                     speaks TLS, or `allow_plain_http = true` if you accept that"
                ),
            );
        }
        Config {
            listen: address,
            listen_is_default: listen.is_none(),
            domain,
            printers_domain,
            public_scheme,
            data,
            trusted_proxies,
            metrics_listen,
            max_connections,
            max_connections_per_address,
            shared_notice,
            timeouts: Timeouts::default(),
            site,
            mailer,
            provider,
            tls,
        }
    }

    /// A list of texts; a variable may hold several, set apart by commas.
    fn texts(&mut self, key: &str, expected: &str) -> Vec<String> {
        match self.figment.find_value(key) {
            Err(_) => Vec::new(),
            Ok(Value::String(_, text)) => text.split(',').map(|text| text.trim().to_owned()).collect(),
            Ok(value) => value.deserialize::<Vec<String>>().unwrap_or_else(|_| {
                self.mistake(key, format!("expected {expected}"));
                Vec::new()
            }),
        }
    }

    fn site(&mut self) -> SiteSettings {
        let default = SiteSettings::default();
        let sign_up = self.parse("sign_up", |text| match text {
            "open" => Ok(SignUp::Open),
            "invitation" => Ok(SignUp::Invitation),
            "closed" => Ok(SignUp::Closed),
            _ => {
                Err(format!("`{text}` is none of `open`, `invitation` and `closed`; nobody could tell who may sign up"))
            }
        });
        let beta_features = self.texts("beta_features", "a list of names like `[\"gadget-api\"]`");
        for feature in &beta_features {
            if let Err(error) = feature.parse::<store::Feature>() {
                self.mistake("beta_features", format!("`{feature}`: {error}; it could be granted to nobody"));
            }
        }
        SiteSettings {
            sign_up: sign_up.unwrap_or(default.sign_up),
            pairing: self.get("pairing", "`true` or `false`").unwrap_or(default.pairing),
            beta_features,
            allow_private_targets: self
                .get("allow_private_targets", "`true` or `false`")
                .unwrap_or(default.allow_private_targets),
            abuse_contact: self.get("abuse_contact", "an address or a URL as text"),
            unknown_until: self.parse("unknown_names_temporary_until", |text| {
                humantime::parse_rfc3339_weak(text).map_err(|_| {
                    format!(
                        "`{text}` is no time like `2026-12-01T10:00:00Z`; apps whose connections are missing from a \
                         restored backup would forget them"
                    )
                })
            }),
        }
    }

    fn networks(&mut self) -> Vec<IpNet> {
        let texts = self.texts("trusted_proxies", "a list of addresses like `[\"10.0.0.0/8\", \"::1\"]`");
        let mut networks = Vec::new();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            match text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) {
                Some(network) => networks.push(network),
                None => self.mistake(
                    "trusted_proxies",
                    format!(
                        "`{text}` is no address or network; the visitors of that proxy would all seem to be the proxy"
                    ),
                ),
            }
        }
        networks
    }
}

fn collect_keys(settings: &Dict, prefix: &str, keys: &mut Vec<String>) {
    for (name, value) in settings {
        let key = format!("{prefix}{name}");
        match value {
            Value::Dict(_, inner) if KEYS.iter().any(|known| known.starts_with(&format!("{key}."))) => {
                collect_keys(inner, &format!("{key}."), keys);
            }
            _ => keys.push(key),
        }
    }
}

/// Whether two keys differ by a slip: a dash for an underscore, or a letter or two.
fn is_close(known: &str, key: &str) -> bool {
    let plain = |text: &str| text.replace(['-', '.'], "_").to_ascii_lowercase();
    let (known, key) = (plain(known), plain(key));
    if known == key {
        return true;
    }
    let shared = known.chars().zip(key.chars()).take_while(|(a, b)| a == b).count();
    let shared_end = known.chars().rev().zip(key.chars().rev()).take_while(|(a, b)| a == b).count();
    let longest = known.len().max(key.len());
    longest > 3 && shared + shared_end + 2 >= longest
}

#[cfg(test)]
mod tests;
