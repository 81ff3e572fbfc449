//! What a page says of one printer, in words.

use std::time::{Duration, SystemTime};

use model::PrinterId;
use model::printing::{Phase, PrinterCommand, PrinterState};
use relay::live::LiveStatus;
use store::{LiveLinkRecord, OwnPrinter, Role};

use crate::text::{duration, iso};

/// One printer, ready to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The path of its view.
    pub(crate) view: String,
    pub(crate) role: &'static str,
    pub(crate) is_owner: bool,
    pub(crate) may_control: bool,
    pub(crate) is_online: bool,
    /// For the badge's colour: `offline`, `idle`, `active`, `attention`, `done`.
    pub(crate) mood: &'static str,
    pub(crate) state: &'static str,
    /// Since when it is offline; none if it never was online.
    pub(crate) offline_since: Option<String>,
    /// Since when it is online.
    pub(crate) online_since: Option<String>,
    pub(crate) never_connected: bool,
    pub(crate) software: String,
    pub(crate) file: Option<String>,
    /// 0 to 100, whole, for bar and text.
    pub(crate) progress: Option<u8>,
    pub(crate) elapsed: Option<String>,
    pub(crate) left: Option<String>,
    /// When it will be done, by the printer's guess.
    pub(crate) until: Option<String>,
    pub(crate) layers: Option<String>,
    pub(crate) temperatures: Vec<Reading>,
    pub(crate) light: Option<bool>,
    pub(crate) message: Option<String>,
    pub(crate) problem: Option<String>,
    pub(crate) cameras: Vec<CameraView>,
    pub(crate) can_pause: bool,
    pub(crate) can_resume: bool,
    pub(crate) can_cancel: bool,
    pub(crate) can_light: bool,
}

/// One heater.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// One camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CameraView {
    pub(crate) index: usize,
    pub(crate) name: String,
    /// Where its moving picture is.
    pub(crate) stream: String,
    /// Classes that flip and turn the picture.
    pub(crate) classes: String,
}

impl Card {
    /// A printer as one of its people sees it.
    pub(crate) fn new(printer: &OwnPrinter, live: Option<&LiveStatus>, now: SystemTime) -> Self {
        let summary = &printer.summary;
        let mut card = Self::of(&summary.id, &summary.name, printer.role, live, now);
        card.offline_since = summary.last_disconnected_at.filter(|_| !card.is_online).map(iso);
        card.online_since = live.map(|live| iso(live.connected_at));
        card.never_connected = summary.last_connected_at.is_none() && !card.is_online;
        card.software = software(&summary.seen.software, &summary.seen.software_version);
        card
    }

    /// A printer as a stranger may see it: what it does, and nothing of where it is or how it is driven.
    pub(crate) fn for_stranger(link: &LiveLinkRecord, live: Option<&LiveStatus>, now: SystemTime) -> Self {
        let mut card = Self::of(&link.printer, &link.printer_name, Role::Viewer, live, now);
        for camera in &mut card.cameras {
            camera.stream = format!("/live/{}/camera/{}", link.id, camera.index);
        }
        // It may name addresses at home.
        card.problem = None;
        card
    }

    fn of(id: &PrinterId, name: &str, role: Role, live: Option<&LiveStatus>, now: SystemTime) -> Self {
        let state = live.and_then(|live| live.state.clone()).unwrap_or_default();
        let is_online = live.is_some();
        let reachable = live.is_none_or(|live| live.status.reachable);
        let (mood, words) = mood(is_online, reachable, &state);
        let may_control = role >= Role::Operator;
        let can = |command| may_control && is_online && state.commands.contains(&command);
        let problem = state.problem.clone().or_else(|| {
            live.map(|live| live.status.problem.clone()).filter(|problem| is_online && !problem.is_empty())
        });
        let left = state.seconds_left.filter(|_| state.phase.is_active()).map(Duration::from_secs);
        Self {
            id: id.to_string(),
            name: name.to_owned(),
            view: format!("/view/{id}"),
            role: role.as_str(),
            is_owner: role == Role::Owner,
            may_control,
            is_online,
            mood,
            state: words,
            offline_since: None,
            online_since: None,
            never_connected: false,
            software: String::new(),
            file: state.file.clone(),
            progress: state.progress.map(|progress| progress.clamp(0.0, 100.0) as u8),
            elapsed: state.seconds_printing.map(|seconds| duration(Duration::from_secs(seconds))),
            left: left.map(duration),
            // Whole minutes, so that it does not change with every second.
            until: left.map(|left| iso(minute(now + left))),
            layers: state.layer.map(|layer| match state.total_layers {
                Some(total) => format!("{layer} of {total}"),
                None => layer.to_string(),
            }),
            temperatures: state.temperatures.iter().map(reading).collect(),
            light: state.light,
            message: state.message.clone(),
            problem,
            cameras: if is_online { cameras(&state, id) } else { Vec::new() },
            can_pause: can(PrinterCommand::Pause),
            can_resume: can(PrinterCommand::Resume),
            can_cancel: can(PrinterCommand::Cancel),
            can_light: can(PrinterCommand::LightOn) || can(PrinterCommand::LightOff),
        }
    }
}

