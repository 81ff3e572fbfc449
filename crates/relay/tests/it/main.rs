//! The relay through its public face: a whole service in process, agents over real sockets, printers of any kind.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod access;
mod access_shared;
mod bad_agents;
mod bad_agents_floods;
mod codes;
mod codes_faults;
mod codes_scenes;
mod commands;
mod cors;
mod large_files;
mod limits;
mod limits_webcam;
mod live;
mod load;
mod notice;
mod owner_view;
mod passage;
mod passage_details;
mod passage_details_faults;
mod passage_details_headers;
mod passage_details_tls;
mod plugin;
mod plugin_calls;
mod plugin_commands;
mod plugin_load;
mod plugin_support;
mod precedence;
mod raw_http;
mod raw_http2;
mod raw_http_cases;
mod raw_http_refusals;
mod revocation;
mod slow_visitors;
mod websockets;
