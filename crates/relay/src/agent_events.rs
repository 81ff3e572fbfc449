//! Reading what an agent reports: one JSON object a line.

use model::link::AgentEvent;
use thiserror::Error;

/// One line of an agent's events.
pub const MAX_EVENT: usize = 16 * 1024;

/// An agent sent a line longer than [`MAX_EVENT`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("an event is longer than {MAX_EVENT} bytes")]
pub(crate) struct EventTooLong;

/// Cuts an agent's bytes into events.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    line: Vec<u8>,
}

impl EventReader {
    /// Bytes came from the agent. What cannot be read is told and passed over, because agents of other versions may
    /// say more.
    ///
    /// # Errors
    /// If a line is too long. The rest cannot be told apart any more.
    pub(crate) fn handle_bytes(
        &mut self,
        bytes: &[u8],
        mut handle: impl FnMut(Result<AgentEvent, serde_json::Error>),
    ) -> Result<(), EventTooLong> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            if self.line.len() + text.len() > MAX_EVENT {
                return Err(EventTooLong);
            }
            self.line.extend_from_slice(text);
            if is_whole {
                handle(serde_json::from_slice(&self.line));
                self.line.clear();
            }
        }
        Ok(())
    }
}
