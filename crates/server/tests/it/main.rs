//! The binary's parts through their public faces.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod admin;
mod admin_process;
mod plugin;
