//! What the agent knows of printers: how to find out which software answers, how to pass requests on to it, and a
//! printer made of software for those who have none at hand.
//!
//! It knows nothing of settings, identities or the service; requests come to it from the tunnel.

pub mod connector;
pub mod detect;
pub mod forward;
pub mod printer_url;
pub mod virtual_printer;

mod lan_address;

pub use printer_url::{PrinterUrl, PrinterUrlError};
