//! The site, asked over its router.

mod access;
mod api;
mod audit_log;
mod cases;
mod documentation;
mod forms;
mod health;
mod linking;
mod pages;
mod plugin_api;
mod shares;
mod sign_in;
mod site;
mod streams;
mod texts;
mod world;
