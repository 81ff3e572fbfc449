//! What happens to a print, as printers' software tells it and as people and apps hear of it.

use std::fmt;

/// Characters of a text that came with an event.
const MAX_TEXT: usize = 255;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A print began.
    Started,
    /// A print ended well.
    Done,
    /// A print failed, or was cancelled.
    Failed,
    /// A print waits.
    Paused,
    /// A print goes on after a pause.
    Resumed,
    /// Another tenth of a print is done.
    Progress,
    /// A print has been running for another hour.
    HourPassed,
    /// The watch over the print sees something that may be a failure.
    FailureSuspected,
    /// The watch over the print has paused it.
    PausedForFailure,
    /// The printer reports an error.
    Error,
    /// The first layer is done.
    FirstLayerDone,
    /// The filament has to be changed.
    FilamentChange,
    /// The printer waits for somebody.
    UserInteractionNeeded,
    /// The third layer is done.
    ThirdLayerDone,
    /// The bed has cooled down after a print.
    BedCooledDown,
    /// A trial.
    Test,
    /// A name that this build does not know: kept, and nobody is told.
    Other(String),
}

impl EventKind {
    /// What the existing plugin calls it.
    pub fn from_plugin_name(name: &str) -> Self {
        match name {
            "started" => Self::Started,
            "done" => Self::Done,
            "failed" => Self::Failed,
            "paused" => Self::Paused,
            "resume" => Self::Resumed,
            "progress" => Self::Progress,
            "timerprogress" => Self::HourPassed,
            "gadget-warning" => Self::FailureSuspected,
            "gadget-paused" => Self::PausedForFailure,
            "error" => Self::Error,
            "firstlayerdone" => Self::FirstLayerDone,
            "filamentchange" => Self::FilamentChange,
            "userinteractionneeded" => Self::UserInteractionNeeded,
            "thirdlayerdone" => Self::ThirdLayerDone,
            "bedcooldowncomplete" => Self::BedCooledDown,
            "test" => Self::Test,
            other => Self::Other(other.chars().filter(|letter| !letter.is_control()).take(64).collect()),
        }
    }

    /// Its number in webhooks; none where nobody is told. 13 is the service's own.
    pub fn event_type(&self) -> Option<u8> {
        Some(match self {
            Self::Started => 1,
            Self::Done => 2,
            Self::Failed => 3,
            Self::Paused => 4,
            Self::Resumed => 5,
            Self::Progress | Self::HourPassed => 6,
            Self::FailureSuspected => 7,
            Self::PausedForFailure => 8,
            Self::Error => 9,
            Self::FirstLayerDone => 10,
            Self::FilamentChange => 11,
            Self::UserInteractionNeeded => 12,
            Self::ThirdLayerDone => 14,
            Self::BedCooledDown => 15,
            Self::Test => 16,
            Self::Other(_) => return None,
        })
    }
}

/// For people.
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "Print started",
            Self::Done => "Print complete",
            Self::Failed => "Print failed",
            Self::Paused => "Print paused",
            Self::Resumed => "Print resumed",
            Self::Progress => "Progress",
            Self::HourPassed => "Another hour of printing",
            Self::FailureSuspected => "Possible failure seen",
            Self::PausedForFailure => "Paused because of a possible failure",
            Self::Error => "Error",
            Self::FirstLayerDone => "First layer complete",
            Self::FilamentChange => "Filament change needed",
            Self::UserInteractionNeeded => "The printer waits for somebody",
            Self::ThirdLayerDone => "Third layer complete",
            Self::BedCooledDown => "The bed has cooled down",
            Self::Test => "Test",
            Self::Other(name) => return write!(f, "Unknown event `{name}`"),
        })
    }
}

