//! The codes 600–613 by which the service, not the printer, says that something failed.

use std::fmt;

/// A failure that the service reports to visitors and apps.
///
/// The number is the HTTP status, the name is the reason of a WebSocket close (`4000 + code`). Codes never change
/// their meaning, because shipped apps act on them: 603, 604, 605 and 606 make them delete a stored connection, so
/// those four may be sent only on a positive, fresh answer of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum RelayError {
    /// A fault of the service, or a failure that no other code can be proven for.
    Unknown = 600,
    /// The printer's agent has no link to the service.
    PrinterOffline = 601,
    /// The agent is linked, but the printer's software did not answer in time or at all.
    PrinterTimeout = 602,
    /// The host label or app token belongs to nothing.
    ConnectionNotFound = 603,
    /// Revoked, expired, printer removed, or account deleted.
    ConnectionRevoked = 604,
    /// The owner's plan does not include App Connections.
    NotSupporter = 605,
    /// Credentials missing or wrong.
    InvalidCredentials = 606,
    /// The response body is over the plan's size for one file.
    DownloadTooLarge = 607,
    /// The request body is over the plan's size for one file.
    UploadTooLarge = 608,
    /// The webcam was streamed for as long as the plan allows within its window.
    WebcamLimit = 609,
    /// The agent or plugin is too old for this feature.
    PluginUpdateRequired = 610,
    /// The feature is in beta and the account was not granted it.
    NoBetaAccess = 611,
    /// A fault inside the agent or plugin.
    PluginError = 612,
    /// A Live Link that ends with the print was asked for while nothing prints.
    NoActivePrint = 613,
}

impl RelayError {
    /// All fourteen, in order of their code.
    pub const ALL: [Self; 14] = [
        Self::Unknown,
        Self::PrinterOffline,
        Self::PrinterTimeout,
        Self::ConnectionNotFound,
        Self::ConnectionRevoked,
        Self::NotSupporter,
        Self::InvalidCredentials,
        Self::DownloadTooLarge,
        Self::UploadTooLarge,
        Self::WebcamLimit,
        Self::PluginUpdateRequired,
        Self::NoBetaAccess,
        Self::PluginError,
        Self::NoActivePrint,
    ];

    /// The HTTP status, 600–613.
    pub const fn code(self) -> u16 {
        #[expect(clippy::as_conversions, reason = "the variants are their codes, and `From` is not `const`")]
        let code = self as u16;
        code
    }

