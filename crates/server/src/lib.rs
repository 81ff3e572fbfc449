//! The binary `spoolway`: what an operator runs. It reads the configuration, puts the crates of the service together,
//! and ends them in order.

pub mod admin;
pub mod config;
pub mod names_check;
pub mod plugin;
pub mod serve;

mod demo;
mod telemetry;
