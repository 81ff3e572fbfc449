//! What the printer is told.

use std::time::Duration;

use model::printing::{Phase, PrinterCommand, PrinterState};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::answers::{number_of, refusal};
use super::state::{LIGHT, LIGHT_NODE};
use super::{Bambu, start};
use crate::platforms::{CommandFailure, FileChange, NativeAnswer, NativeCommand, Outcome, StartOrder};

/// For the printer to be seen doing what it was told. Whoever asks gives up after ten seconds; half a second is left so
/// that this reason is heard.
const DONE_LIMIT: Duration = Duration::from_millis(9500);
/// For the printer to answer that it starts a print.
const START_LIMIT: Duration = Duration::from_secs(30);

impl Bambu {
    pub(super) async fn pause_print(&self) -> Outcome<()> {
        self.tell_print("pause", |state| state.commands.contains(&PrinterCommand::Resume)).await
    }

    pub(super) async fn resume_print(&self) -> Outcome<()> {
        self.tell_print("resume", |state| state.commands.contains(&PrinterCommand::Pause)).await
    }

    pub(super) async fn cancel_print(&self) -> Outcome<()> {
        let is_over =
            |state: &PrinterState| state.phase != Phase::Unknown && !state.commands.contains(&PrinterCommand::Cancel);
        self.tell_print("stop", is_over).await
    }

    async fn tell_print(&self, command: &str, is_done: impl Fn(&PrinterState) -> bool) -> Outcome<()> {
        self.send(&json!({"print": {"sequence_id": "0", "command": command}})).await?;
        self.until(is_done).await
    }

    pub(super) async fn switch_light(&self, name: Option<&str>, on: bool) -> Outcome<()> {
        if name.is_some_and(|name| name != LIGHT) {
            let problem = format!("there is no light of this name; the only one is `{LIGHT}`");
            return Err(CommandFailure::BadArguments(problem));
        }
        let mode = if on { "on" } else { "off" };
        let message = json!({"system": {"sequence_id": "0", "command": "ledctrl", "led_node": LIGHT_NODE,
            "led_mode": mode, "led_on_time": 500, "led_off_time": 500, "loop_times": 0, "interval_time": 0}});
        self.send(&message).await?;
        // A light that was never reported is not seen to change either.
        self.until(|state| state.light.is_none_or(|is_on| is_on == on)).await
    }

    /// Firmware that does not obey takes every message all the same. Whether it does shows in what it reports.
    async fn until(&self, is_done: impl Fn(&PrinterState) -> bool) -> Outcome<()> {
        let mut states = self.context.publisher.subscribe();
        let seen = timeout(DONE_LIMIT, states.wait_for(|state| is_done(state) || state.problem.is_some())).await;
        match seen {
            Ok(Ok(state)) if is_done(&state) => Ok(()),
            Ok(_) => {
                self.context.publisher.check()?;
                Err(CommandFailure::NotConnected("the connection to the printer broke off".to_owned()))
            }
            Err(_) => Err(CommandFailure::Failed(
                "the printer has taken the command and does not carry it out: is its developer mode switched on?"
                    .to_owned(),
            )),
        }
    }

    pub(super) async fn start_print(&self, order: &StartOrder) -> Outcome<FileChange> {
        let number = self.answers.next_number();
        let (command, message) = start::message(order, &number)?;
        if self.context.publisher.state().commands.contains(&PrinterCommand::Cancel) {
            return Err(CommandFailure::WrongState("a print is under way".to_owned()));
        }
        let answered = self.answers.wait(&number, command).ok_or_else(too_many)?;
        self.send(&message).await?;
        let answer = timeout(START_LIMIT, answered).await;
        let answer = answer
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| CommandFailure::Failed("the printer has not said whether it starts the print".to_owned()))?;
        let print = &answer["print"];
        if let Some(reason) = refusal(print) {
            return Err(CommandFailure::Failed(format!("the printer does not start the print: {reason}")));
        }
        let platform_path = super::files::own_path(order.path.relative());
        Ok(FileChange { platform_path, stored_as: None, printer_response: Some(print.clone()) })
    }

    pub(super) async fn pass_native(&self, command: &NativeCommand) -> Outcome<NativeAnswer> {
        let mut request = command.request.clone();
        let subject = request.values_mut().find(|value| value.is_object());
        let subject = subject.ok_or_else(|| {
            CommandFailure::BadArguments("`Request` needs an object, like `{\"print\": {\"command\": …}}`".to_owned())
        })?;
        let number = match number_of(subject) {
            Some(number) => number,
            None => {
                let number = self.answers.next_number();
                subject["sequence_id"] = json!(number);
                number
            }
        };
        if !command.wait_for_response {
            self.send(&Value::Object(request)).await?;
            return Ok(NativeAnswer { response: None, is_error: false });
        }
        let name = subject["command"].as_str().unwrap_or_default();
        let answered = self.answers.wait(&number, name).ok_or_else(too_many)?;
        self.send(&Value::Object(request)).await?;
        let lost = |_| CommandFailure::Failed("another question of the same number has taken the answer".to_owned());
        let payload = answered.await.map_err(lost)?;
        let is_error =
            payload.as_object().is_some_and(|subjects| subjects.values().any(|subject| refusal(subject).is_some()));
        let response = json!({"Topic": self.reports, "Payload": payload, "Qos": 0, "Retain": false});
        Ok(NativeAnswer { response: Some(response), is_error })
    }
}

fn too_many() -> CommandFailure {
    CommandFailure::Failed("the printer has too many questions to answer".to_owned())
}
