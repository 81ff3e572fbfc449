//! Changes to the text of a configuration file that leave everything else in it as it is, comments too.

use thiserror::Error;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

/// What is written of a printer.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct PrinterLines {
    pub(crate) name: String,
    /// `None` for a virtual printer.
    pub(crate) url: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) access_code: Option<String>,
    pub(crate) serial: Option<String>,
}

/// Why a text cannot be changed.
#[derive(Debug, Error)]
pub(crate) enum TextError {
    #[error("it is no TOML: {0}")]
    Toml(#[from] toml_edit::TomlError),
    #[error("its printers are not written as `[[printer]]`; write them so, or add the new one by hand")]
    Form,
}

/// The printer as it stands in a file.
pub(crate) fn printer_text(printer: &PrinterLines) -> String {
    let mut document = DocumentMut::new();
    let mut tables = ArrayOfTables::new();
    tables.push(filled(Table::new(), printer));
    document.insert("printer", Item::ArrayOfTables(tables));
    document.to_string()
}

/// The text with the service and a printer in it. A printer of the same name is written over: its address and
/// credentials; what else is said of it stays.
pub(crate) fn with_printer(text: &str, server: &str, printer: &PrinterLines) -> Result<String, TextError> {
    let mut document: DocumentMut = text.parse()?;
    match document.get_mut("server").and_then(Item::as_value_mut) {
        Some(known) if known.as_str() == Some(server) => {}
        Some(known) => {
            let decor = known.decor().clone();
            *known = server.into();
            *known.decor_mut() = decor;
        }
        None => {
            document.insert("server", value(server));
        }
    }
    // Both names are read.
    let key = if document.contains_key("printers") { "printers" } else { "printer" };
    let tables = document.entry(key).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let tables = tables.as_array_of_tables_mut().ok_or(TextError::Form)?;
    let named = tables.iter_mut().find(|table| table.get("name").and_then(Item::as_str) == Some(&printer.name));
    match named {
        Some(table) => *table = filled(std::mem::take(table), printer),
        None => {
            let mut table = Table::new();
            table.decor_mut().set_prefix("\n");
            tables.push(filled(table, printer));
        }
    }
    Ok(document.to_string())
}

fn filled(mut table: Table, printer: &PrinterLines) -> Table {
    table["name"] = value(&printer.name);
    let lines = [
        ("url", &printer.url),
        ("serial", &printer.serial),
        ("access_code", &printer.access_code),
        ("api_key", &printer.api_key),
        ("username", &printer.username),
        ("password", &printer.password),
    ];
    for (key, text) in lines {
        match text {
            Some(text) => table[key] = value(text),
            None => drop(table.remove(key)),
        }
    }
    if printer.url.is_some() {
        table.remove("virtual");
    } else {
        table["virtual"] = value(true);
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use crate::config_file::ConfigFile;

    fn octoprint() -> PrinterLines {
        PrinterLines {
            name: "Ender \"3\"".to_owned(),
            url: Some("http://127.0.0.1:5000".to_owned()),
            api_key: Some("KEY".to_owned()),
            ..PrinterLines::default()
        }
    }

    #[test]
    fn a_new_file_can_be_read() {
        let text = with_printer("", "https://s.example", &octoprint()).unwrap();
        assert_eq!(
            text,
            "server = \"https://s.example\"\n\n[[printer]]\nname = 'Ender \"3\"'\nurl = \"http://127.0.0.1:5000\"\n\
             api_key = \"KEY\"\n"
        );
        let file = ConfigFile::parse(&text).unwrap();
        assert_eq!((file.server.as_deref(), file.printer.len()), (Some("https://s.example"), 1));
        let text =
            with_printer("", "https://s.example", &PrinterLines { name: "v".to_owned(), ..PrinterLines::default() });
        assert!(ConfigFile::parse(&text.unwrap()).unwrap().printer[0].r#virtual);
    }

    #[test]
    fn comments_and_other_printers_stay() {
        let before = "# mine\nserver = 'https://old.example' # the old one\ndata = '/var/lib/x'\n\n\
                      [[printer]] # the first\nname = 'Prusa' # a word\nurl = 'http://192.168.1.9'\npassword = 'old'\n\
                      camera_hosts = ['cam.local']\n\n# a note at the end\n[[printer]]\nname = 'Other'\nvirtual = true\n";
        let prusa = PrinterLines {
            name: "Prusa".to_owned(),
            url: Some("http://192.168.1.10".to_owned()),
            api_key: Some("k".to_owned()),
            ..PrinterLines::default()
        };
        let after = with_printer(before, "https://new.example", &prusa).unwrap();
        for kept in [
            "# mine\n",
            "# the old one",
            "data = '/var/lib/x'",
            "# the first",
            "camera_hosts = ['cam.local']",
            "# a note at the end",
            "name = 'Other'\nvirtual = true\n",
        ] {
            assert!(after.contains(kept), "{kept}: {after}");
        }
        let file = ConfigFile::parse(&after).unwrap();
        assert_eq!((file.server.as_deref(), file.printer.len()), (Some("https://new.example"), 2));
        let first = &file.printer[0];
        assert_eq!(
            (first.url.as_deref(), first.api_key.as_deref(), &first.password),
            (Some("http://192.168.1.10"), Some("k"), &None)
        );
        // Again, and nothing changes.
        assert_eq!(with_printer(&after, "https://new.example", &prusa).unwrap(), after);
        let third = with_printer(&after, "https://new.example", &octoprint()).unwrap();
        assert!(third.starts_with(after.trim_end()), "{third}");
        assert_eq!(ConfigFile::parse(&third).unwrap().printer.len(), 3);
    }

    #[test]
    fn other_forms_are_known_or_refused() {
        let plural =
            with_printer("[[printers]]\nname = 'a'\nvirtual = true\n", "https://s.example", &octoprint()).unwrap();
        assert_eq!(ConfigFile::parse(&plural).unwrap().printer.len(), 2);
        let inline = with_printer("printer = [{ name = 'a', virtual = true }]\n", "https://s.example", &octoprint());
        assert!(matches!(inline, Err(TextError::Form)));
        assert!(matches!(with_printer("x = = 1", "https://s.example", &octoprint()), Err(TextError::Toml(_))));
    }
}
