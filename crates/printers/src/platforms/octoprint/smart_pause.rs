//! Smart pause: the hot parts cool down while a failed print waits for somebody, and heat up before it goes on.
//!
//! An agent outside OctoPrint cannot make the head move for sure before and after a pause, since a resume pressed in
//! OctoPrint itself would not know of it. Heaters can be set at any time, and only down to where nothing is lost.

use model::printing::Phase;
use serde_json::{Map, Value};

use crate::platforms::PauseOrder;

/// Degrees of a hot end that waits: filament neither flows nor burns, and it is soon hot again.
const HOTEND_STANDBY: f64 = 150.0;
/// Degrees of a bed that waits: most parts still stick.
const BED_STANDBY: f64 = 40.0;

/// Which heaters were set lower, and from where.
#[derive(Debug, Default)]
pub(super) struct SmartPause {
    asked: Option<PauseOrder>,
    cooled: Option<Cooled>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Cooled {
    bed: Option<f64>,
    tools: Vec<(u32, f64)>,
}

impl SmartPause {
    /// A smart pause was asked for, and OctoPrint takes it.
    pub(super) fn handle_order(&mut self, order: &PauseOrder) {
        self.asked = Some(order.clone()).filter(|order| order.smart);
    }

    /// Lines for a printer that is in `phase` and whose `heaters` are OctoPrint's `temperature`.
    pub(super) fn handle_look(&mut self, phase: Phase, is_paused: bool, heaters: &Map<String, Value>) -> Vec<String> {
        if !phase.is_active() {
            // Whoever ended the print decides about the heaters.
            *self = Self::default();
            return vec![];
        }
        if is_paused && let Some(order) = self.asked.take() {
            let cooled = cool(&order, heaters);
            let lines = lines(&cooled, ("M140", "M104"), |old, standby| old.min(standby));
            self.cooled = Some(cooled);
            return lines;
        }
        // Somebody has pressed resume in OctoPrint: late is better than never.
        let goes_on = !matches!(phase, Phase::Paused);
        match self.cooled.take_if(|_| goes_on) {
            Some(cooled) => lines(&cooled, ("M140", "M104"), |old, _| old),
            None => vec![],
        }
    }

    /// Lines to send before the print goes on; they wait for the heaters.
    pub(super) fn handle_resume(&mut self) -> Vec<String> {
        self.asked = None;
        self.cooled.take().map(|cooled| lines(&cooled, ("M190", "M109"), |old, _| old)).unwrap_or_default()
    }
}

fn cool(order: &PauseOrder, heaters: &Map<String, Value>) -> Cooled {
    let wanted = |heater: &Value| {
        let target = heater["target"].as_f64()? + heater["offset"].as_f64().unwrap_or(0.0);
        Some(target).filter(|target| target.is_finite())
    };
    let bed = heaters.get("bed").and_then(wanted).filter(|target| order.disable_bed && *target > BED_STANDBY);
    let tools = heaters.iter().filter_map(|(name, heater)| {
        let number: u32 = name.strip_prefix("tool")?.parse().ok()?;
        Some((number, wanted(heater).filter(|target| order.disable_hotend && *target > HOTEND_STANDBY)?))
    });
    Cooled { bed, tools: tools.collect() }
}

fn lines(cooled: &Cooled, (bed, tool): (&str, &str), degrees: impl Fn(f64, f64) -> f64) -> Vec<String> {
    let bed = cooled.bed.map(|old| format!("{bed} S{}", degrees(old, BED_STANDBY)));
    let tools = cooled.tools.iter().map(|(n, old)| format!("{tool} T{n} S{}", degrees(*old, HOTEND_STANDBY)));
    bed.into_iter().chain(tools).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hot() -> Map<String, Value> {
        [
            ("bed", json!({"target": 60, "offset": 0})),
            ("tool0", json!({"target": 210.0, "offset": 5})),
            ("tool1", json!({"target": 0})),
            ("chamber", json!({"target": 50})),
        ]
        .map(|(name, heater)| (name.to_owned(), heater))
        .into_iter()
        .collect()
    }

    fn paused(order: PauseOrder) -> (SmartPause, Vec<String>) {
        let mut pause = SmartPause::default();
        pause.handle_order(&order);
        assert!(pause.handle_look(Phase::Printing, false, &hot()).is_empty(), "it still prints");
        assert!(pause.handle_look(Phase::Paused, false, &hot()).is_empty(), "it is about to pause");
        let lines = pause.handle_look(Phase::Paused, true, &hot());
        assert!(pause.handle_look(Phase::Paused, true, &hot()).is_empty(), "once");
        (pause, lines)
    }

    #[test]
    fn heaters_go_down_to_where_they_wait_and_come_back() {
        let smart = PauseOrder { smart: true, disable_hotend: true, disable_bed: true, ..PauseOrder::PLAIN };
        let (mut pause, lines) = paused(smart.clone());
        assert_eq!(lines, ["M140 S40", "M104 T0 S150"]);
        assert_eq!(pause.handle_resume(), ["M190 S60", "M109 T0 S215"]);
        assert!(pause.handle_resume().is_empty());
        // Resumed by somebody else, or cancelled.
        let (mut pause, _) = paused(smart.clone());
        assert_eq!(pause.handle_look(Phase::Printing, false, &hot()), ["M140 S60", "M104 T0 S215"]);
        let (mut pause, _) = paused(smart);
        assert!(pause.handle_look(Phase::Cancelled, false, &hot()).is_empty() && pause.handle_resume().is_empty());
    }

    #[test]
    fn a_plain_pause_leaves_everything_hot() {
        assert!(paused(PauseOrder { disable_bed: true, ..PauseOrder::PLAIN }).1.is_empty());
        let bed_stays = PauseOrder { smart: true, disable_hotend: true, ..PauseOrder::PLAIN };
        assert_eq!(paused(bed_stays).1, ["M104 T0 S150"]);
    }
}
