//! `spoolway-agent setup`: asks a person what the agent has to know, and writes its configuration file.
//!
//! Each answer is tried where it can be, and nothing is written before the end. Keys and passwords go to the printer
//! they are for, and into the file; the service gets none of them.

pub(crate) mod config_text;

mod config_store;
mod credentials;
mod dialog;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use model::Secret;
use model::wire;
use printers::PrinterUrl;
use printers::detect::{detect, software};
use printers::discovery::{Found, discover};
use tokio::runtime::Runtime;
use tunnel::dial::{DialOptions, ServerUrl};

use self::config_text::{PrinterLines, with_printer};
use self::dialog::Dialog;
use crate::config_file::ConfigFile;
use crate::discover;
use crate::messages;
use crate::printer_watch::{describe, software_name};

/// Some printers make themselves known every five seconds.
const DISCOVERY: Duration = Duration::from_secs(6);

/// What the command line says already.
pub(crate) struct Known {
    pub(crate) config: Option<PathBuf>,
    pub(crate) server: Option<String>,
    pub(crate) printer: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) insecure: bool,
}

/// Asks, and writes the file.
///
/// # Errors
/// If there is nobody to ask, if they give up, or if the file cannot be read or written.
pub(crate) fn run(known: Known, runtime: &Runtime) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        bail!(
            "`setup` asks questions, and there is no terminal to ask them at; give the answers as flags instead: \
             `spoolway-agent run --server URL --printer URL`, with `--printer-api-key-file FILE`, or \
             `--printer-username NAME --printer-password-file FILE`, or `--printer-access-code-file FILE \
             --printer-serial SERIAL` where the printer needs it"
        );
    }
    Setup { known, runtime, dialog: Dialog::new() }.run()
}

struct Setup<'a> {
    known: Known,
    runtime: &'a Runtime,
    dialog: Dialog,
}

