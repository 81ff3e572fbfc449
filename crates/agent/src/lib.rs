//! The program that runs beside printers, `spoolway-agent`: it links each of them to the service.
//!
//! Here are configuration, identity, and what is told to the person who runs it. How a link works is in
//! [`tunnel`], what printers need is in [`printers`]; neither knows of files or settings.

pub mod cli;
#[doc(hidden)]
pub mod fuzzing;
pub mod settings;

pub mod run;

mod data_directory;
mod discover;
mod identity;
mod link_state;
mod logging;
mod messages;
mod pairing;
mod printer_link;
mod printer_watch;
mod recent_log;
mod setup;
mod status;

mod config_file;

pub use cli::main;
