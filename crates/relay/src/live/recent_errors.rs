//! What went wrong with a printer's requests lately, for its owner.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use model::{PrinterId, RelayError};
use moka::sync::Cache;
use parking_lot::Mutex;

use crate::grant::Entrance;

/// Errors kept of one printer.
pub(crate) const MAX_ERRORS: usize = 50;
/// Printers whose errors are kept, at some two kilobytes each.
const MAX_PRINTERS: u64 = 10_000;

/// An error that a visitor of a printer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorEvent {
    /// When it happened last.
    pub at: SystemTime,
    /// What it was.
    pub code: RelayError,
    /// By which kind of host the visitor came.
    pub kind: Entrance,
    /// What it ended.
    pub surface: Surface,
    /// How often it happened without another in between: apps ask on while a printer is off.
    pub times: u32,
}

/// What an error ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// A request, which got it for an answer.
    Request,
    /// The opening of a WebSocket, which got it for an answer.
    WebSocketOpening,
    /// A response's body that was under way.
    Body,
    /// An open WebSocket.
    WebSocket,
}

impl Surface {
    /// Its name for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::WebSocketOpening => "websocket_opening",
            Self::Body => "body",
            Self::WebSocket => "websocket",
        }
    }
}

/// The last errors of each printer.
#[derive(Clone)]
pub(crate) struct RecentErrors(Cache<PrinterId, Arc<Mutex<VecDeque<ErrorEvent>>>>);

impl Default for RecentErrors {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_PRINTERS).build())
    }
}

impl RecentErrors {
    /// An error happened at `now`.
    pub(crate) fn note(
        &self,
        printer: &PrinterId,
        code: RelayError,
        kind: Entrance,
        surface: Surface,
        now: SystemTime,
    ) {
        let errors = self.0.get_with_by_ref(printer, Arc::default);
        let mut errors = errors.lock();
        if let Some(last) = errors.back_mut()
            && (last.code, last.kind, last.surface) == (code, kind, surface)
        {
            last.at = now;
            last.times = last.times.saturating_add(1);
            return;
        }
        if errors.len() >= MAX_ERRORS {
            errors.pop_front();
        }
        errors.push_back(ErrorEvent { at: now, code, kind, surface, times: 1 });
    }

    /// Those of a printer, the latest first.
    pub(crate) fn of(&self, printer: &PrinterId) -> Vec<ErrorEvent> {
        self.0.get(printer).map(|errors| errors.lock().iter().rev().copied().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn repetitions_are_counted_and_only_the_latest_are_kept() {
        let (errors, printer, now) = (RecentErrors::default(), PrinterId::generate(), SystemTime::now());
        let note = |code, seconds| {
            let at = now + Duration::from_secs(seconds);
            errors.note(&printer, code, Entrance::App, Surface::Request, at);
        };
        for second in 0..1000 {
            note(RelayError::PrinterOffline, second);
        }
        let only = errors.of(&printer);
        assert_eq!((only.len(), only[0].times, only[0].at), (1, 1000, now + Duration::from_secs(999)));
        for second in 1000..1100 {
            note(if second % 2 == 0 { RelayError::PrinterTimeout } else { RelayError::PluginError }, second);
        }
        let kept = errors.of(&printer);
        assert_eq!((kept.len(), kept[0].code), (MAX_ERRORS, RelayError::PluginError));
        assert!(kept.windows(2).all(|pair| pair[0].at > pair[1].at));
        assert!(errors.of(&PrinterId::generate()).is_empty());
    }
}
