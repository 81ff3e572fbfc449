//! Requests to the printer through the one connection, and which answer belongs to which.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::message::{self, Answer};
use crate::platforms::{CommandFailure, Outcome, Publisher};

/// Requests that wait to be sent. More at once come from somebody who wants to do harm.
const MAX_WAITING: usize = 16;
/// Requests without an answer. Those whose askers gave up are forgotten first.
const MAX_PENDING: usize = 64;

/// A request on its way to the session.
pub(super) struct Call {
    pub(super) command: u64,
    pub(super) data: Value,
    answer: oneshot::Sender<Answer>,
}

/// Asks through the session, while there is one.
#[derive(Default)]
pub(super) struct Calls {
    sender: Mutex<Option<mpsc::Sender<Call>>>,
}

impl Calls {
    /// A session begins; it takes the requests from here until it is dropped.
    pub(super) fn begin(&self) -> mpsc::Receiver<Call> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        *self.sender.lock() = Some(sender);
        receiver
    }

    /// Asks, and waits for the answer.
    pub(super) async fn call(&self, publisher: &Publisher, command: u64, data: Value) -> Outcome<Answer> {
        self.ask(publisher, command, data).await?.await.map_err(|_| lost(publisher))
    }

    /// Asks, and does not care for the answer.
    pub(super) async fn tell(&self, publisher: &Publisher, command: u64, data: Value) -> Outcome<()> {
        self.ask(publisher, command, data).await.map(drop)
    }

    async fn ask(&self, publisher: &Publisher, command: u64, data: Value) -> Outcome<oneshot::Receiver<Answer>> {
        let sender = self.sender.lock().clone().ok_or_else(|| lost(publisher))?;
        let (answer, answered) = oneshot::channel();
        sender.send(Call { command, data, answer }).await.map_err(|_| lost(publisher))?;
        Ok(answered)
    }
}

fn lost(publisher: &Publisher) -> CommandFailure {
    let problem = || CommandFailure::NotConnected("the connection to the printer is lost".to_owned());
    publisher.check().err().unwrap_or_else(problem)
}

/// Requests on their way, by the id that their answers carry.
pub(super) struct Pending {
    answers_by_id: HashMap<String, oneshot::Sender<Answer>>,
    /// What the ids begin with, which no other client of the printer uses.
    prefix: u64,
    asked: u64,
}

impl Pending {
    pub(super) fn new() -> Self {
        // Nothing depends on it being secret: the printer shows answers to all its clients.
        Self { answers_by_id: HashMap::new(), prefix: getrandom::u64().unwrap_or_default(), asked: 0 }
    }

    /// The request as it is sent; `None` if too many are on their way, whose asker then learns that it was not asked.
    pub(super) fn ask(&mut self, call: Call) -> Option<String> {
        if self.answers_by_id.len() >= MAX_PENDING {
            self.answers_by_id.retain(|_, answer| !answer.is_closed());
        }
        if self.answers_by_id.len() >= MAX_PENDING {
            return None;
        }
        let id = self.new_id();
        let request = message::request(call.command, &call.data, &id);
        self.answers_by_id.insert(id, call.answer);
        Some(request)
    }

    /// The id of a request of 32 characters.
    pub(super) fn new_id(&mut self) -> String {
        self.asked += 1;
        format!("{:016x}{:016x}", self.prefix, self.asked)
    }

    /// Passes an answer on; the answer itself if nobody here asked for it.
    pub(super) fn handle(&mut self, answer: Answer) -> Option<Answer> {
        let Some(waiting) = self.answers_by_id.remove(&answer.request_id) else { return Some(answer) };
        // Whoever has gone does not need it.
        let _ = waiting.send(answer);
        None
    }
}
