//! `printers`.

pub mod connector;
pub mod detect;
pub mod forward;
pub mod printer_url;
pub mod virtual_printer;

mod lan_address;

pub use printer_url::{PrinterUrl, PrinterUrlError};
