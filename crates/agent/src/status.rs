//! `spoolway-agent status`: what is known of each printer, while the agent runs or not.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use model::PrinterId;
use model::link::PrinterStatus;
use printers::detect::detect;
use serde::Serialize;

use crate::data_directory::DataDirectory;
use crate::identity::IdentityStore;
use crate::link_state::LinkState;
use crate::printer_watch;
use crate::settings::{PrinterSettings, Settings, Target};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    server: String,
    printers: Vec<PrinterReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PrinterReport {
    name: String,
    /// What the service knows it as; `None` until it is enrolled.
    printer_id: Option<PrinterId>,
    /// What is wrong with the identity.
    identity_problem: Option<String>,
    /// Whether an agent runs for it.
    running: bool,
    linked: bool,
    /// The last that an agent noted of the link.
    link: Option<LinkState>,
    /// `virtual` where it is inside the agent.
    target: String,
    /// Its software as it answers now; `None` for a virtual printer, which lives in the running agent.
    printer: Option<PrinterStatus>,
}

/// Prints the status; returns whether all printers are linked.
pub(crate) async fn show(settings: &Settings, as_json: bool) -> anyhow::Result<bool> {
    let tls = settings.tls()?;
    let mut printers = Vec::new();
    for printer in &settings.printers {
        let software = match &printer.target {
            Target::Address(url) => Some(detect(url, &printer.tls(&tls)?).await),
            Target::Virtual(_) => None,
        };
        printers.push(look_at(printer, software));
    }
    let report = Report { server: settings.server.to_string(), printers };
    let text = if as_json { serde_json::to_string_pretty(&report)? } else { in_words(&report) };
    println!("{}", text.trim_end());
    Ok(report.printers.iter().all(|printer| printer.linked))
}

fn look_at(settings: &PrinterSettings, printer: Option<PrinterStatus>) -> PrinterReport {
    let (printer_id, identity_problem) = match IdentityStore::peek(&settings.directory) {
        Ok(id) => (id, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let running = DataDirectory::is_taken(&settings.directory);
    let link = LinkState::read(&settings.directory);
    PrinterReport {
        name: settings.name.clone(),
        printer_id,
        identity_problem,
        running,
        // A killed agent cannot note that it is gone.
        linked: running && link.as_ref().is_some_and(|link| link.connected),
        link,
        target: match &settings.target {
            Target::Address(url) => url.to_string(),
            Target::Virtual(_) => "virtual".to_owned(),
        },
        printer,
    }
}

fn in_words(report: &Report) -> String {
    let mut text = String::new();
    for printer in &report.printers {
        let enrolled = match (&printer.identity_problem, &printer.printer_id) {
            (Some(problem), _) => problem.clone(),
            (None, Some(id)) => format!("enrolled as {id}"),
            (None, None) => "not enrolled yet; start the agent, and enter the code that it shows".to_owned(),
        };
        let link = match &printer.link {
            _ if !printer.running => "the agent does not run".to_owned(),
            None => "no link yet".to_owned(),
            Some(link) => format!("{} (since {})", link.message, time(link.since_unix_ms)),
        };
        let software = match &printer.printer {
            None => "virtual".to_owned(),
            Some(status) if status.reachable => {
                let problem = if status.problem.is_empty() { String::new() } else { format!("; {}", status.problem) };
                format!("{} at {}{problem}", printer_watch::describe(status), printer.target)
            }
            Some(status) => status.problem.clone(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}\n  service   {}\n  identity  {enrolled}\n  link      {link}\n  printer   {software}",
            printer.name, report.server
        );
    }
    text
}

fn time(unix_ms: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)) {
        // Later dates than the format has would make it fail.
        Some(time) if unix_ms < 253_402_300_800_000 => humantime::format_rfc3339_seconds(time).to_string(),
        _ => "an unknown time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::time::SystemTime;

    use model::Secret;
    use printers::forward::VisitorAddress;
    use printers::virtual_printer::VirtualPrinterOptions;
    use tunnel::agent_loop::Identity;

    use super::*;

    #[test]
    fn follows_a_printer_from_the_first_day() {
        let parent = tempfile::tempdir().unwrap();
        let settings = PrinterSettings {
            name: "Prusa".to_owned(),
            directory: parent.path().join("prusa"),
            target: Target::Virtual(VirtualPrinterOptions::default()),
            token: None,
            visitor_address: VisitorAddress::default(),
            api_key: None,
            login: None,
            access_code: None,
            serial: None,
            camera_hosts: Vec::new(),
            ca: None,
        };
        let words = || {
            let report = look_at(&settings, None);
            let linked = report.linked;
            (in_words(&Report { server: "https://s.example".to_owned(), printers: vec![report] }), linked)
        };
        let (text, linked) = words();
        assert!(text.contains("not enrolled yet") && text.contains("does not run") && !linked, "{text}");

        let directory = DataDirectory::take(&settings.directory).unwrap();
        let identity = IdentityStore::open(&directory, Some(Secret::new("token"))).unwrap();
        let id = PrinterId::generate();
        identity.enrolled(&id).unwrap();
        let (text, linked) = words();
        assert!(text.contains(&format!("enrolled as {id}")) && text.contains("no link yet") && !linked, "{text}");

        let state = LinkState::new(true, SystemTime::UNIX_EPOCH, Some("P".to_owned()), "linked as \"P\"".to_owned());
        state.write(directory.path()).unwrap();
        let (text, linked) = words();
        assert!(text.contains("linked as \"P\" (since 1970-01-01T00:00:00Z)") && linked, "{text}");

        drop(directory);
        let (text, linked) = words();
        assert!(text.contains("does not run") && !linked, "{text}");
    }

    #[test]
    fn times_that_cannot_be_written_are_unknown() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "an unknown time");
    }
}
