//! The tunnel with both its ends: over pipes in memory, with time as a number, and over sockets where dialling matters.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ends;
mod fake_service;

mod dialling;
mod exchanges;
mod links;
mod sharing;
mod silence;
mod upgrades;
