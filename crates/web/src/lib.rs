//! The site on the service's own host: accounts, printers, shares, the App Portal and the App APIs, the pages about the
//! error codes, and the health probes.
//!
//! It is one [`router`], which the server mounts for the site's host only; printers' hosts never reach it. It knows
//! nothing of sockets, TLS or configuration: what it needs of the rest of the service is handed to it in [`SiteState`].

mod router;
mod state;

mod accounts;
mod admin;
mod api;
mod plugin_api;
mod portal;
mod printers;
mod settings;
mod shares;

mod error_codes;
mod health;
mod not_found;
mod start;

mod explanation;

pub mod mail;
pub mod oidc;
pub mod outbound;
pub mod passkeys;

mod attempts;
mod audit;
mod break_off;
mod browser;
mod email_proof;
mod form;
mod script_call;
mod signed_in;
mod totp;

mod assets;
mod failure;
mod layout;
mod page;
mod picture;
mod qr;
mod security_headers;
mod text;

pub use accounts::sign_in::SecondFactors;
pub use attempts::Attempts;
pub use health::{Readiness, ReadyCheck};
pub use portal::{ReturnPattern, ReturnPatternError};
pub use router::router;
pub use shares::watch_prints::run as watch_prints;
pub use state::{SignUp, SiteSettings, SiteState};
