//! What the crate does over real sockets.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bambu;
mod bambu_files;
mod cameras;
mod client;
mod command_api;
mod command_api_moonraker;
mod command_api_webcams;
mod conformance;
mod detect;
mod elegoo_cc1;
mod elegoo_cc2;
mod fake_bambu;
mod fake_broker;
mod fake_cc2;
mod fake_elegoo_cc1;
mod fake_prusalink;
mod fake_software;
mod mqtt_proxy;
mod observe;
mod octoprint_push;
mod prusalink;
mod rtsp;
mod rtsp_server;
mod virtual_printer;
mod virtual_printer_camera;
mod virtual_printer_live;
