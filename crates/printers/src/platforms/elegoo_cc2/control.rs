//! What the printer is told.

use serde_json::{Value, json};

use super::ElegooCc2;
use super::state::LIGHT;
use crate::mqtt::{Message, Qos};
use crate::platforms::{CommandFailure, Heat, Move, NativeAnswer, NativeCommand, Outcome};

/// Numbers of what it can be asked.
pub(super) mod method {
    pub(in super::super) const ATTRIBUTES: u32 = 1001;
    pub(in super::super) const STATUS: u32 = 1002;
    pub(in super::super) const PAUSE: u32 = 1021;
    pub(in super::super) const STOP: u32 = 1022;
    pub(in super::super) const RESUME: u32 = 1023;
    pub(in super::super) const HOME: u32 = 1026;
    pub(in super::super) const MOVE: u32 = 1027;
    pub(in super::super) const HEAT: u32 = 1028;
    pub(in super::super) const LIGHT: u32 = 1029;
    pub(in super::super) const CAMERA: u32 = 1042;
}

impl ElegooCc2 {
    /// Tells it something that has no parameters.
    pub(super) async fn order(&self, method: u32) -> Outcome<()> {
        self.call(method, json!({})).await
    }

    pub(super) async fn home_all(&self) -> Outcome<()> {
        self.call(method::HOME, json!({"homed_axes": "xyz"})).await
    }

    pub(super) async fn move_by(&self, movement: Move) -> Outcome<()> {
        let axes = movement.axis.letter().to_ascii_lowercase();
        self.call(method::MOVE, json!({"axes": axes, "distance": movement.distance_mm})).await
    }

    pub(super) async fn heat(&self, heat: Heat) -> Outcome<()> {
        // Its chamber is warmed by the bed alone.
        if heat.chamber.is_some() {
            return Err(CommandFailure::NotSupported);
        }
        if heat.tool_number.is_some_and(|number| number > 0) {
            return Err(CommandFailure::BadArguments("the printer has one tool, number 0".to_owned()));
        }
        let mut params = json!({});
        if let Some(bed) = heat.bed {
            params["heater_bed"] = json!(bed);
        }
        if let Some(tool) = heat.tool {
            params["extruder"] = json!(tool);
        }
        self.call(method::HEAT, params).await
    }

    pub(super) async fn switch_light(&self, name: Option<&str>, on: bool) -> Outcome<()> {
        self.context.publisher.check()?;
        if name.is_some_and(|name| name != LIGHT) {
            return Err(CommandFailure::BadArguments(format!("there is no light of this name, only `{LIGHT}`")));
        }
        // Firmwares differ in which of the two they obey.
        let (brightness, power) = if on { (255, 1) } else { (0, 0) };
        self.call(method::LIGHT, json!({"brightness": brightness, "power": power})).await
    }

    /// Passes on a message of somebody who speaks the printer's language.
    pub(super) async fn pass_native(&self, command: &NativeCommand) -> Outcome<NativeAnswer> {
        let bad = |message: &str| CommandFailure::BadArguments(message.to_owned());
        let of = |names: [&str; 4]| names.into_iter().find_map(|name| command.request.get(name));
        let method = of(["Method", "method", "Cmd", "cmd"]).and_then(Value::as_u64);
        let method = method.and_then(|method| u32::try_from(method).ok());
        let method = method.ok_or_else(|| bad("`Request` needs a number as `Method`"))?;
        let params = match of(["Params", "params", "Data", "data"]) {
            None | Some(Value::Null) => json!({}),
            Some(params @ Value::Object(_)) => params.clone(),
            Some(_) => return Err(bad("`Params` must be an object")),
        };
        if !command.wait_for_response {
            let message = self.question(self.pending.number(), method, &params);
            self.broker.publish(message).await?;
            return Ok(NativeAnswer { response: None, is_error: false });
        }
        let answer = self.ask(method, &params).await?;
        let is_error = error_code(&answer) != 0;
        let response = json!({"Topic": self.topics.response, "Payload": answer, "Qos": 0, "Retain": false});
        Ok(NativeAnswer { response: Some(response), is_error })
    }

    async fn call(&self, method: u32, params: Value) -> Outcome<()> {
        let answer = self.ask(method, &params).await?;
        match error_code(&answer) {
            0 => Ok(()),
            code => Err(CommandFailure::Failed(format!("the printer refuses, with its error {code}"))),
        }
    }

    /// Asks, and waits for the answer for as long as the caller does.
    async fn ask(&self, method: u32, params: &Value) -> Outcome<Value> {
        self.context.publisher.check()?;
        let question = self.pending.ask();
        let mut question =
            question.ok_or_else(|| CommandFailure::Failed("the printer is asked too much at once".to_owned()))?;
        self.broker.publish(self.question(question.id, method, params)).await?;
        let lost = || CommandFailure::NotConnected("the connection to the printer broke off".to_owned());
        question.answer().await.ok_or_else(lost)
    }

    /// A question as it travels.
    pub(super) fn question(&self, id: u64, method: u32, params: &Value) -> Message {
        request(&self.topics.request, &json!({"id": id, "method": method, "params": params}))
    }
}

/// A message to the printer.
pub(super) fn request(topic: &str, payload: &Value) -> Message {
    Message { topic: topic.to_owned(), payload: payload.to_string().into(), qos: Qos::AtMostOnce, retain: false }
}

/// 0 where all is well; a printer that does not say has done it.
fn error_code(answer: &Value) -> i64 {
    answer["result"]["error_code"].as_i64().unwrap_or(0)
}
