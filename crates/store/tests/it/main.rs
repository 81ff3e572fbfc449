//! The store through its public face, on real files.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod agents;
mod changes;
mod child;
mod crash;
mod faults;
mod files;
mod labels;
mod lists;
mod processes;
mod random_operations;
mod story;
mod support;
