//! `printers`.
