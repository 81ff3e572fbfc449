//! What an account's plan allows.

use std::time::Duration;

/// A named set of limits that accounts subscribe to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The operator's name for it, unique.
    pub name: String,
    /// Whether it includes App Connections; where it does not, they answer 605.
    pub supporter: bool,
    /// Its limits.
    pub limits: Limits,
}

impl Plan {
    /// The plan of a fresh installation: everything allowed, nothing limited.
    pub const DEFAULT_NAME: &str = "unlimited";

    /// The plan that accounts have unless the operator chooses another.
    pub fn unlimited() -> Self {
        Self { name: Self::DEFAULT_NAME.to_owned(), supporter: true, limits: Limits::default() }
    }
}

/// Limits of one account. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request body; more is 608.
    pub max_upload_bytes: Option<u64>,
    /// Bytes of one response body; more is 607.
    pub max_download_bytes: Option<u64>,
    /// A webcam stream is cut when it has lasted this long.
    pub webcam_stream: Option<Duration>,
    /// How much of a moving window may be spent streaming webcams; more is 609.
    pub webcam_window: Option<WebcamWindow>,
}

/// At most `total` of streaming in any `window`, summed over a printer's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebcamWindow {
    /// Length of the moving window.
    pub window: Duration,
    /// Seconds of streaming within it after which new streams are refused.
    pub total: Duration,
}
