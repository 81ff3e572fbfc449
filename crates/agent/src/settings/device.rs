//! Settings of printers that have no web interface, which are spoken to by access code and serial number.

use model::Secret;
use printers::detect::software;

use super::{Problems, Target};
use crate::config_file::PrinterEntry;

/// Codes have 6 to 8 characters, newer ones a few more; longer ones were copied with something else.
const MAX_CODE: usize = 64;
/// Serial numbers have some fifteen characters. They become part of MQTT topics.
const MAX_SERIAL: usize = 64;

/// Access code and serial number, checked against what the printer at `target` takes.
pub(super) fn resolve(
    key: &dyn Fn(&str) -> String,
    entry: &PrinterEntry,
    target: Option<&Target>,
    problems: &mut Problems,
) -> (Option<Secret>, Option<String>) {
    let text = |value: &Option<String>| {
        let text = value.as_deref().map(str::trim).filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    let (code, serial) = (text(&entry.access_code), text(&entry.serial));
    // What is wrong with the address has been told.
    let Some(target) = target else { return (None, None) };
    let software = match target {
        Target::Address(url) => url.software(),
        Target::Virtual(_) => None,
    };
    if software.is_some() {
        for (name, is_there) in [
            ("api_key", entry.api_key.is_some()),
            ("username", entry.username.is_some()),
            ("password", entry.password.is_some()),
        ] {
            if is_there {
                problems.add::<()>(&key(name), "this kind of printer has none; leave it out");
            }
        }
    }
    match software {
        Some(software::BAMBU | software::ELEGOO_CC2) => {
            let is_code = |code: &str| code.len() <= MAX_CODE && code.bytes().all(|byte| byte.is_ascii_graphic());
            if code.as_deref().is_some_and(|code| !is_code(code)) {
                problems.add::<()>(&key("access_code"), "it is no code; was it copied whole, and nothing else?");
            }
            if code.is_none() && software == Some(software::BAMBU) {
                problems.add::<()>(
                    &key("access_code"),
                    "it is missing, and the printer tells nothing without it; \
                     its screen shows it under Settings, at WLAN or LAN Only",
                );
            }
            // Wildcards and slashes would make other topics of it.
            let is_serial = |serial: &str| {
                serial.len() <= MAX_SERIAL
                    && serial.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            };
            match serial.as_deref() {
                None => problems.add::<()>(
                    &key("serial"),
                    "it is missing, and the printer is asked by it; its screen shows it under Settings, at Device",
                ),
                Some(serial) if !is_serial(serial) => {
                    problems.add(&key("serial"), "serial numbers have letters and digits only")
                }
                Some(_) => None,
            };
            (code.map(Secret::new), serial)
        }
        _ => {
            for (name, is_there) in [("access_code", code.is_some()), ("serial", serial.is_some())] {
                if is_there {
                    let message = "only printers at `bambu://` and `elegoo-cc2://` have one; leave it out";
                    problems.add::<()>(&key(name), message);
                }
            }
            (None, None)
        }
    }
}
