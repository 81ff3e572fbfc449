//! The native tunnel between service and agent, both ends.
//!
//! The agent dials the service over HTTP/1.1 and upgrades the connection to `spoolway-tunnel` (or, where something in
//! between refuses that, to a WebSocket that carries the same bytes). On it the roles turn round: the service speaks
//! HTTP/2 as the *client*, the agent as the *server*. Each relayed request is one HTTP/2 stream; a WebSocket is an
//! extended CONNECT (RFC 8441) whose stream carries the WebSocket's own bytes.
//!
//! The crate knows nothing of visitors, accounts or printers: who may connect is decided by the caller of
//! [`accept`], and what a request means by the [`PrinterHandler`](agent_side::PrinterHandler).

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

pub mod accept;
mod agent_control;
pub mod agent_loop;
pub mod agent_services;
pub mod agent_side;
pub mod backoff;
pub mod body;
pub mod dial;
pub mod frame_meter;
pub mod hop_by_hop;
pub mod pooled_io;
pub mod service_side;
pub mod socket;
pub mod stream_io;
pub mod transport;
pub mod websocket_io;
pub mod window;

mod heartbeat;
