//! The App APIs and the portal, asked over the site's router, with a real store and a printer that the test plays.

mod app_apis;
mod documents;
pub(crate) mod fixture;
mod order;
mod portal;
mod webhooks;
