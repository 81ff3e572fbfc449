//! What the agent is to do: flags, environment and configuration file put together and checked.

mod device;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Secret;
use printers::PrinterUrl;
use printers::forward::VisitorAddress;
use printers::observe::Login;
use printers::virtual_printer::{PrintSpeed, VirtualPrinterOptions};
use thiserror::Error;
use tunnel::dial::ServerUrl;

use crate::config_file::{ConfigFile, PrinterEntry};

/// Keys have 32 characters; longer ones were copied with something else.
const MAX_KEY: usize = 256;
/// Of a user's name or password; printers make them of some twenty.
const MAX_LOGIN: usize = 256;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service.
    pub server: ServerUrl,
    /// Certificates to trust besides the system's when talking to the service.
    pub ca: Option<PathBuf>,
    /// Allows plain HTTP to a service on another machine.
    pub insecure: bool,
    /// At least one, their directories all different.
    pub printers: Vec<PrinterSettings>,
}

/// One printer.
#[derive(Clone, Debug)]
pub struct PrinterSettings {
    /// What the person who runs the agent calls it.
    pub name: String,
    /// Where its identity is kept.
    pub directory: PathBuf,
    /// Where requests go.
    pub target: Target,
    /// The one-time token of the first contact.
    pub token: Option<Secret>,
    /// Whether the printer's software is told visitors' addresses.
    pub visitor_address: VisitorAddress,
    /// A key of the printer's software, for what the agent itself asks of it.
    pub api_key: Option<Secret>,
    /// A user of the printer's software, for the same, where it has users in place of keys.
    pub login: Option<Login>,
    /// The code that a printer without a web interface shows on its screen.
    pub access_code: Option<Secret>,
    /// The serial number of such a printer.
    pub serial: Option<String>,
    /// Hosts besides the printer's own that its cameras may be on.
    pub camera_hosts: Vec<String>,
    /// Certificates to trust besides the system's when talking to the printer.
    pub ca: Option<PathBuf>,
}

/// Where a printer's requests go.
#[derive(Clone, Debug)]
pub enum Target {
    /// To software that listens there.
    Address(PrinterUrl),
    /// To a virtual printer inside the agent.
    Virtual(VirtualPrinterOptions),
}

/// Settings that cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file is not there, or not for us.
    #[error("the configuration file `{path}` cannot be read", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is no TOML, or has keys or types that it must not have.
    #[error("the configuration file `{path}` has a mistake", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which one.
        source: Box<toml::de::Error>,
    },
    /// Values are missing or make no sense.
    #[error("{}", list(.0))]
    Problems(Vec<Problem>),
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, as the configuration file calls it.
    pub key: String,
    /// What is wrong with it, and what follows from that.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.key, self.message)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// What flags and environment say; it goes before the file.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) server: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) insecure: bool,
    pub(crate) data: Option<PathBuf>,
    /// The only printer, where flags describe one.
    pub(crate) printer: PrinterEntry,
}

impl Settings {
    /// Puts the sources together. `default_data` is used where none of them names a directory.
    pub(crate) fn resolve(
        overrides: Overrides,
        file: ConfigFile,
        default_data: PathBuf,
    ) -> Result<Self, SettingsError> {
        let mut problems = Problems::default();
        let server = match overrides.server.or(file.server) {
            Some(text) => problems.take("server", text.parse::<ServerUrl>()),
            None => problems.add(
                "server",
                "it is missing, so the agent does not know where to connect; \
                 give the service's URL with `--server`, `SPOOLWAY_AGENT_SERVER` or in the configuration file",
            ),
        };
        let data = overrides.data.or(file.data).unwrap_or(default_data);
        let printers = resolve_printers(&data, overrides.printer, file.printer, &mut problems);
        match server {
            Some(server) if problems.0.is_empty() => Ok(Self {
                server,
                ca: overrides.ca.or(file.ca),
                insecure: overrides.insecure || file.insecure.unwrap_or(false),
                printers,
            }),
            _ => Err(SettingsError::Problems(problems.0)),
        }
    }

    /// Which certificates to trust in the service.
    pub(crate) fn tls(&self) -> Result<Arc<rustls::ClientConfig>, SettingsError> {
        tls("ca", self.ca.as_deref())
    }
}

impl PrinterSettings {
    /// Which certificates to trust in the printer's software; `service` is what is trusted in the service.
    pub(crate) fn tls(&self, service: &Arc<rustls::ClientConfig>) -> Result<Arc<rustls::ClientConfig>, SettingsError> {
        match (&self.target, &self.ca) {
            // The system's hundred authorities are read into memory only where somebody speaks TLS.
            (Target::Address(url), Some(ca)) if url.scheme_is_https() => tls("printer.ca", Some(ca)),
            _ => Ok(Arc::clone(service)),
        }
    }
}

