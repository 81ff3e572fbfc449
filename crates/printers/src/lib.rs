//! What the agent knows of printers: how to find out which software answers, how to pass requests on to it, what the
//! printer does, and a printer made of software for those who have none at hand.
//!
//! It knows nothing of settings, identities or the service; requests come to it from the tunnel.

pub mod admission;
mod cameras;
pub mod command_api;
pub mod connector;
pub mod detect;
pub mod discovery;
pub mod forward;
pub mod observe;
pub mod printer_url;
pub mod virtual_printer;

mod lan_address;
mod mqtt;
mod mqtt_proxy;
mod platforms;
mod print_control;
mod software_client;
mod whole_file;

pub use printer_url::{PrinterUrl, PrinterUrlError};
