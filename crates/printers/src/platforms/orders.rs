//! What a printer can be told, with arguments that were checked.

use super::files::VirtualPath;

/// How to pause. Only OctoPrint has the means for more than stopping; others take it as a plain pause.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PauseOrder {
    /// Whether the pause was asked for by failure detection, and the part is to be saved.
    pub(crate) smart: bool,
    /// Whether a smart pause switches the hot ends off.
    pub(crate) disable_hotend: bool,
    /// Whether a smart pause switches the bed off.
    pub(crate) disable_bed: bool,
    /// How far a smart pause lifts the head, in millimetres.
    pub(crate) lift_mm: f64,
    /// How much filament a smart pause pulls back, in millimetres.
    pub(crate) retract_mm: f64,
}

impl PauseOrder {
    /// A pause and nothing else.
    pub(crate) const PLAIN: Self =
        Self { smart: false, disable_hotend: false, disable_bed: false, lift_mm: 0.0, retract_mm: 0.0 };
}

/// What to print, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StartOrder {
    /// The file, below the root `gcode`.
    pub(crate) path: VirtualPath,
    /// The arguments as they came, for what only one platform knows; keys in lower case.
    pub(crate) extras: serde_json::Map<String, serde_json::Value>,
}

/// An axis of a printer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    X,
    Y,
    Z,
}

impl Axis {
    /// Its letter, upper case.
    pub(crate) const fn letter(self) -> char {
        match self {
            Self::X => 'X',
            Self::Y => 'Y',
            Self::Z => 'Z',
        }
    }
}

/// A movement from where the head is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Move {
    /// Along which axis.
    pub(crate) axis: Axis,
    /// How far, in millimetres; negative is backwards.
    pub(crate) distance_mm: f64,
}

/// What heaters are set to, in degrees Celsius; 0 is off, `None` leaves a heater alone. At least one is set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Heat {
    /// The bed.
    pub(crate) bed: Option<f64>,
    /// The chamber.
    pub(crate) chamber: Option<f64>,
    /// A hot end.
    pub(crate) tool: Option<f64>,
    /// Which hot end, from 0; `None` is the active one.
    pub(crate) tool_number: Option<u32>,
}
