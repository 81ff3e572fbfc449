//! The vocabulary that every other crate speaks: ids, secrets, error codes 600–613, plans and limits, what printers
//! do, and the messages that service and agent exchange.
//!
//! This crate knows nothing of sockets, databases or clocks, and depends on none of our crates.

// A stranger's bytes are read here: what could panic, or cut a number, is done in another way (T50).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::as_conversions))]

pub mod caller;
pub mod error_code;
pub mod events;
pub mod ids;
pub mod limits;
pub mod link;
pub mod printing;
pub mod secret;
pub mod wire;

pub use caller::{Caller, CallerKind};
pub use error_code::RelayError;
pub use ids::{AccountId, ConnectionId, IdError, Label, LabelError, LiveId, PrinterId, RequestId, SessionId, TokenId};
pub use limits::{Limits, Plan, WebcamWindow};
pub use secret::{Secret, SecretHash};