fn tls(key: &str, ca: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, SettingsError> {
    tunnel::dial::tls_config(ca)
        .map_err(|error| SettingsError::Problems(vec![Problem { key: key.to_owned(), message: error.to_string() }]))
}

fn resolve_printers(
    data: &Path,
    flags: PrinterEntry,
    mut entries: Vec<PrinterEntry>,
    problems: &mut Problems,
) -> Vec<PrinterSettings> {
    let described_by_flags = flags != PrinterEntry::default();
    match (described_by_flags, entries.as_mut_slice()) {
        (false, []) => {
            problems.add::<()>(
                "printer",
                "there is none, so there is nothing to link; give one with `--printer URL` or `--virtual`, \
                 or `[[printer]]` in the configuration file",
            );
        }
        // Its address may change and the name stays, so that it is still the same printer.
        (true, []) => entries.push(PrinterEntry { name: Some("printer".to_owned()), ..flags }),
        // The usual use: the file stays as it is, the token is given once, and keys are kept elsewhere.
        (true, [only]) if flags.holds_secrets_only() => {
            only.token = flags.token.or(only.token.take());
            only.api_key = flags.api_key.or(only.api_key.take());
            only.username = flags.username.or(only.username.take());
            only.password = flags.password.or(only.password.take());
            only.access_code = flags.access_code.or(only.access_code.take());
        }
        (true, _) => {
            problems.add::<()>(
                "printer",
                "flags or environment describe a printer, and so does the configuration file; \
                 it would not be clear which of them is meant, so leave one of the two out",
            );
        }
        (false, _) => {}
    }
    let several = entries.len() > 1;
    let mut directories = BTreeSet::new();
    let mut printers = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let place = if several { format!("printer[{}]", index + 1) } else { "printer".to_owned() };
        let Some(printer) = resolve_printer(data, &place, entry, problems) else { continue };
        if !directories.insert(printer.directory.clone()) {
            let message = format!(
                "another printer's identity is kept in `{}` already; give each a `name` of its own",
                printer.directory.display()
            );
            problems.add::<()>(&format!("{place}.name"), &message);
        }
        printers.push(printer);
    }
    printers
}

fn resolve_printer(data: &Path, place: &str, entry: PrinterEntry, problems: &mut Problems) -> Option<PrinterSettings> {
    let key = |name: &str| format!("{place}.{name}");
    let target = resolve_target(&key, &entry, problems);
    let token = match entry.token.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(token) if token.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Some(Secret::new(token)),
        Some(_) => {
            problems.add(&key("token"), "tokens have letters and digits only; was it copied whole, and nothing else?")
        }
    };
    let visitor_address = match entry.visitor_address.as_deref() {
        None | Some("forward") => VisitorAddress::Forward,
        Some("hide") => VisitorAddress::Hide,
        Some(other) => {
            let message = format!(
                "`{other}` is neither `forward` (the printer's software sees who its visitor is) \
                 nor `hide` (everybody seems to be this machine)"
            );
            problems.add(&key("visitor_address"), &message).unwrap_or_default()
        }
    };
    let api_key = match entry.api_key.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(key) if key.len() <= MAX_KEY && key.bytes().all(|byte| byte.is_ascii_graphic()) => Some(Secret::new(key)),
        Some(_) => problems.add(&key("api_key"), "it is no key; was it copied whole, and nothing else?"),
    };
    let login = resolve_login(&key, &entry, problems);
    let (access_code, serial) = device::resolve(&key, &entry, target.as_ref(), problems);
    for host in &entry.camera_hosts {
        let is_host =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte));
        if !is_host {
            let message = format!("`{host}` is no host; write it like `camera.local` or `192.168.1.9:8080`");
            problems.add::<()>(&key("camera_hosts"), &message);
        }
    }
    let target = target?;
    let name = entry.name.unwrap_or_else(|| match &target {
        Target::Address(url) => url.authority().to_owned(),
        Target::Virtual(_) => "virtual".to_owned(),
    });
    let directory = match (entry.data, directory_name(&name)) {
        (Some(directory), _) => directory,
        (None, Some(directory)) => data.join(directory),
        (None, None) => {
            return problems.add(&key("name"), "it has no letter a–z and no digit to name a directory with");
        }
    };
    Some(PrinterSettings {
        name,
        directory,
        target,
        token,
        visitor_address,
        api_key,
        login,
        access_code,
        serial,
        camera_hosts: entry.camera_hosts,
        ca: entry.ca,
    })
}

