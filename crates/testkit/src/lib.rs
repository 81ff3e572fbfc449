//! For tests only: a whole service in process, agents, printers of any behaviour, and clients of each kind.
//!
//! Everything listens on loopback, on free ports, and ends when it is dropped. Failures to set something up are
//! panics, because in a test there is nobody to handle them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::missing_panics_doc, reason = "as above")]

mod agent;
mod certificates;
mod client;
mod origin;
mod service;
mod wait;

pub use agent::{TestAgent, TestAgentOptions};
pub use certificates::{TestCertificates, test_certificates};
pub use client::{Client, Exchange, connect_raw, raw_exchange, websocket};
pub use origin::{Origin, OriginBody, Seen, empty, full, stream_body};
pub use service::{AppAccess, SharedAccess, TestPrinter, TestService};
pub use wait::{wait_for, wait_until};
