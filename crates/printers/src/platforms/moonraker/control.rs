//! What Klipper is told, through Moonraker.

use serde_json::{Value, json};

use super::Moonraker;
use super::lights::Switch;
use super::rpc::CallFailure;
use crate::platforms::{
    Axis, CommandFailure, FileChange, Heat, Move, NativeAnswer, NativeCommand, Outcome, StartOrder,
};

/// Klipper's names of extruders end there.
const MAX_EXTRUDER: u32 = 10;

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

    /// Runs lines and leaves Klipper's modes as they were: somebody's print or console may depend on them.
    async fn run_aside(&self, lines: &str) -> Outcome<()> {
        self.run(&format!("SAVE_GCODE_STATE NAME=spoolway\n{lines}\nRESTORE_GCODE_STATE NAME=spoolway")).await
    }

    pub(super) async fn move_by(&self, movement: Move) -> Outcome<()> {
        // Z is slow on every printer.
        let speed = if movement.axis == Axis::Z { 500 } else { 3000 };
        let (axis, distance) = (movement.axis.letter(), movement.distance_mm);
        self.run_aside(&format!("G91\nG1 {axis}{distance} F{speed}")).await
    }

    pub(super) async fn extrude_by(&self, extruder: u32, distance_mm: f64) -> Outcome<()> {
        if extruder > MAX_EXTRUDER {
            return Err(CommandFailure::BadArguments(format!("`Extruder` must be from 0 to {MAX_EXTRUDER}")));
        }
        let tool = if extruder > 0 { format!("T{extruder}\n") } else { String::new() };
        self.run_aside(&format!("{tool}M83\nG1 E{distance_mm} F300")).await
    }

    pub(super) async fn heat(&self, heat: Heat) -> Outcome<()> {
        let mut lines = Vec::new();
        if let Some(bed) = heat.bed {
            lines.push(format!("M140 S{bed}"));
        }
        if let Some(tool) = heat.tool {
            let number = heat.tool_number.map(|number| format!("T{number} ")).unwrap_or_default();
            lines.push(format!("M104 {number}S{tool}"));
        }
        if let Some(chamber) = heat.chamber {
            let heater = self.parts().chamber_heater.ok_or(CommandFailure::NotSupported)?;
            lines.push(format!("SET_HEATER_TEMPERATURE HEATER={heater} TARGET={chamber}"));
        }
        self.run(&lines.join("\n")).await
    }

    pub(super) async fn start_print(&self, order: &StartOrder) -> Outcome<FileChange> {
        let answer = self.call("printer.print.start", json!({"filename": order.path.relative()})).await;
        let answer = answer.map_err(refusal)?;
        let platform_path = order.path.relative().to_owned();
        Ok(FileChange { platform_path, stored_as: None, printer_response: Some(answer) })
    }

    pub(super) async fn pass_native(&self, command: &NativeCommand) -> Outcome<NativeAnswer> {
        let of = |names: [&str; 2]| names.into_iter().find_map(|name| command.request.get(name));
        let method = of(["Method", "method"]).and_then(Value::as_str).filter(|method| !method.is_empty());
        let bad = |message: &str| CommandFailure::BadArguments(message.to_owned());
        let method = method.ok_or_else(|| bad("`Request` needs a `Method`"))?;
        let params = match of(["Params", "params"]) {
            None | Some(Value::Null) => json!({}),
            Some(params @ Value::Object(_)) => params.clone(),
            Some(_) => return Err(bad("`Params` must be an object")),
        };
        if !command.wait_for_response {
            self.rpc.tell(&self.context.publisher, method, params).await?;
            return Ok(NativeAnswer { response: None, is_error: false });
        }
        match self.call(method, params).await {
            Ok(result) => Ok(NativeAnswer { response: Some(json!({"result": result})), is_error: false }),
            Err(CallFailure::Refused(error)) => {
                let response = json!({"error": {"code": error.code, "message": error.message}});
                Ok(NativeAnswer { response: Some(response), is_error: true })
            }
            Err(failure) => Err(failure.into()),
        }
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
