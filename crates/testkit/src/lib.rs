//! For tests only: a whole service in process, agents, printers of any behaviour, and clients of each kind.
//!
//! Everything listens on loopback, on free ports, and ends when it is dropped. Failures to set something up are
//! panics, because in a test there is nobody to handle them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::missing_panics_doc, reason = "as above")]

mod agent;
mod alone;
mod certificates;
mod client;
mod link_proxy;
mod origin;
mod raw;
mod raw_agent;
pub mod raw_http2;
mod raw_origin;
mod rig;
mod service;
mod visitor_socket;
mod wait;

pub use agent::{SeenByAgent, TestAgent, TestAgentOptions};
pub use alone::{alone, resident_bytes};
pub use certificates::{TestCertificates, test_certificates};
pub use client::{Client, ClientIo, Connection, Exchange, Protocol, connect_raw, raw_exchange, websocket};
pub use link_proxy::LinkProxy;
pub use origin::{Origin, OriginBody, Seen, accept_websocket, empty, full, stream_body};
pub use printers::forward::VisitorAddress;
pub use raw::{RawDialogue, RawResponse, parse_responses, raw_dialogue, raw_dialogue_cut_short, read_to_close};
pub use raw_agent::RawAgent;
pub use raw_origin::{RawOrigin, dead_address, read_head};
pub use rig::{Rig, set_supporter};
pub use service::{AppAccess, SharedAccess, TestPrinter, TestService, basic_header};
pub use visitor_socket::{Ending, VisitorBytes, VisitorSocket};
pub use wait::{wait_for, wait_for_answer, wait_until};
