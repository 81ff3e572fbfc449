//! Who waits for which answer of the printer's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

/// Numbers of the agent's questions begin far from those of the printer's own programs.
const FIRST_NUMBER: u64 = 1_000_000_000;
/// Questions that nobody has answered yet.
const MAX_WAITING: usize = 64;
/// The printer's reports of its state bear numbers of their own.
const REPORT: &str = "push_status";
/// The question that such a report answers.
const ASK_FOR_REPORT: &str = "pushall";

/// Questions that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    asked: AtomicU64,
    waiting_by_number: Mutex<HashMap<String, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    takes_reports: bool,
    answer: oneshot::Sender<Value>,
}

impl Answers {
    /// A number for a question, as the printer wants it.
    pub(super) fn next_number(&self) -> String {
        (FIRST_NUMBER + self.asked.fetch_add(1, Ordering::Relaxed)).to_string()
    }

    /// Waits for the answer to a question of this number, about `command`; `None` if too many are waiting.
    pub(super) fn wait(&self, number: &str, command: &str) -> Option<oneshot::Receiver<Value>> {
        let mut waiting = self.waiting_by_number.lock();
        waiting.retain(|_, waiting| !waiting.answer.is_closed());
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        waiting.insert(number.to_owned(), Waiting { takes_reports: command == ASK_FOR_REPORT, answer });
        Some(answered)
    }

    /// Passes a message on to whoever waits for it.
    pub(super) fn handle(&self, message: &Map<String, Value>) {
        let mut waiting = self.waiting_by_number.lock();
        for subject in message.values() {
            let Some(number) = number_of(subject) else { continue };
            let is_report = subject["command"] == REPORT;
            if waiting.get(&number).is_some_and(|waiting| waiting.takes_reports || !is_report)
                && let Some(found) = waiting.remove(&number)
            {
                // Whoever has gone does not need it.
                let _ = found.answer.send(Value::Object(message.clone()));
            }
        }
    }
}

/// The number of a question or an answer. Some firmware writes it as a number.
pub(super) fn number_of(subject: &Value) -> Option<String> {
    match &subject["sequence_id"] {
        Value::String(number) => Some(number.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether the printer says that it did not do what it was told, and why.
pub(super) fn refusal(subject: &Value) -> Option<String> {
    const MAX_REASON: usize = 200;
    let result = subject["result"].as_str()?;
    // `fail`, `failed`, `FAIL`, as the firmware pleases.
    let is_refusal = result.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("fail"));
    let reason = subject["reason"].as_str().filter(|reason| !reason.trim().is_empty()).unwrap_or("no reason");
    is_refusal.then(|| reason.chars().filter(|letter| !letter.is_control()).take(MAX_REASON).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use serde_json::json;

    use super::*;

    fn handle(answers: &Answers, message: Value) {
        answers.handle(message.as_object().unwrap());
    }

    #[tokio::test]
    async fn answers_find_their_questions() {
        let answers = Answers::default();
        assert_eq!((answers.next_number(), answers.next_number()), ("1000000000".into(), "1000000001".into()));
        let mut one = answers.wait("7", "x").unwrap();
        let all = answers.wait("8", "pushall").unwrap();
        handle(&answers, json!({"print": {"command": "push_status", "sequence_id": "7"}, "a": 1, "b": [], "c": null}));
        handle(&answers, json!({"print": {"command": "x", "sequence_id": "9"}}));
        assert!(one.try_recv().is_err());
        handle(&answers, json!({"system": {"command": "y", "sequence_id": 7, "result": "success"}}));
        assert_eq!(one.await.unwrap()["system"]["result"], "success");
        handle(&answers, json!({"print": {"command": "push_status", "sequence_id": "8"}}));
        assert!(all.await.is_ok());
        let waiting: Vec<_> = (0..MAX_WAITING).map(|number| answers.wait(&number.to_string(), "x").unwrap()).collect();
        assert!(answers.wait("late", "x").is_none());
        drop(waiting);
        assert!(answers.wait("late", "x").is_some());
    }

    #[test]
    fn refusals_have_reasons() {
        for (answer, expected) in [
            (json!({"result": "success", "reason": "x"}), None),
            (json!({"result": "FAIL", "reason": "no\nway"}), Some("noway")),
            (json!({"result": "failed", "reason": ""}), Some("no reason")),
            (json!({"result": 7}), None),
            (json!({"result": "ä"}), None),
            (json!(null), None),
        ] {
            assert_eq!(refusal(&answer).as_deref(), expected, "{answer}");
        }
    }
}