    /// The error with this code, if it is one of the fourteen.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.code() == code)
    }

    /// The stable name, as it appears in JSON bodies and WebSocket close reasons.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::PrinterOffline => "printer_offline",
            Self::PrinterTimeout => "printer_timeout",
            Self::ConnectionNotFound => "connection_not_found",
            Self::ConnectionRevoked => "connection_revoked",
            Self::NotSupporter => "not_supporter",
            Self::InvalidCredentials => "invalid_credentials",
            Self::DownloadTooLarge => "download_too_large",
            Self::UploadTooLarge => "upload_too_large",
            Self::WebcamLimit => "webcam_limit",
            Self::PluginUpdateRequired => "plugin_update_required",
            Self::NoBetaAccess => "no_beta_access",
            Self::PluginError => "plugin_error",
            Self::NoActivePrint => "no_active_print",
        }
    }

    /// The reason phrase of the HTTP/1.1 status line: the name in words. HTTP libraries know none for 6xx.
    pub const fn reason_phrase(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown error",
            Self::PrinterOffline => "Printer offline",
            Self::PrinterTimeout => "Printer timeout",
            Self::ConnectionNotFound => "Connection not found",
            Self::ConnectionRevoked => "Connection revoked",
            Self::NotSupporter => "Not a supporter",
            Self::InvalidCredentials => "Invalid credentials",
            Self::DownloadTooLarge => "Download too large",
            Self::UploadTooLarge => "Upload too large",
            Self::WebcamLimit => "Webcam limit",
            Self::PluginUpdateRequired => "Plugin update required",
            Self::NoBetaAccess => "No beta access",
            Self::PluginError => "Plugin error",
            Self::NoActivePrint => "No active print",
        }
    }

    /// One sentence for people. It names no host, address or internal.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Unknown => "The service could not handle the request.",
            Self::PrinterOffline => "The printer is not connected.",
            Self::PrinterTimeout => "The printer's software did not answer.",
            Self::ConnectionNotFound => "This connection does not exist.",
            Self::ConnectionRevoked => "This connection was revoked or has expired.",
            Self::NotSupporter => "The owner's plan does not include app connections.",
            Self::InvalidCredentials => "The credentials are missing or wrong.",
            Self::DownloadTooLarge => "The file is larger than the owner's plan allows to download.",
            Self::UploadTooLarge => "The file is larger than the owner's plan allows to upload.",
            Self::WebcamLimit => "The webcam was watched for as long as the owner's plan allows for now.",
            Self::PluginUpdateRequired => "The software beside the printer is too old for this feature.",
            Self::NoBetaAccess => "This feature is in beta and the account has no access to it.",
            Self::PluginError => "The software beside the printer made an error.",
            Self::NoActivePrint => "Nothing is being printed.",
        }
    }

    /// Whether the same request may succeed later without anybody changing it.
    pub const fn is_temporary(self) -> bool {
        !matches!(
            self,
            Self::ConnectionNotFound
                | Self::ConnectionRevoked
                | Self::InvalidCredentials
                | Self::DownloadTooLarge
                | Self::UploadTooLarge
        )
    }

    /// Whether the caller, or the owner, can remove the cause.
    pub const fn is_user_error(self) -> bool {
        matches!(
            self,
            Self::ConnectionNotFound
                | Self::ConnectionRevoked
                | Self::NotSupporter
                | Self::InvalidCredentials
                | Self::DownloadTooLarge
                | Self::UploadTooLarge
                | Self::WebcamLimit
                | Self::NoBetaAccess
                | Self::NoActivePrint
        )
    }

    /// Whether shipped apps delete their stored connection on it. Only a positive, fresh answer of the store may
    /// raise it; when in doubt, [`RelayError::Unknown`].
    pub const fn makes_apps_forget(self) -> bool {
        matches!(
            self,
            Self::ConnectionNotFound | Self::ConnectionRevoked | Self::NotSupporter | Self::InvalidCredentials
        )
    }

    /// `Retry-After` in whole seconds where the situation gives no better figure; `None` on permanent errors.
    pub const fn retry_after_seconds(self) -> Option<u32> {
        match self {
            Self::Unknown | Self::PrinterTimeout | Self::PluginError => Some(5),
            Self::PrinterOffline | Self::WebcamLimit | Self::NoActivePrint => Some(60),
            Self::NotSupporter | Self::PluginUpdateRequired | Self::NoBetaAccess => Some(3600),
            Self::ConnectionNotFound
            | Self::ConnectionRevoked
            | Self::InvalidCredentials
            | Self::DownloadTooLarge
            | Self::UploadTooLarge => None,
        }
    }

    /// The ordinary status that stands in for the code where a client asked for one because its HTTP library cannot
    /// take a 6xx.
    pub const fn plain_status(self) -> u16 {
        match self {
            Self::Unknown | Self::PluginError => 502,
            Self::PrinterOffline | Self::WebcamLimit | Self::NoActivePrint => 503,
            Self::PrinterTimeout => 504,
            Self::ConnectionNotFound => 404,
            Self::ConnectionRevoked => 410,
            Self::NotSupporter | Self::NoBetaAccess => 403,
            Self::InvalidCredentials => 401,
            Self::DownloadTooLarge | Self::UploadTooLarge => 413,
            Self::PluginUpdateRequired => 426,
        }
    }

    /// The close code of a WebSocket that was open when the error happened: 4600–4613.
    pub const fn close_code(self) -> u16 {
        4000 + self.code()
    }
}

impl fmt::Display for RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.name())
    }
}

impl std::error::Error for RelayError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_600_to_613_without_a_gap() {
        let codes: Vec<u16> = RelayError::ALL.iter().map(|error| error.code()).collect();
        assert_eq!(codes, (600..=613).collect::<Vec<_>>());
        for error in RelayError::ALL {
            assert_eq!(RelayError::from_code(error.code()), Some(error));
        }
        assert_eq!(RelayError::from_code(614), None);
    }

    #[test]
    fn only_temporary_errors_say_when_to_come_back() {
        for error in RelayError::ALL {
            assert_eq!(error.retry_after_seconds().is_some(), error.is_temporary(), "{error}");
        }
    }
}