fn resolve_login(key: &dyn Fn(&str) -> String, entry: &PrinterEntry, problems: &mut Problems) -> Option<Login> {
    // Files that hold a password end with a line break, and a password does not.
    let text = |value: &Option<String>| {
        let text = value.as_deref().map(|text| text.trim_end_matches(['\r', '\n']));
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let is_usable = |text: &str| text.len() <= MAX_LOGIN && !text.chars().any(char::is_control);
    match (text(&entry.username), text(&entry.password)) {
        (None, None) => None,
        (Some(username), _) if !is_usable(&username) => {
            problems.add(&key("username"), "it is no name; was it copied whole, and nothing else?")
        }
        (_, Some(password)) if !is_usable(&password) => {
            problems.add(&key("password"), "it is no password; was it copied whole, and nothing else?")
        }
        (Some(username), Some(password)) => Some(Login { username, password: Secret::new(password) }),
        (Some(_), None) => problems.add(&key("password"), "it is missing, and `username` is of no use without it"),
        (None, Some(_)) => problems.add(&key("username"), "it is missing; PrusaLink's user is mostly `maker`"),
    }
}

fn resolve_target(key: &dyn Fn(&str) -> String, entry: &PrinterEntry, problems: &mut Problems) -> Option<Target> {
    let has_virtual_settings = entry.virtual_port.is_some()
        || entry.virtual_bytes_per_second.is_some()
        || entry.virtual_lines_per_second.is_some()
        || entry.virtual_frames_per_second.is_some();
    match (&entry.url, entry.r#virtual) {
        (Some(_), true) => problems.add(&key("virtual"), "a printer is either virtual or has a `url`, not both"),
        (None, false) => problems.add(
            &key("url"),
            "it is missing, so requests have nowhere to go; \
             give the address of OctoPrint, Moonraker or PrusaLink, like `http://127.0.0.1:5000`, \
             or of a printer of Bambu Lab's or Elegoo's, like `bambu://192.168.1.30`, or `virtual = true`",
        ),
        (Some(_), false) if has_virtual_settings => {
            problems.add(&key("virtual"), "settings of the virtual printer are of no use for one that has a `url`")
        }
        (Some(url), false) => problems.take(&key("url"), url.parse().map(Target::Address)),
        (None, true) => resolve_virtual(key, entry, problems).map(Target::Virtual),
    }
}

fn resolve_virtual(
    key: &dyn Fn(&str) -> String,
    entry: &PrinterEntry,
    problems: &mut Problems,
) -> Option<VirtualPrinterOptions> {
    let defaults = VirtualPrinterOptions::default();
    let speed = match (entry.virtual_bytes_per_second, entry.virtual_lines_per_second) {
        (None, None) => defaults.speed,
        (Some(0), _) | (_, Some(0)) => {
            return problems.add(&key("virtual_bytes_per_second"), "at a speed of 0 no print would ever end");
        }
        (Some(bytes), None) => PrintSpeed::BytesPerSecond(bytes),
        (None, Some(lines)) => PrintSpeed::LinesPerSecond(lines),
        (Some(_), Some(_)) => {
            let message = "the speed is given twice, also as `virtual_lines_per_second`; leave one of them out";
            return problems.add(&key("virtual_bytes_per_second"), message);
        }
    };
    let frames_per_second = entry.virtual_frames_per_second.unwrap_or(defaults.frames_per_second);
    if !(0.1..=100.0).contains(&frames_per_second) {
        return problems.add(&key("virtual_frames_per_second"), "the camera makes 0.1 to 100 pictures a second");
    }
    Some(VirtualPrinterOptions {
        port: entry.virtual_port.unwrap_or(defaults.port),
        speed,
        frames_per_second,
        ..defaults
    })
}

/// The directory for a printer of this name, made of `a`–`z`, digits and single dashes; `None` if nothing of the name
/// is.
fn directory_name(name: &str) -> Option<String> {
    /// Leaves room in a path, and is still readable.
    const MAX_LENGTH: usize = 64;
    let mut directory = String::new();
    for letter in name.chars().map(|letter| letter.to_ascii_lowercase()) {
        if letter.is_ascii_alphanumeric() {
            directory.push(letter);
        } else if !directory.is_empty() && !directory.ends_with('-') {
            directory.push('-');
        }
    }
    directory.truncate(MAX_LENGTH);
    let directory = directory.trim_end_matches('-');
    (!directory.is_empty()).then(|| directory.to_owned())
}

/// Mistakes found so far. All are told at once, so that nobody has to start the agent for each.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add<T>(&mut self, key: &str, message: &str) -> Option<T> {
        self.0.push(Problem { key: key.to_owned(), message: message.to_owned() });
        None
    }

    fn take<T, E: fmt::Display>(&mut self, key: &str, value: Result<T, E>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => self.add(key, &error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
