//! `printers`.

pub mod printer_url;

pub use printer_url::{PrinterUrl, PrinterUrlError};
