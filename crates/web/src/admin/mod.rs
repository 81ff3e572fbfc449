//! What whoever runs the service sees and does on the site.

pub(crate) mod accounts;
pub(crate) mod beta;
pub(crate) mod invitations;
pub(crate) mod overview;
pub(crate) mod plans;
