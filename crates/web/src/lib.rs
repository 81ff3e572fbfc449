//! The site on the service's own host: the start page, the pages about the error codes, and the health probes.
//!
//! It is one [`router`], which the server mounts for the site's host only; printers' hosts never reach it. It knows
//! nothing of sockets, TLS or configuration, and nothing of printers: what it needs of the rest of the service is
//! handed to it in [`SiteState`].

mod router;

mod error_codes;
mod health;
mod not_found;
mod start;

mod explanation;

pub mod outbound;

mod assets;
mod page;
mod security_headers;

pub use health::{Readiness, ReadyCheck};
pub use router::{SiteState, router};
