//! The protocol of the plugin that owners already have on their printers, from the service's side.
//!
//! [`wire`] reads and writes messages. [`session`] is the state machine: which streams there are, what the plugin gets
//! of a visitor's request, and what of its answers a visitor gets. [`handshake`] has who the plugin is and how it is
//! accepted.
//!
//! The crate deliberately knows no socket, no clock, no key of the service's and no account. Its rules are those of a
//! specification that is not part of the source, and is cited as `tunnel.md` by section.

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

pub mod handshake;
pub mod inflate;
#[cfg(feature = "printer")]
#[doc(hidden)]
pub mod printer;
pub mod session;
pub mod wire;

pub use handshake::{Acceptance, ChallengeAnswer, Introduction, PluginPrinterId, PluginVersion, Refusal};
pub use inflate::{Dictionary, InflateError};
pub use request::{Picture, RequestError};
pub use response::{ResponseError, ResponseHead};
pub use session::{Event, Session, SessionOptions, StreamEnd, StreamId};

mod latin1;
mod location;
mod request;
mod response;
