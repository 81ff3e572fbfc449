//! What a look at a printer gives.

use model::printing::PrinterState;

use super::{CommandFailure, MaterialSystem};
use crate::cameras::CameraSource;

/// What one look at a printer gave.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Without cameras and print id, which are filled in.
    pub(crate) state: PrinterState,
    pub(crate) cameras: Vec<CameraSource>,
    pub(crate) details: JobDetails,
    /// Why the printer cannot be looked at; [`PrinterState::problem`] says the same to people.
    pub(crate) trouble: Option<CommandFailure>,
}

/// What only programs want to know of a print, and what it takes to switch a light.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JobDetails {
    /// What the printer is busy with, for people.
    pub(crate) sub_state: Option<String>,
    /// The lights by name; `None` where the platform knows of none.
    pub(crate) lights: Option<Vec<LightState>>,
    /// Filament that the whole print takes, in millimetres.
    pub(crate) filament_mm: Option<f64>,
    /// The same by weight, in milligrams; absent where the platform never knows.
    pub(crate) filament_mg: Option<f64>,
    /// Whether the platform can tell layers at all; where it cannot, they are `null` and not 0.
    pub(crate) knows_layers: bool,
    /// Which of the temperatures is the hot end in use, by its name; `hotend` if nobody says.
    pub(crate) active_hotend: Option<String>,
    /// What filament is where, if the look showed it.
    pub(crate) material: Option<MaterialSystem>,
}

/// A light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LightState {
    pub(crate) name: String,
    pub(crate) on: bool,
}

impl Observed {
    /// It cannot be looked at.
    pub(crate) fn trouble(trouble: CommandFailure) -> Self {
        let state = PrinterState { problem: Some(trouble.to_string()), ..PrinterState::default() };
        Self { state, trouble: Some(trouble), ..Self::default() }
    }

    /// It is not reachable.
    pub(crate) fn not_connected(problem: impl Into<String>) -> Self {
        Self::trouble(CommandFailure::NotConnected(problem.into()))
    }
}
