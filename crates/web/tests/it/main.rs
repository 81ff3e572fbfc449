//! The site, asked over its router.

mod health;
mod pages;
mod site;
