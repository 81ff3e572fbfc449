//! Commands that move, heat and print.

use std::time::Duration;

use serde_json::{Value, json};

use super::arguments::{Arguments, missing};
use super::{CommandApi, FRESH};
use crate::platforms::{Axis, CommandFailure, Heat, Move, Outcome, PauseOrder, Root, StartOrder, feature};
use crate::print_control::{self, PrintOrder};

/// Degrees for bed and chamber. The interface's own limit, whatever the printer's.
const MAX_BED: f64 = 75.0;
/// Degrees for a hot end.
const MAX_TOOL: f64 = 260.0;
/// Millimetres of one movement; longer than most printers are wide.
const MAX_MOVE: f64 = 500.0;
/// Millimetres of filament at once: more than a hot end holds, less than a spool jams on.
const MAX_EXTRUDE: f64 = 200.0;
/// Hot ends are counted from 0; nobody has more.
const MAX_TOOL_NUMBER: u32 = 15;
/// Millimetres that a smart pause may lift or pull.
const MAX_SMART: f64 = 100.0;
/// A pause that comes this late was somebody else's.
const PAUSE_COMES_WITHIN: Duration = Duration::from_secs(20);

impl CommandApi {
    pub(super) async fn pause(&self, arguments: &Arguments) -> Outcome<Value> {
        let smart = arguments.truth(&["SmartPause"])?.unwrap_or(false);
        let order = PauseOrder {
            smart,
            disable_hotend: arguments.truth(&["DisableHotend"])?.unwrap_or(true),
            disable_bed: arguments.truth(&["DisableBed"])?.unwrap_or(false),
            lift_mm: arguments.number_within(&["ZLiftMm"], 0.0, MAX_SMART)?.unwrap_or(0.0),
            retract_mm: arguments.number_within(&["RetractFilamentMm"], 0.0, MAX_SMART)?.unwrap_or(0.0),
        };
        arguments.truth(&["ShowSmartPausePopup"])?;
        // Whoever sends nothing at all is a program from before there were arguments, and tells its user itself.
        let without_words = if arguments.had_body() { smart } else { true };
        let is_quiet = arguments.truth(&["SuppressNotification"])?.unwrap_or(without_words);
        let publisher = &self.shared.context.publisher;
        let platform = self.platform()?;
        if is_quiet {
            publisher.expect_quiet_pause(PAUSE_COMES_WITHIN);
        }
        let told = print_control::tell(&platform, publisher, &PrintOrder::Pause(order)).await;
        if told.is_err() {
            publisher.expect_no_pause();
        }
        told.map(|()| json!({}))
    }

    pub(super) async fn resume(&self) -> Outcome<Value> {
        print_control::tell(&self.platform()?, &self.shared.context.publisher, &PrintOrder::Resume).await?;
        Ok(json!({}))
    }

    pub(super) async fn cancel(&self) -> Outcome<Value> {
        print_control::tell(&self.platform()?, &self.shared.context.publisher, &PrintOrder::Cancel).await?;
        Ok(json!({}))
    }

    pub(super) async fn start(&self, arguments: &Arguments) -> Outcome<Value> {
        let path = super::files::path_argument(arguments, &["Path", "filepath", "file"])?;
        if path.root() != Root::Gcode {
            return Err(CommandFailure::BadArguments("only files below `gcode` can be printed".to_owned()));
        }
        let platform = self.able(feature::START, Duration::ZERO).await?;
        let state = self.shared.context.publisher.state();
        if state.phase.is_active() {
            return Err(CommandFailure::WrongState(format!("the printer is {}: a print is under way", state.phase)));
        }
        let order = StartOrder { path, extras: arguments.all().clone() };
        let change = platform.start(&order).await?;
        Ok(super::files::change_result(&order.path, change, None))
    }

    pub(super) async fn set_light(&self, arguments: &Arguments) -> Outcome<Value> {
        let name = arguments.text(&["Name"])?.ok_or_else(|| missing("Name"))?;
        let on = arguments.truth(&["On"])?.ok_or_else(|| missing("On"))?;
        let platform = self.able(feature::LIGHT, FRESH).await?;
        print_control::switch_light(&platform, &self.shared.context.publisher, Some(name), on).await?;
        Ok(json!({}))
    }

    pub(super) async fn move_axis(&self, arguments: &Arguments) -> Outcome<Value> {
        let axis = arguments.text(&["Axis"])?.ok_or_else(|| missing("Axis"))?;
        let axis = match axis.trim() {
            "x" | "X" => Axis::X,
            "y" | "Y" => Axis::Y,
            "z" | "Z" => Axis::Z,
            _ => return Err(CommandFailure::BadArguments("`Axis` must be X, Y or Z".to_owned())),
        };
        let distance = arguments.number_within(&["DistanceMm"], -MAX_MOVE, MAX_MOVE)?;
        let distance_mm = distance.ok_or_else(|| missing("DistanceMm"))?;
        self.able(feature::MOVE, FRESH).await?.move_axis(Move { axis, distance_mm }).await?;
        Ok(json!({}))
    }

    pub(super) async fn home(&self) -> Outcome<Value> {
        self.able(feature::HOME, FRESH).await?.home().await?;
        Ok(json!({}))
    }

    pub(super) async fn extrude(&self, arguments: &Arguments) -> Outcome<Value> {
        let extruder = arguments.whole(&["Extruder"], MAX_TOOL_NUMBER)?.ok_or_else(|| missing("Extruder"))?;
        let distance = arguments.number_within(&["DistanceMm"], -MAX_EXTRUDE, MAX_EXTRUDE)?;
        let distance_mm = distance.ok_or_else(|| missing("DistanceMm"))?;
        self.able(feature::EXTRUDE, FRESH).await?.extrude(extruder, distance_mm).await?;
        Ok(json!({}))
    }

    pub(super) async fn set_temperatures(&self, arguments: &Arguments) -> Outcome<Value> {
        let heat = Heat {
            bed: arguments.number_within(&["BedC"], 0.0, MAX_BED)?,
            chamber: arguments.number_within(&["ChamberC"], 0.0, MAX_BED)?,
            tool: arguments.number_within(&["ToolC"], 0.0, MAX_TOOL)?,
            tool_number: arguments.whole(&["ToolNumber"], MAX_TOOL_NUMBER)?,
        };
        if heat.bed.is_none() && heat.chamber.is_none() && heat.tool.is_none() {
            return Err(CommandFailure::BadArguments("one of `BedC`, `ChamberC` and `ToolC` is needed".to_owned()));
        }
        self.able(feature::SET_TEMP, FRESH).await?.set_temperatures(heat).await?;
        Ok(json!({}))
    }
}
