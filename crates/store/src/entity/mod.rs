//! The tables, one module each. Nothing outside this crate sees them.
//!
//! Ids and names are texts, times are milliseconds since 1970, lengths are milliseconds, hashes are 32 bytes.
//! Living connections and dead ones are in tables of their own, so that a connection which is there is alive.

pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod beta_grant;
pub(crate) mod change;
pub(crate) mod change_counter;
pub(crate) mod connection;
pub(crate) mod dead_connection;
pub(crate) mod enrolment;
pub(crate) mod identity;
pub(crate) mod live_link;
pub(crate) mod one_time_token;
pub(crate) mod owner_visit;
pub(crate) mod pairing;
pub(crate) mod passkey;
pub(crate) mod plan;
pub(crate) mod printer;
pub(crate) mod printer_member;
pub(crate) mod recovery_code;
pub(crate) mod registered_app;
pub(crate) mod session;
pub(crate) mod site;
pub(crate) mod webhook;
