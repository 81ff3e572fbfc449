//! The tables, one module each. Nothing outside this crate sees them.
//!
//! Ids and names are texts, times are milliseconds since 1970, lengths are milliseconds, hashes are 32 bytes.
//! Living connections and dead ones are in tables of their own, so that a connection which is there is alive.

pub(crate) mod account;
pub(crate) mod beta_grant;
pub(crate) mod change;
pub(crate) mod change_counter;
pub(crate) mod connection;
pub(crate) mod dead_connection;
pub(crate) mod enrolment;
pub(crate) mod plan;
pub(crate) mod printer;
pub(crate) mod site;
