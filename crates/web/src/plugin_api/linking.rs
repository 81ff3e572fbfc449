//! How a plugin learns whether its printer is somebody's, and gets the code that links it (service-api.md 11).
//!
//! Whoever is on the printer's network knows its id, and these calls carry nothing else. So they are answered only to
//! the address that the printer's plugin is connected from; to everybody else every id is as unknown as the next.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use model::PrinterId;
use relay::PluginPresence;
use relay::budgets::Origin;
use serde::{Deserialize, Serialize};

use super::Desk;
use super::answer::{Refusal, address_of, respond};
use super::small::read_json;
use crate::state::SiteState;

/// The only kind of code that plugins ask for.
const LINK_CODE: u32 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InfoQuestion {
    id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    name: String,
    has_owners: bool,
}

pub(super) async fn printer_info(
    State(state): State<SiteState>,
    Extension(desk): Extension<Arc<Desk>>,
    request: Request,
) -> Response {
    respond(info(&state, &desk, request).await)
}

async fn info(state: &SiteState, desk: &Desk, request: Request) -> Result<Info, Refusal> {
    let (_, presence, printer) = ask::<InfoQuestion>(state, desk, request, |question| question.id.clone()).await?;
    match presence {
        PluginPresence::Waiting(_) => Ok(Info { name: String::new(), has_owners: false }),
        PluginPresence::Linked => {
            let summary = state.store.printer(&printer).await.map_err(|error| match error {
                store::StoreError::NotFound { .. } => Refusal::Nothing,
                error => {
                    tracing::error!(%error, "the store did not answer about a printer");
                    Refusal::Unavailable
                }
            })?;
            Ok(Info { name: summary.name, has_owners: true })
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CodeQuestion {
    r#type: u32,
    printer_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Code {
    code: String,
    valid_for_seconds: u64,
}

pub(super) async fn short_code(
    State(state): State<SiteState>,
    Extension(desk): Extension<Arc<Desk>>,
    request: Request,
) -> Response {
    respond(code(&state, &desk, request).await)
}

/// The code that stands on the printer's screen already: each plugin has one at a time.
async fn code(state: &SiteState, desk: &Desk, request: Request) -> Result<Code, Refusal> {
    let (question, presence, _) =
        ask::<CodeQuestion>(state, desk, request, |question| question.printer_id.clone()).await?;
    if question.r#type != LINK_CODE {
        return Err(Refusal::Malformed("There are no such codes."));
    }
    let PluginPresence::Waiting(code) = presence else { return Err(Refusal::Nothing) };
    let left = code.until.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
    Ok(Code { code: code.code.expose().to_owned(), valid_for_seconds: left.max(1) })
}

async fn ask<T: for<'de> Deserialize<'de>>(
    state: &SiteState,
    desk: &Desk,
    request: Request,
    id_of: impl FnOnce(&T) -> String,
) -> Result<(T, PluginPresence, PrinterId), Refusal> {
    let address = address_of(&request);
    desk.calls_of_address.spend(Origin::of(address), Instant::now()).map_err(Refusal::Later)?;
    let question: T = read_json(request).await?;
    let printer: PrinterId = id_of(&question).parse().map_err(|_| Refusal::Nothing)?;
    let presence = state.plugins.presence(&printer, address, SystemTime::now()).ok_or(Refusal::Nothing)?;
    desk.questions_of_printer.spend(printer.clone(), Instant::now()).map_err(Refusal::Later)?;
    Ok((question, presence, printer))
}
