//! The relay through its public face: a whole service in process, agents over real sockets, printers of any kind.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod passage;
