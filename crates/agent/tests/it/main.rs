//! The program as people run it, against a service that says what the test wants it to say.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod messages;
mod pairing;
mod program;
mod service;
mod setup;
mod several;
mod start_and_stop;
mod trust;
