//! The site, asked over its router.

mod api;
mod documentation;
mod health;
mod pages;
mod site;
