//! Printers as their people see them: the list, one printer's view, its camera, its commands.

pub(crate) mod camera;
pub(crate) mod card;
pub(crate) mod command;
pub(crate) mod events;
pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod manage;
pub(crate) mod open;
pub(crate) mod pairing;
pub(crate) mod view;

use model::PrinterId;
use store::{OwnPrinter, Role, StoreError};

use crate::failure::PageFailure;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

/// A printer of somebody's, with at least a role on it.
///
/// Somebody else's printer is as unknown as one that never was.
pub(crate) async fn printer_of(
    state: &SiteState,
    signed_in: &SignedIn,
    id: &str,
    role: Role,
) -> Result<OwnPrinter, PageFailure> {
    let id: PrinterId = id.parse().map_err(|_| PageFailure::NotFound)?;
    let printer = match state.store.printer_of(signed_in.account(), &id).await {
        Ok(printer) => printer,
        Err(StoreError::NotFound { .. }) => return Err(PageFailure::NotFound),
        Err(error) => return Err(error.into()),
    };
    if printer.role < role {
        return Err(PageFailure::Forbidden(match role {
            Role::Owner => "Only the printer's owner can do that.",
            _ => "You may watch this printer, but not control it.",
        }));
    }
    Ok(printer)
}
