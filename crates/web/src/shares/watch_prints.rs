//! Ends the Live Links that follow a print when the print ends, and keeps its last picture.

use std::time::SystemTime;

use model::PrinterId;
use model::printing::PrinterState;
use store::LiveEnd;
use tokio::sync::broadcast::error::RecvError;

use crate::shares::live::PrintResult;
use crate::state::SiteState;

/// Follows all printers until the service ends.
pub async fn run(state: SiteState) {
    let mut changes = state.live.changes();
    loop {
        match changes.recv().await {
            Ok(printer) => look(&state, &printer).await,
            // Something may have been missed; each printer is looked at again with its next change.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn look(state: &SiteState, printer: &PrinterId) {
    // A printer that is away says nothing about its print.
    let Some(now) = state.live.status(printer).await.and_then(|status| status.state) else { return };
    let links = match state.store.live_links_with_print(printer).await {
        Ok(links) => links,
        Err(error) => return tracing::warn!(%printer, %error, "the links of a print were not looked up"),
    };
    for link in links {
        let LiveEnd::WithPrint { print_id } = &link.end else { continue };
        if !has_ended(print_id, &now) {
            continue;
        }
        let picture = state.live.snapshot(printer, 0).await.ok().and_then(|picture| crate::picture::shrink(&picture));
        let result = serde_json::to_string(&result(print_id, &now)).ok();
        if let Err(error) = state.store.end_live_link(&link.id, result, picture, SystemTime::now()).await {
            tracing::error!(%printer, %error, "a link was not ended with its print");
        }
    }
}

fn has_ended(print_id: &str, now: &PrinterState) -> bool {
    use model::printing::Phase;
    let is_another = now.print_id.as_deref().is_some_and(|id| !print_id.is_empty() && id != print_id);
    is_another || (!now.phase.is_active() && now.phase != Phase::Unknown)
}

fn result(print_id: &str, now: &PrinterState) -> PrintResult {
    use model::printing::Phase;
    let is_same = now.print_id.as_deref().is_none_or(|id| id == print_id || print_id.is_empty());
    let state = match now.phase {
        _ if !is_same => "The print has ended",
        Phase::Complete => "Print complete",
        Phase::Cancelled => "Print cancelled",
        Phase::Error => "The print failed",
        _ => "The print has ended",
    };
    PrintResult {
        state: state.to_owned(),
        file: now.file.clone().filter(|_| is_same),
        progress: now.progress.filter(|_| is_same).map(|progress| progress.clamp(0.0, 100.0) as u8),
        duration: now
            .seconds_printing
            .filter(|_| is_same)
            .map(|seconds| crate::text::duration(std::time::Duration::from_secs(seconds))),
    }
}

#[cfg(test)]
mod tests {
    use model::printing::Phase;

    use super::*;

    #[test]
    fn a_print_ends_by_its_state_or_by_another_print() {
        let now = |phase, id: Option<&str>| PrinterState {
            phase,
            print_id: id.map(str::to_owned),
            ..PrinterState::default()
        };
        for (state, expected) in [
            (now(Phase::Printing, Some("a")), false),
            (now(Phase::Paused, Some("a")), false),
            (now(Phase::Printing, None), false),
            (now(Phase::Unknown, None), false),
            (now(Phase::Complete, Some("a")), true),
            (now(Phase::Idle, None), true),
            (now(Phase::Printing, Some("b")), true),
        ] {
            assert_eq!(has_ended("a", &state), expected, "{state:?}");
        }
        assert_eq!(result("a", &now(Phase::Complete, Some("a"))).state, "Print complete");
        assert_eq!(result("a", &now(Phase::Printing, Some("b"))).state, "The print has ended");
    }
}
