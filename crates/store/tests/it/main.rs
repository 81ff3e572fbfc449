//! The store through its public face, on real files.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod agents;
mod apps;
mod changes;
mod child;
mod crash;
mod faults;
mod files;
mod labels;
mod layouts;
mod lists;
mod live_links;
mod pairing;
mod processes;
mod random_operations;
mod random_tenants;
mod records;
mod roles;
mod sealing;
mod sign_in;
mod story;
mod support;
mod tenants;
mod tokens;