fn minute(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since / 60 * 60)
}

fn mood(is_online: bool, reachable: bool, state: &PrinterState) -> (&'static str, &'static str) {
    if !is_online {
        return ("offline", "Offline");
    }
    if !reachable {
        return ("attention", "Printer not reachable");
    }
    match state.phase {
        Phase::Unknown => ("idle", "Online"),
        Phase::Idle => ("idle", "Idle"),
        Phase::WarmingUp => ("active", "Warming up"),
        Phase::Printing => ("active", "Printing"),
        Phase::Paused => ("attention", "Paused"),
        Phase::Resuming => ("active", "Resuming"),
        Phase::Complete => ("done", "Print complete"),
        Phase::Cancelled => ("idle", "Print cancelled"),
        Phase::Error => ("attention", "Error"),
    }
}

fn reading(temperature: &model::printing::Temperature) -> Reading {
    let name = match temperature.name.as_str() {
        "hotend" => "Hot end".to_owned(),
        "bed" => "Bed".to_owned(),
        other => other.to_owned(),
    };
    let text = if temperature.target > 0.0 {
        format!("{:.0} / {:.0} °C", temperature.actual, temperature.target)
    } else {
        format!("{:.0} °C", temperature.actual)
    };
    Reading { name, text }
}

fn cameras(state: &PrinterState, printer: &PrinterId) -> Vec<CameraView> {
    state
        .cameras
        .iter()
        .enumerate()
        .map(|(index, camera)| {
            let mut classes = format!("picture turn-{}", camera.rotation % 360 / 90 * 90);
            if camera.flip_h {
                classes.push_str(" flip-h");
            }
            if camera.flip_v {
                classes.push_str(" flip-v");
            }
            let name = if camera.name.is_empty() { format!("Camera {}", index + 1) } else { camera.name.clone() };
            let stream = format!("/printers/{printer}/camera/{index}/stream");
            CameraView { index, name, stream, classes }
        })
        .collect()
}

fn software(name: &str, version: &str) -> String {
    let name = match name {
        "octoprint" => "OctoPrint",
        "moonraker" => "Moonraker",
        "prusalink" => "PrusaLink",
        "bambu" => "Bambu Lab",
        "elegoo-cc1" => "Elegoo Centauri Carbon",
        "elegoo-cc2" => "Elegoo Centauri Carbon 2",
        "virtual" => "Virtual printer",
        "" | "unknown" => return "Unknown software".to_owned(),
        other => other,
    };
    if version.is_empty() { name.to_owned() } else { format!("{name} {version}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printer_that_is_away_is_said_to_be_so_whatever_it_said_last() {
        let printing = PrinterState { phase: Phase::Printing, ..PrinterState::default() };
        assert_eq!(mood(false, true, &printing), ("offline", "Offline"));
        assert_eq!(mood(true, false, &printing).0, "attention");
        assert_eq!(mood(true, true, &printing), ("active", "Printing"));
    }

    #[test]
    fn software_is_written_as_its_makers_write_it() {
        assert_eq!(software("octoprint", "1.11.2"), "OctoPrint 1.11.2");
        assert_eq!(software("elegoo-cc2", ""), "Elegoo Centauri Carbon 2");
        assert_eq!(software("unknown", ""), "Unknown software");
    }
}
