//! What of one's printers others can reach: Live Links, Shared Connections, App Connections.

pub(crate) mod create;
pub(crate) mod full_control;
pub(crate) mod list;
pub(crate) mod live;
pub(crate) mod live_feed;
pub(crate) mod revoke;
pub(crate) mod show;
pub(crate) mod viewers;
pub(crate) mod watch_prints;
