//! `relay`.
