//! The relay: visitors on one side, printers' links on the other, and everything that is decided in between.
//!
//! A request passes, in this order: the edge ([`edge`]) that speaks TLS and HTTP and bounds what a stranger costs; one
//! [`authority`] that says which host is meant; access; limits; the directory that knows the printer's link; the
//! link. Errors become responses in one place, `respond`.
//!
//! The crate knows nothing of pages of the site (they are handed in as a handler), of configuration files, or of the
//! software that drives printers.

// What indexes could end the process for a stranger's sake (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod authority;
pub mod body;
pub mod budgets;
pub mod edge;
#[doc(hidden)]
pub mod fuzzing;
pub mod link;
pub mod live;
pub mod metrics;
pub mod owner_views;
pub mod relay;
pub mod share_openings;
pub mod timeouts;
pub mod upload;

mod access;
mod agent_events;
mod agents;
mod changes;
mod commands;
mod exchange;
mod frame_buffers;
mod frames;
mod grant;
mod guesses;
mod headers;
mod native_link;
mod notice_page;
mod owner_door;
mod pages;
mod passage;
mod password_page;
mod plugin;
pub mod respond;
mod screening;
mod service;
mod sessions;
mod shared_password;
mod usage;
mod webcam;
mod websocket;

pub use authority::{Authority, SiteNames};
pub use grant::Entrance;
pub use notice_page::Notice;
pub use plugin::{LinkCode, PluginKeyError, PluginOptions, PluginPresence, PluginRegister, plugin_public_key};
pub use relay::{Relay, RelayOptions};
pub use service::{ClientAddress, IsHttps};
pub use timeouts::{AnswerTimeouts, Pace, Timeouts};