/// Something that happened to a print, with what is known of the print at that moment. All texts and numbers are the
/// printer's: pass it through [`PrintEvent::bounded`] before it is kept or shown.
#[derive(Clone, Debug, PartialEq)]
pub struct PrintEvent {
    /// What happened.
    pub kind: EventKind,
    /// One for each print.
    pub print_id: Option<String>,
    /// The file that is printed.
    pub file: Option<String>,
    /// Size of the file, in KiB.
    pub file_kilobytes: Option<u64>,
    /// Filament that the file needs, in mm.
    pub filament_mm: Option<u64>,
    /// The same in mg.
    pub filament_mg: Option<u64>,
    /// How long the print will go on, by the printer's guess.
    pub seconds_left: Option<u64>,
    /// How long it has been running.
    pub seconds_printing: Option<u64>,
    /// The layer that is being printed, from 1.
    pub layer: Option<u32>,
    /// How many layers the file has.
    pub total_layers: Option<u32>,
    /// How much is done, 0 to 100; with [`EventKind::Progress`] the tenth that was passed.
    pub progress: Option<u8>,
    /// Whole hours of printing, with [`EventKind::HourPassed`].
    pub hours: Option<u32>,
    /// Why a print failed: `cancelled` or `error`.
    pub reason: Option<String>,
    /// What the printer says is wrong.
    pub error: Option<String>,
    /// The printer's own code for it.
    pub platform_error_code: Option<String>,
    /// Height of the layer that is done, in mm.
    pub z_offset_mm: Option<f32>,
    /// The bed, in °C.
    pub bed_celsius: Option<f32>,
}

impl PrintEvent {
    /// One of which nothing but its kind is known.
    pub fn new(kind: EventKind) -> Self {
        Self {
            kind,
            print_id: None,
            file: None,
            file_kilobytes: None,
            filament_mm: None,
            filament_mg: None,
            seconds_left: None,
            seconds_printing: None,
            layer: None,
            total_layers: None,
            progress: None,
            hours: None,
            reason: None,
            error: None,
            platform_error_code: None,
            z_offset_mm: None,
            bed_celsius: None,
        }
    }

    /// The same with texts that can be shown: on one line, of bounded length, and none where there is nothing.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let text = |text: Option<String>| {
            let text = text?;
            let text: String = text.chars().filter(|letter| !letter.is_control()).take(MAX_TEXT).collect();
            let text = text.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        self.print_id = text(self.print_id);
        self.file = text(self.file);
        self.reason = text(self.reason);
        self.error = text(self.error);
        self.platform_error_code = text(self.platform_error_code);
        self.progress = self.progress.map(|progress| progress.min(100));
        self.z_offset_mm = self.z_offset_mm.filter(|value| value.is_finite());
        self.bed_celsius = self.bed_celsius.filter(|value| value.is_finite());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugins_names_are_the_numbers_of_webhooks() {
        for (name, number) in [
            ("started", Some(1)),
            ("done", Some(2)),
            ("failed", Some(3)),
            ("paused", Some(4)),
            ("resume", Some(5)),
            ("progress", Some(6)),
            ("timerprogress", Some(6)),
            ("gadget-warning", Some(7)),
            ("gadget-paused", Some(8)),
            ("error", Some(9)),
            ("firstlayerdone", Some(10)),
            ("filamentchange", Some(11)),
            ("userinteractionneeded", Some(12)),
            ("thirdlayerdone", Some(14)),
            ("bedcooldowncomplete", Some(15)),
            ("test", Some(16)),
            ("inspect", None),
            ("dance", None),
        ] {
            assert_eq!(EventKind::from_plugin_name(name).event_type(), number, "{name}");
        }
    }

    #[test]
    fn texts_are_bounded() {
        let event = PrintEvent {
            file: Some("a\n\u{1b}b".to_owned() + &"x".repeat(1000)),
            error: Some(" \n".to_owned()),
            z_offset_mm: Some(f32::NAN),
            progress: Some(255),
            ..PrintEvent::new(EventKind::from_plugin_name(&"y\u{7}".repeat(100)))
        }
        .bounded();
        assert!(event.file.is_some_and(|file| file.starts_with("abx") && file.len() == MAX_TEXT));
        assert_eq!((event.error, event.z_offset_mm, event.progress), (None, None, Some(100)));
        assert_eq!(event.kind, EventKind::Other("y".repeat(64)));
    }
}
