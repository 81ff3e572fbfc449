//! The site, asked over its router.

mod documentation;
mod health;
mod pages;
mod site;
