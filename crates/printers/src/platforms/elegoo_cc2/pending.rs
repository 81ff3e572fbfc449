//! Questions that the printer has not answered yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

/// Questions at once; each is a visitor who waits.
const MAX_QUESTIONS: usize = 64;

/// Questions by their number.
#[derive(Default)]
pub(super) struct Pending {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
}

/// One question; it is forgotten when this is dropped.
pub(super) struct Question<'a> {
    pending: &'a Pending,
    pub(super) id: u64,
    answer: oneshot::Receiver<Value>,
}

impl Pending {
    /// A number that is in use by nobody.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A question with a number of its own; `None` where there are too many.
    pub(super) fn ask(&self) -> Option<Question<'_>> {
        let id = self.number();
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_QUESTIONS {
            return None;
        }
        waiting.insert(id, sender);
        drop(waiting);
        Some(Question { pending: self, id, answer })
    }

    /// The printer has answered. What nobody waits for is passed over.
    pub(super) fn handle(&self, id: u64, answer: Value) {
        if let Some(waiting) = self.waiting.lock().remove(&id) {
            // Whoever does not wait any more needs no answer.
            let _ = waiting.send(answer);
        }
    }

    /// There will be no answers.
    pub(super) fn clear(&self) {
        self.waiting.lock().clear();
    }
}

impl Question<'_> {
    /// Waits for the answer; `None` if the connection is lost first.
    pub(super) async fn answer(&mut self) -> Option<Value> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.pending.waiting.lock().remove(&self.id);
    }
}
