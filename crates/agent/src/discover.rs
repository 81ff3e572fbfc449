//! `spoolway-agent discover`: which printers are in this network, and how to link each.

use std::fmt::Write;
use std::time::Duration;

use printers::detect::software;
use printers::discovery::{Discovery, Found, discover};
use serde::Serialize;

use crate::printer_watch::software_name;
use crate::setup::config_text::{PrinterLines, printer_text};

/// One printer, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    software: &'a str,
    url: String,
    name: &'a str,
    model: &'a str,
    version: &'a str,
    serial: Option<&'a str>,
}

/// Prints what is found within `duration`; `false` if that is nothing.
///
/// # Errors
/// If no certificates can be read.
pub(crate) async fn show(duration: Duration, as_json: bool) -> anyhow::Result<bool> {
    let tls = tunnel::dial::tls_config(None)?;
    if !as_json {
        eprintln!("looking for printers for {} s …", duration.as_secs());
    }
    let found = discover(duration, &tls).await;
    for problem in &found.problems {
        eprintln!("warning: {problem}");
    }
    let text = if as_json { in_json(&found)? } else { in_words(&found) };
    println!("{}", text.trim_end());
    Ok(!found.printers.is_empty())
}

fn in_json(found: &Discovery) -> serde_json::Result<String> {
    let reports: Vec<Report<'_>> = found
        .printers
        .iter()
        .map(|printer| Report {
            software: printer.software,
            url: printer.url.to_string(),
            name: &printer.name,
            model: &printer.model,
            version: &printer.version,
            serial: printer.serial.as_deref(),
        })
        .collect();
    serde_json::to_string_pretty(&reports)
}

fn in_words(found: &Discovery) -> String {
    if found.printers.is_empty() {
        return "no printer has made itself known; name its address with `--printer URL` all the same, or run \
                `spoolway-agent setup`"
            .to_owned();
    }
    let mut text = String::new();
    for printer in &found.printers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\n  spoolway-agent run --server URL {}", title(printer), flags(printer));
        let lines = printer_text(&lines(printer));
        let _ = writeln!(text, "  or in the configuration file:\n{}", indented(&lines));
    }
    text
}

/// What it is, on one line.
pub(crate) fn title(printer: &Found) -> String {
    let mut title = software_name(printer.software).to_owned();
    for (text, before, after) in
        [(&printer.version, " ", ""), (&printer.name, " \"", "\""), (&printer.model, " (", ")")]
    {
        if !text.is_empty() {
            title += &format!("{before}{text}{after}");
        }
    }
    title
}

fn flags(printer: &Found) -> String {
    let mut flags = format!("--printer {}", printer.url);
    if let Some(serial) = &printer.serial {
        flags += &format!(" --printer-serial {serial}");
    }
    if needs_code(printer) {
        flags += " --printer-access-code-file FILE";
    }
    flags
}

fn needs_code(printer: &Found) -> bool {
    matches!(printer.software, software::BAMBU | software::ELEGOO_CC2)
}

fn lines(printer: &Found) -> PrinterLines {
    PrinterLines {
        name: name(printer),
        url: Some(printer.url.to_string()),
        serial: printer.serial.clone(),
        access_code: needs_code(printer).then(|| "what the printer shows".to_owned()),
        ..PrinterLines::default()
    }
}

/// A name that a directory can be called by.
pub(crate) fn name(printer: &Found) -> String {
    let names = [&printer.name, &printer.model];
    let usable = names.into_iter().find(|name| name.chars().any(|letter| letter.is_ascii_alphanumeric()));
    usable.cloned().unwrap_or_else(|| software_name(printer.software).to_owned())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use crate::config_file::ConfigFile;

    fn found() -> Discovery {
        let bambu = Found {
            software: software::BAMBU,
            url: "bambu://192.168.1.30".parse().unwrap(),
            name: "Work\"shop\\".to_owned(),
            model: "C12".to_owned(),
            version: "01.09".to_owned(),
            serial: Some("01P00A0".to_owned()),
        };
        let octoprint = Found {
            software: software::OCTOPRINT,
            url: "http://192.168.1.20:5000".parse().unwrap(),
            name: "…".to_owned(),
            model: String::new(),
            version: String::new(),
            serial: None,
        };
        Discovery { printers: vec![bambu, octoprint], problems: vec![] }
    }

    #[test]
    fn each_printer_is_shown_with_what_to_write() {
        let text = in_words(&found());
        assert!(text.starts_with("Bambu Lab 01.09 \"Work\"shop\\\" (C12)\n"), "{text}");
        let flags = "--printer bambu://192.168.1.30 --printer-serial 01P00A0 --printer-access-code-file FILE\n";
        assert!(text.contains(flags), "{text}");
        assert!(text.contains("run --server URL --printer http://192.168.1.20:5000\n"), "{text}");
        // What is shown is a configuration that can be read.
        let lines: String =
            text.lines().filter_map(|line| line.strip_prefix("    ")).map(|line| format!("{line}\n")).collect();
        let file = ConfigFile::parse(&lines).unwrap();
        let names: Vec<_> = file.printer.iter().map(|printer| printer.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["Work\"shop\\", "OctoPrint"]);
        assert_eq!(file.printer[0].serial.as_deref(), Some("01P00A0"));
        assert!(in_words(&Discovery::default()).starts_with("no printer"));
    }

    #[test]
    fn programs_get_json() {
        let json: serde_json::Value = serde_json::from_str(&in_json(&found()).unwrap()).unwrap();
        assert_eq!((&json[0]["url"], &json[0]["serial"]), (&"bambu://192.168.1.30".into(), &"01P00A0".into()));
        assert_eq!(json[1]["serial"], serde_json::Value::Null);
        assert_eq!(in_json(&Discovery::default()).unwrap(), "[]");
    }
}
