//! What Klipper is told, through Moonraker.

use serde_json::{Value, json};

use super::Moonraker;
use super::lights::Switch;
use super::rpc::CallFailure;
use crate::platforms::{CommandFailure, Outcome};

impl Moonraker {
    /// Pauses, resumes or cancels.
    pub(super) async fn tell(&self, method: &str) -> Outcome<()> {
        match self.call(method, json!({})).await {
            Ok(Value::String(answer)) if answer == "ok" => Ok(()),
            Ok(answer) => Err(CommandFailure::BadArguments(format!("the printer refuses: {answer}"))),
            Err(failure) => Err(refusal(failure)),
        }
    }

    /// Has Klipper carry out lines of G-code.
    pub(super) async fn run(&self, script: &str) -> Outcome<()> {
        self.call("printer.gcode.script", json!({"script": script})).await?;
        Ok(())
    }

    pub(super) async fn switch_light(&self, name: Option<&str>, on: bool) -> Outcome<()> {
        let lights = self.parts().lights;
        let light = match (name, lights.as_slice()) {
            (_, []) => {
                // Where nothing is known of the printer, nothing is known of its lights either.
                self.context.publisher.check()?;
                return Err(CommandFailure::NotSupported);
            }
            (None, [only]) => only,
            // To switch one of several would be a guess.
            (None, _) => return Err(CommandFailure::NotSupported),
            (Some(name), lights) => lights
                .iter()
                .find(|light| light.name == name)
                .ok_or_else(|| CommandFailure::BadArguments("there is no light of this name".to_owned()))?,
        };
        match light.switch(on) {
            Switch::Script(script) => self.run(&script).await,
            Switch::Device(params) => {
                self.call("machine.device_power.post_device", params).await?;
                Ok(())
            }
        }
    }
}

/// What Klipper does not want to do is the caller's business, and no failure.
pub(super) fn refusal(failure: CallFailure) -> CommandFailure {
    match failure {
        CallFailure::Refused(error) if matches!(error.code, 400 | 409) => {
            CommandFailure::BadArguments(format!("the printer refuses: {}", error.message))
        }
        failure => failure.into(),
    }
}
