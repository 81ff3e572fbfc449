//! The protocol of the plugin that owners already have on their printers, from the service's side.
//!
//! `tunnel.md` in what follows is the specification this crate was written from, by section.

pub mod wire;