impl Setup<'_> {
    fn run(&self) -> anyhow::Result<()> {
        let path = match &self.known.config {
            Some(path) => path.clone(),
            None => self.dialog.text("Configuration file", Some(&default_config()))?.into(),
        };
        let at = || format!("the configuration file `{}`", path.display());
        let before = config_store::read(&path).with_context(|| format!("{} cannot be read", at()))?;
        let file = ConfigFile::parse(&before).with_context(|| format!("{} has a mistake; mend it first", at()))?;
        let tls = tunnel::dial::tls_config(self.known.ca.as_deref().or(file.ca.as_deref()))?;

        let server = self.server(&file, &tls)?;
        let (url, found) = self.printer(&tls)?;
        let software = self.software(&url, &tls)?;
        let mut printer = PrinterLines { url: Some(url.to_string()), ..PrinterLines::default() };
        credentials::ask(&self.dialog, self.runtime, &url, software, found.as_ref(), &tls, &mut printer)?;
        printer.name = self.name(&file, found.as_ref(), software)?;

        let after = with_printer(&before, &server.to_string(), &printer).with_context(at)?;
        config_store::write(&path, &after).with_context(|| format!("{} cannot be written", at()))?;
        self.dialog.say(&format!("`{}` is written; only you can read it.", path.display()));
        self.dialog.say(&format!("Next: spoolway-agent run --config {}", shown(&path)));
        self.dialog.say("It shows a code, which you enter on the service's site. docs/agent.md says how to start it with the system.");
        Ok(())
    }

    /// The service, which has been reached or is wanted all the same.
    fn server(&self, file: &ConfigFile, tls: &Arc<rustls::ClientConfig>) -> anyhow::Result<ServerUrl> {
        let mut given = self.known.server.clone();
        let mut offered = file.server.clone();
        loop {
            let text = match given.take() {
                Some(text) => text,
                None => self.dialog.text("Address of the service, like https://example.org", offered.as_deref())?,
            };
            let server: ServerUrl = match with_scheme(&text, "https").parse() {
                Ok(server) => server,
                Err(error) => {
                    self.dialog.warn(&format!("`{text}`: {error}"));
                    continue;
                }
            };
            let insecure = self.known.insecure || file.insecure.unwrap_or(false);
            let dial = DialOptions { server: server.clone(), tls: Arc::clone(tls), insecure };
            // A key that nobody knows: what is answered to it does not matter.
            let key = Secret::new(model::PrinterId::generate().as_str());
            let asking = tunnel::dial::ask(&dial, Method::GET, wire::PAIRING_PATH, &key, bytes::Bytes::new());
            match self.runtime.block_on(asking) {
                Ok(_) => {
                    self.dialog.say(&format!("{server} answers."));
                    return Ok(server);
                }
                Err(error) => self.dialog.warn(&messages::failed(&error, std::time::SystemTime::now()).to_string()),
            }
            if self.dialog.agrees("Use this address all the same?", false)? {
                return Ok(server);
            }
            offered = Some(text);
        }
    }

    /// The printer's address: given, chosen among those found, or typed.
    fn printer(&self, tls: &Arc<rustls::ClientConfig>) -> anyhow::Result<(PrinterUrl, Option<Found>)> {
        let mut given = self.known.printer.clone();
        if given.is_none() {
            self.dialog.say("Looking for printers in this network …");
            let discovery = self.runtime.block_on(discover(DISCOVERY, tls));
            for problem in &discovery.problems {
                self.dialog.warn(problem);
            }
            let mut choices: Vec<String> = discovery
                .printers
                .iter()
                .map(|printer| format!("{} at {}", discover::title(printer), printer.url))
                .collect();
            if choices.is_empty() {
                self.dialog.say("None has made itself known.");
            } else {
                choices.push("Another one, whose address I type".to_owned());
                let chosen = self.dialog.choice("Which printer?", &choices)?;
                if let Some(found) = discovery.printers.get(chosen) {
                    return Ok((found.url.clone(), Some(found.clone())));
                }
            }
        }
        loop {
            let question =
                "Address of the printer, like http://192.168.1.20, bambu://192.168.1.30 or elegoo-cc1://192.168.1.31";
            let text = match given.take() {
                Some(text) => text,
                None => self.dialog.text(question, Some("http://127.0.0.1:5000"))?,
            };
            match with_scheme(&text, "http").parse() {
                Ok(url) => return Ok((url, None)),
                Err(error) => self.dialog.warn(&format!("`{text}`: {error}")),
            }
        }
    }

    /// What software is there.
    fn software(&self, url: &PrinterUrl, tls: &Arc<rustls::ClientConfig>) -> anyhow::Result<&'static str> {
        if let Some(software) = url.software() {
            return Ok(software);
        }
        let status = self.runtime.block_on(detect(url, tls));
        let known = [software::OCTOPRINT, software::MOONRAKER, software::PRUSALINK, software::VIRTUAL];
        if let Some(software) = known.into_iter().find(|known| status.reachable && *known == status.software) {
            self.dialog.say(&format!("There is {}.", describe(&status)));
            return Ok(software);
        }
        self.dialog.warn(&status.problem);
        if !self.dialog.agrees("Use this printer all the same?", false)? {
            bail!("nothing was written; start `setup` again when the printer answers");
        }
        let choices: Vec<String> =
            known[..3].iter().copied().map(software_name).chain(["something else"]).map(str::to_owned).collect();
        let chosen = self.dialog.choice("What software is it?", &choices)?;
        Ok(known[..3].get(chosen).copied().unwrap_or(software::UNKNOWN))
    }

    /// A name that no other printer in the file has, unless that is to be written over.
    fn name(&self, file: &ConfigFile, found: Option<&Found>, software: &str) -> anyhow::Result<String> {
        let offered = found.map_or_else(|| software_name(software).to_owned(), discover::name);
        loop {
            let name = self.dialog.text("Your name for the printer", Some(&offered))?;
            if !name.chars().any(|letter| letter.is_ascii_alphanumeric()) {
                self.dialog.warn("It needs a letter a–z or a digit: the printer's identity is kept under it.");
                continue;
            }
            let is_taken = file.printer.iter().any(|printer| printer.name.as_deref() == Some(&name));
            if !is_taken
                || self.dialog.agrees(&format!("There is a printer `{name}` in the file. Write over it?"), false)?
            {
                return Ok(name);
            }
        }
    }
}

/// People type host names.
fn with_scheme(text: &str, scheme: &str) -> String {
    let text = text.trim();
    if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") }
}

/// Where a user's programs keep their settings; for the system's own user, where the system does.
fn default_config() -> String {
    const NAME: &str = "spoolway-agent.toml";
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = std::env::home_dir().filter(|home| home != Path::new("/root"));
    let directory = variable("XDG_CONFIG_HOME")
        .or_else(|| home.map(|home| home.join(".config")))
        .unwrap_or_else(|| PathBuf::from("/etc"));
    directory.join(NAME).display().to_string()
}

/// A path that can be pasted into a shell.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(&byte));
    if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_scheme_that_is_meant() {
        assert_eq!(with_scheme(" example.org ", "https"), "https://example.org");
        assert_eq!(with_scheme("bambu://a", "http"), "bambu://a");
        assert_eq!(with_scheme("octopi.local:5000", "http"), "http://octopi.local:5000");
    }

    #[test]
    fn paths_can_be_pasted() {
        assert_eq!(shown(Path::new("/etc/a.toml")), "/etc/a.toml");
        assert_eq!(shown(Path::new("/home/my user's/a.toml")), r"'/home/my user'\''s/a.toml'");
        assert!(default_config().ends_with("/spoolway-agent.toml"));
    }
}
