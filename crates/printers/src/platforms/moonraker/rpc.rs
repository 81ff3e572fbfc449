//! Questions to Moonraker over the connection that observes it (JSON-RPC 2.0).

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::platforms::{CommandFailure, Publisher};

/// Questions that wait to be sent. More at once come from somebody who wants to do harm.
const MAX_WAITING: usize = 16;
/// Questions without an answer. Those whose askers gave up are forgotten first.
const MAX_PENDING: usize = 64;
/// Below it are the numbers of the session's own questions.
const FIRST_NUMBER: u64 = 1000;

/// An error that Moonraker answers with.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct RpcError {
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
}

impl RpcError {
    /// Whether it is about who asks. What is wrong with a question's parameters has the same number.
    pub(super) fn is_about_key(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        (self.code == -32602 && !message.contains("invalid params"))
            || message.contains("unauthorized")
            || message.contains("forbidden")
    }
}

/// Why a question has no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallFailure {
    /// It could not be asked.
    NotAsked(CommandFailure),
    /// Moonraker says no.
    Refused(RpcError),
}

impl From<CallFailure> for CommandFailure {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::NotAsked(failure) => failure,
            CallFailure::Refused(error) if error.is_about_key() => {
                Self::CredentialsRejected(format!("Moonraker does not allow that: {}", error.message))
            }
            // What Moonraker says while Klipper is away.
            CallFailure::Refused(error) if error.code == 503 => Self::NotConnected(error.message),
            CallFailure::Refused(error) if matches!(error.code, 404 | -32601) => Self::NotFound(error.message),
            CallFailure::Refused(error) => Self::Failed(format!("the printer answers: {}", error.message)),
        }
    }
}

pub(super) struct Call {
    pub(super) method: String,
    pub(super) params: Value,
    answer: oneshot::Sender<Result<Value, RpcError>>,
}

/// Asks through the session, while there is one.
#[derive(Default)]
pub(super) struct Rpc {
    calls: Mutex<Option<mpsc::Sender<Call>>>,
}

impl Rpc {
    /// A session begins; it takes the questions from here until it is dropped.
    pub(super) fn begin(&self) -> mpsc::Receiver<Call> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        *self.calls.lock() = Some(sender);
        receiver
    }

    /// Asks, and waits for the answer.
    pub(super) async fn call(&self, publisher: &Publisher, method: &str, params: Value) -> Result<Value, CallFailure> {
        let answered = self.ask(publisher, method, params).await?;
        answered.await.map_err(|_| lost(publisher))?.map_err(CallFailure::Refused)
    }

    /// Asks, and does not care for the answer.
    pub(super) async fn tell(&self, publisher: &Publisher, method: &str, params: Value) -> Result<(), CallFailure> {
        self.ask(publisher, method, params).await.map(drop)
    }

    async fn ask(
        &self,
        publisher: &Publisher,
        method: &str,
        params: Value,
    ) -> Result<oneshot::Receiver<Result<Value, RpcError>>, CallFailure> {
        let calls = self.calls.lock().clone().ok_or_else(|| lost(publisher))?;
        let (answer, answered) = oneshot::channel();
        calls.send(Call { method: method.to_owned(), params, answer }).await.map_err(|_| lost(publisher))?;
        Ok(answered)
    }
}

fn lost(publisher: &Publisher) -> CallFailure {
    let problem = || CommandFailure::NotConnected("the connection to Moonraker is lost".to_owned());
    CallFailure::NotAsked(publisher.check().err().unwrap_or_else(problem))
}

/// Questions on their way, by number.
#[derive(Default)]
pub(super) struct Pending {
    answers_by_number: HashMap<u64, oneshot::Sender<Result<Value, RpcError>>>,
    asked: u64,
}

impl Pending {
    /// The question as it is sent; `None` if too many are on their way, whose asker then learns that it was not asked.
    pub(super) fn ask(&mut self, call: Call) -> Option<String> {
        if self.answers_by_number.len() >= MAX_PENDING {
            self.answers_by_number.retain(|_, answer| !answer.is_closed());
        }
        if self.answers_by_number.len() >= MAX_PENDING {
            return None;
        }
        let number = FIRST_NUMBER + self.asked;
        self.asked += 1;
        self.answers_by_number.insert(number, call.answer);
        Some(json!({"jsonrpc": "2.0", "id": number, "method": call.method, "params": call.params}).to_string())
    }

    /// Passes an answer on; `false` if nobody here asked for it.
    pub(super) fn handle(&mut self, number: u64, answer: Result<Value, RpcError>) -> bool {
        let Some(waiting) = self.answers_by_number.remove(&number) else { return false };
        // Whoever has gone does not need it.
        let _ = waiting.send(answer);
        true
    }
}
