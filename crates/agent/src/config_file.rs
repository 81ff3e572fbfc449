//! The configuration file as it is written, before anything is checked but its form.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::settings::SettingsError;

/// All settings are optional here, because flags and environment may provide them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    pub(crate) server: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) insecure: Option<bool>,
    pub(crate) data: Option<PathBuf>,
    /// Both `[[printer]]` and `[[printers]]` come naturally to people.
    #[serde(default, alias = "printers")]
    pub(crate) printer: Vec<PrinterEntry>,
}

/// One `[[printer]]`, or what the flags say of the only one.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrinterEntry {
    pub(crate) name: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) token: Option<String>,
    pub(crate) visitor_address: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) access_code: Option<String>,
    pub(crate) serial: Option<String>,
    #[serde(default)]
    pub(crate) camera_hosts: Vec<String>,
    #[serde(default)]
    pub(crate) r#virtual: bool,
    pub(crate) virtual_port: Option<u16>,
    pub(crate) virtual_bytes_per_second: Option<u64>,
    pub(crate) virtual_lines_per_second: Option<u64>,
    pub(crate) virtual_frames_per_second: Option<f64>,
}

impl PrinterEntry {
    /// Whether it says nothing but what people do not like to write into files.
    pub(crate) fn holds_secrets_only(&self) -> bool {
        let secrets = Self {
            token: self.token.clone(),
            api_key: self.api_key.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            access_code: self.access_code.clone(),
            ..Self::default()
        };
        *self == secrets
    }
}

impl ConfigFile {
    pub(crate) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text)
            .map_err(|source| SettingsError::Malformed { path: path.to_owned(), source: Box::new(source) })
    }

    pub(crate) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}
