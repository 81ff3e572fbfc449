//! Who speaks for a printer.

use model::{PrinterId, Secret, SecretHash};

use super::answer::Refusal;
use super::fields::Texts;
use crate::state::SiteState;

/// The printer that a call is of, if it shows that printer's key. A printer that does not exist takes as long as one
/// whose key is another, and gets the same answer.
pub(super) async fn prove(state: &SiteState, texts: &Texts) -> Result<PrinterId, Refusal> {
    let (Some(printer), Some(given)) = (texts.get("PrinterId"), texts.get("OctoKey")) else {
        return Err(Refusal::Unproven);
    };
    let printer: PrinterId = printer.parse().map_err(|_| Refusal::Unknown)?;
    let key = state.store.agent_key(&printer).await.map_err(|error| {
        tracing::error!(%error, "the store did not answer about a printer's key");
        Refusal::Unavailable
    })?;
    let compared = key.unwrap_or_else(|| SecretHash::of(""));
    let is_right = state.plugins.is_octokey(&printer, &compared, &Secret::new(given)).await.map_err(|error| {
        tracing::error!(%error, "a plugin's key cannot be checked");
        Refusal::Unavailable
    })?;
    if is_right && key.is_some() { Ok(printer) } else { Err(Refusal::Unknown) }
}
