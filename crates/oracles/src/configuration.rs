//! Configuration files of the service and of the agent.

use std::collections::BTreeSet;
use std::path::Path;

use server::config::Config;

use crate::input::split_choice;

/// A byte for which of the two, then the text.
pub fn check(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let Ok(text) = std::str::from_utf8(rest) else { return };
    // The files that a configuration names are read; a device would never end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    if choice & 1 == 0 { check_service(text) } else { check_agent(text) }
}

fn check_service(text: &str) {
    match Config::parse(text) {
        Ok(config) => {
            let listens_plainly = config.tls.as_ref().is_none_or(|(_, listener)| listener.is_some());
            let is_allowed = config.listen.ip().is_loopback()
                || !config.trusted_proxies.is_empty()
                || text.contains("allow_plain_http");
            assert!(!listens_plainly || is_allowed, "it listens on {} without TLS", config.listen);
            assert!(config.public_scheme.is_none_or(|scheme| scheme == "http" || scheme == "https"));
            assert_ne!(config.max_connections, Some(0));
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in mistakes {
                assert!(!mistake.problem.is_empty(), "nothing is said of `{}`", mistake.key);
            }
        }
    }
}

fn check_agent(text: &str) {
    let data = Path::new("/var/lib/spoolway-agent");
    let Some(settings) = agent::fuzzing::settings(text, data.to_owned()) else { return };
    assert!(!settings.printers.is_empty());
    let directories: BTreeSet<&Path> = settings.printers.iter().map(|printer| printer.directory.as_path()).collect();
    assert_eq!(directories.len(), settings.printers.len(), "two printers share an identity");
    for printer in &settings.printers {
        if let Some(token) = &printer.token {
            assert!(token.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
        // Made of a name, a directory stays below the agent's own.
        if !text.contains("data") {
            assert_eq!(printer.directory.parent(), Some(data), "{}", printer.directory.display());
        }
    }
}
