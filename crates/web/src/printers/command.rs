//! Commands to a printer from its view.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use model::RelayError;
use model::printing::PrinterCommand;
use relay::live::CommandFailure;
use serde::Deserialize;
use store::{AuditKind, Role};

use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::printers::printer_of;
use crate::signed_in::SignedIn;
use crate::state::SiteState;

#[derive(Deserialize)]
pub(crate) struct CommandForm {
    command: String,
}

pub(crate) async fn submit(
    State(state): State<SiteState>,
    signed_in: SignedIn,
    Path(id): Path<String>,
    OwnForm(form): OwnForm<CommandForm>,
) -> Result<Response, PageFailure> {
    let printer = printer_of(&state, &signed_in, &id, Role::Operator).await?;
    let command: PrinterCommand =
        form.command.parse().map_err(|_| PageFailure::BadRequest("there is no such command".to_owned()))?;
    let id = &printer.summary.id;
    let outcome = state.live.command(id, command).await;
    let result = if outcome.is_ok() { "done" } else { "failed" };
    let subject = format!("{} ({result})", command.as_str());
    let address = signed_in.browser.address();
    crate::audit::note(&state, signed_in.account(), AuditKind::CommandSent, Some(id), &subject, address).await;
    match outcome {
        Ok(()) => Ok(Redirect::to(&format!("/view/{id}")).into_response()),
        Err(CommandFailure::Refused(reason)) => Err(PageFailure::BadRequest(format!("the printer said no: {reason}"))),
        Err(CommandFailure::Unsupported) => Err(PageFailure::BadRequest("this printer cannot do that".to_owned())),
        Err(CommandFailure::Relay(error)) => Err(PageFailure::BadRequest(relay_text(error))),
    }
}

fn relay_text(error: RelayError) -> String {
    format!("{} (error {})", error.message().trim_end_matches('.'), error.code())
}
