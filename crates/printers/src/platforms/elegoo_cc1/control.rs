//! What the printer is told.

use serde_json::{Value, json};

use super::state::LIGHT;
use super::{Centauri, command};
use crate::platforms::{CommandFailure, NativeAnswer, NativeCommand, Outcome};

impl Centauri {
    /// Tells the printer something, and sees whether it obeys.
    pub(super) async fn tell(&self, command: u64, data: Value) -> Outcome<()> {
        let answer = self.calls.call(&self.context.publisher, command, data).await?;
        match answer.refusal() {
            None => Ok(()),
            Some(number) => Err(CommandFailure::Failed(format!("the printer refuses, with the number {number}"))),
        }
    }

    pub(super) async fn switch_light(&self, name: Option<&str>, on: bool) -> Outcome<()> {
        if name.is_some_and(|name| name != LIGHT) {
            return Err(CommandFailure::BadArguments(format!("there is no light of this name; there is `{LIGHT}`")));
        }
        self.tell(command::LIGHT, json!({"LightStatus": {"SecondLight": on, "RgbLight": [0, 0, 0]}})).await
    }

    pub(super) async fn pass_native(&self, native: &NativeCommand) -> Outcome<NativeAnswer> {
        let (command, data) = read_native(&native.request)?;
        let publisher = &self.context.publisher;
        if !native.wait_for_response {
            self.calls.tell(publisher, command, data).await?;
            return Ok(NativeAnswer { response: None, is_error: false });
        }
        let answer = self.calls.call(publisher, command, data).await?;
        Ok(NativeAnswer { is_error: answer.refusal().is_some(), response: Some(answer.whole) })
    }
}

/// The command's number and its data: flat, or nested as the printer itself has it.
fn read_native(request: &serde_json::Map<String, Value>) -> Outcome<(u64, Value)> {
    let bad = |message: &str| CommandFailure::BadArguments(message.to_owned());
    let of = |object: &serde_json::Map<String, Value>, names: &[&str]| {
        names.iter().find_map(|name| object.get(*name)).filter(|value| !value.is_null()).cloned()
    };
    const NUMBER: [&str; 4] = ["Cmd", "cmd", "Method", "method"];
    const DATA: [&str; 4] = ["Data", "data", "Params", "params"];
    let nested = of(request, &["Data", "data"]).filter(|_| of(request, &NUMBER).is_none());
    let request = nested.as_ref().and_then(Value::as_object).unwrap_or(request);
    let command = of(request, &NUMBER).ok_or_else(|| bad("`Request` needs a `Cmd`"))?;
    let command = command.as_u64().ok_or_else(|| bad("`Cmd` must be a whole number"))?;
    match of(request, &DATA) {
        None => Ok((command, json!({}))),
        Some(data @ Value::Object(_)) => Ok((command, data)),
        Some(_) => Err(bad("`Data` must be an object")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn native_requests_are_flat_or_nested() {
        let read = |request: Value| read_native(request.as_object().unwrap());
        let data = json!({"Url": "/local"});
        for request in [
            json!({"Cmd": 258, "Data": {"Url": "/local"}}),
            json!({"Method": 258, "Params": {"Url": "/local"}}),
            json!({"cmd": 258, "data": {"Url": "/local"}}),
            json!({"Data": {"Cmd": 258, "Data": {"Url": "/local"}}}),
            json!({"Id": "x", "Data": {"Cmd": 258, "Data": {"Url": "/local"}, "RequestID": "mine"}}),
        ] {
            assert_eq!(read(request.clone()), Ok((258, data.clone())), "{request}");
        }
        assert_eq!(read(json!({"Cmd": 0})), Ok((0, json!({}))));
        assert_eq!(read(json!({"Data": {"Cmd": 1, "Data": null}})), Ok((1, json!({}))));
        for request in [
            json!({}),
            json!({"Cmd": "258"}),
            json!({"Cmd": -1}),
            json!({"Cmd": 1.5}),
            json!({"Cmd": true}),
            json!({"Cmd": 1, "Data": []}),
            json!({"Data": {}}),
            json!({"Data": []}),
        ] {
            assert!(matches!(read(request.clone()), Err(CommandFailure::BadArguments(_))), "{request}");
        }
    }
}
