//! `tunnel`.
