//! What the printer is busy with, by its number for it (`stg_cur`).

/// Waits for the bed to get warm before a print.
pub(super) const HEATING_BED: i64 = 2;
/// Waits for the hot end.
pub(super) const HEATING_HOTEND: i64 = 7;

/// The number's text for people; `None` while it just prints, does nothing, or has a number that is not known.
pub(super) fn text(stage: i64) -> Option<&'static str> {
    Some(match stage {
        HEATING_BED | 54 => "Heating the bed",
        HEATING_HOTEND => "Heating the hot end",
        49 | 63 => "Heating the chamber",
        58 => "Heating",
        29 => "Cooling the chamber",
        50 => "Cooling the bed",
        69 => "Cooling the nozzle",
        1 | 40 | 47 | 48 | 59 => "Levelling the bed",
        13 => "Homing",
        4 => "Changing filament",
        22 => "Unloading filament",
        24 => "Loading filament",
        76 => "Priming filament",
        77 => "Waiting for the AMS",
        5 | 30 => "Paused by the file",
        16 => "Paused by a person",
        6 => "Paused: out of filament",
        17 => "Paused: the front cover is off",
        20 => "Paused: the nozzle's temperature is wrong",
        21 => "Paused: the bed's temperature is wrong",
        23 => "Paused: a motor has lost steps",
        26 => "Paused: the AMS does not answer",
        27 => "Paused: the fan of the heat break is too slow",
        28 => "Paused: the chamber's temperature is wrong",
        32 => "Paused: the nozzle is covered in filament",
        33 => "Paused: the cutter is stuck",
        34 => "Paused: the first layer looks wrong",
        35 => "Paused: the nozzle is clogged",
        9 => "Looking at the bed",
        10 => "Looking at the first layer",
        11 => "Looking which plate it is",
        41 | 42 | 44 | 52 | 55 | 57 | 62 | 64 | 72..=75 => "Checking",
        3 | 8 | 12 | 18 | 19 | 25 | 31 | 36..=39 | 43 | 45 | 46 | 51 | 53 | 56 | 60 | 61 | 65 | 67 | 71 => {
            "Calibrating"
        }
        14 => "Cleaning the nozzle",
        15 => "Checking the hot end's temperature",
        66 => "Cleaning the air",
        68 | 70 => "Moving the tool head",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_text_but_printing_and_doing_nothing() {
        let without: Vec<i64> = (-2..=300).filter(|stage| text(*stage).is_none()).collect();
        let expected: Vec<i64> = [-2, -1, 0].into_iter().chain(78..=300).collect();
        assert_eq!(without, expected);
        for paused in [5, 6, 16, 17, 20, 21, 23, 26, 27, 28, 30, 32, 33, 34, 35] {
            assert!(text(paused).is_some_and(|text| text.starts_with("Paused")), "{paused}");
        }
    }
}
