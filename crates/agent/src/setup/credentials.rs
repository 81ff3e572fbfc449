//! What a printer's software has to be shown, found out or asked for, and tried.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::Secret;
use printers::PrinterUrl;
use printers::admission::{Admission, AdmissionError, KeyDecision};
use printers::detect::software;
use printers::discovery::Found;
use printers::observe::Login;
use tokio::runtime::Runtime;

use super::config_text::PrinterLines;
use super::dialog::Dialog;

/// How OctoPrint names the agent to the person who decides.
const APP: &str = "Spoolway agent";
/// OctoPrint forgets a request that was not asked after for five.
const POLL: Duration = Duration::from_secs(1);
/// Where Moonraker has written its key.
const MOONRAKER_KEY_FILE: &str = ".moonraker_api_key";
/// What a Centauri Carbon 2 is delivered with.
const FACTORY_CODE: &str = "123456";

/// Fills in what the software needs.
pub(super) fn ask(
    dialog: &Dialog,
    runtime: &Runtime,
    url: &PrinterUrl,
    software: &str,
    found: Option<&Found>,
    tls: &Arc<rustls::ClientConfig>,
    printer: &mut PrinterLines,
) -> anyhow::Result<()> {
    let door = Door { dialog, runtime, url, software, tls };
    match software {
        software::OCTOPRINT => printer.api_key = door.octoprint()?,
        software::MOONRAKER => printer.api_key = door.moonraker()?,
        software::PRUSALINK => door.prusalink(printer)?,
        software::BAMBU | software::ELEGOO_CC2 => {
            let serial = found.and_then(|found| found.serial.as_deref());
            printer.serial = Some(dialog.text("Serial number, as the printer shows it in its settings", serial)?);
            let (hint, offered) = match software {
                software::BAMBU => ("Access code, as the printer shows it beside its network", ""),
                _ => ("Access code, as the printer shows it; nothing for the factory's", FACTORY_CODE),
            };
            let code = loop {
                let code = dialog.secret(hint)?;
                if !code.is_empty() || !offered.is_empty() {
                    break code;
                }
            };
            printer.access_code = Some(if code.is_empty() { offered.to_owned() } else { code });
        }
        _ => {}
    }
    Ok(())
}

/// The door of one printer's software.
struct Door<'a> {
    dialog: &'a Dialog,
    runtime: &'a Runtime,
    url: &'a PrinterUrl,
    software: &'a str,
    tls: &'a Arc<rustls::ClientConfig>,
}

impl Door<'_> {
    fn admission(&self, api_key: Option<&str>, login: Option<Login>) -> Result<Admission, AdmissionError> {
        Admission::new(self.url, self.tls, api_key.map(Secret::new), login)
    }

    /// Whether the software lets the agent in so. What cannot be found out is said, and is no reason against it.
    fn opens(&self, api_key: Option<&str>, login: Option<Login>) -> bool {
        let looking = async { self.admission(api_key, login)?.is_open(self.software).await };
        self.runtime.block_on(looking).unwrap_or_else(|error| {
            self.dialog.warn(&format!("It could not be tried: {error}"));
            true
        })
    }

    /// A key that was typed and that opens the door, or is wanted all the same; `None` if nothing was typed.
    fn typed_key(&self, question: &str) -> anyhow::Result<Option<String>> {
        loop {
            let key = self.dialog.secret(question)?;
            if key.is_empty() {
                return Ok(None);
            }
            if self.opens(Some(&key), None) || self.dialog.agrees("It is not accepted. Keep it all the same?", false)? {
                return Ok(Some(key));
            }
        }
    }

    fn octoprint(&self) -> anyhow::Result<Option<String>> {
        self.dialog.say("The agent needs a key of OctoPrint's to see what the printer does.");
        let probing = async { self.admission(None, None)?.hands_out_keys().await };
        let hands_out = self.runtime.block_on(probing).unwrap_or(false);
        if hands_out && self.dialog.agrees("Ask OctoPrint for one? Somebody has to allow it on its page", true)? {
            match self.runtime.block_on(self.requested_key()) {
                Ok(Some(key)) => {
                    self.dialog.say("OctoPrint has given a key.");
                    return Ok(Some(key.expose().to_owned()));
                }
                Ok(None) => self.dialog.warn("It was not allowed, or nobody answered for too long."),
                Err(error) => self.dialog.warn(&error.to_string()),
            }
        }
        self.typed_key("Key, from OctoPrint's settings under Application Keys; nothing for none")
    }

    /// A key that somebody allows on OctoPrint's page; `None` if they do not.
    async fn requested_key(&self) -> Result<Option<Secret>, AdmissionError> {
        let admission = self.admission(None, None)?;
        let request = admission.request_key(APP).await?;
        self.dialog.say(&format!("Open OctoPrint's page in a browser, sign in, and allow \"{APP}\". Waiting …"));
        loop {
            match admission.decision(&request).await? {
                KeyDecision::Pending => tokio::time::sleep(POLL).await,
                KeyDecision::Granted(key) => return Ok(Some(key)),
                KeyDecision::Denied => return Ok(None),
            }
        }
    }

    fn moonraker(&self) -> anyhow::Result<Option<String>> {
        if self.opens(None, None) {
            self.dialog.say("Moonraker trusts this machine; no key is needed.");
            return Ok(None);
        }
        self.dialog
            .say("Moonraker does not trust this machine: it wants a key, or this machine in its `trusted_clients`.");
        if let Some(key) = self.kept_moonraker_key()
            && self.dialog.agrees(&format!("Use the key in ~/{MOONRAKER_KEY_FILE}?"), true)?
        {
            if self.opens(Some(&key), None) {
                return Ok(Some(key));
            }
            self.dialog.warn("It is not accepted.");
        }
        self.typed_key("Key, as `fetch-apikey.sh` in Moonraker's folder shows it; nothing for none")
    }

    fn kept_moonraker_key(&self) -> Option<String> {
        let file: PathBuf = std::env::home_dir()?.join(MOONRAKER_KEY_FILE);
        let key = std::fs::read_to_string(file).ok()?.trim().to_owned();
        (!key.is_empty()).then_some(key)
    }

    fn prusalink(&self, printer: &mut PrinterLines) -> anyhow::Result<()> {
        self.dialog.say("The printer shows what is asked for here under Settings → Network → PrusaLink.");
        let choices = ["A user name and a password".to_owned(), "A key".to_owned()];
        if self.dialog.choice("What does it show?", &choices)? == 1 {
            printer.api_key = self.typed_key("Key; nothing for none")?;
            return Ok(());
        }
        loop {
            let username = self.dialog.text("User name", Some("maker"))?;
            let password = self.dialog.secret("Password")?;
            let login = Login { username: username.clone(), password: Secret::new(password.as_str()) };
            if self.opens(None, Some(login))
                || self.dialog.agrees("They are not accepted. Keep them all the same?", false)?
            {
                (printer.username, printer.password) = (Some(username), Some(password));
                return Ok(());
            }
        }
    }
}
