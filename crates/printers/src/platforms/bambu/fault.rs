//! What the printer's error number means.
//!
//! Its eight hexadecimal digits are how the printer's screen and its maker's help pages call the fault. The maker's
//! texts are the maker's; people find them by the number.

/// What a number says of the print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing is wrong.
    None,
    /// Somebody, or the file, has paused the print.
    Pause,
    /// Something is wrong, in words for people.
    Error(String),
}

/// Numbers that stand for no fault: they have no text in the maker's list (the first three), ask for filament to be
/// pushed in by hand, or only say that somebody has ended the print.
const HARMLESS: [u64; 6] = [0, 0x0500_8030, 0x0300_8012, 0x0500_C011, 0x07FF_8007, 0x0300_400C];
/// A plain pause, whoever asked for it.
const PAUSES: [u64; 3] = [0x0300_8013, 0x0300_8001, 0x0300_8000];
/// The printer's camera has seen a print that went wrong.
const FAILURE_SEEN: u64 = 0x0300_8003;
/// Out of filament, without an AMS.
const RUNOUT: u64 = 0x0300_8004;
/// Out of filament, in the lower half of the numbers of an AMS and of the spool outside.
const RUNOUT_OF_UNIT: u64 = 0x8011;
/// The parts that feed filament, by the first two digits: AMS, AMS lite, AMS HT.
const FEEDERS: [u64; 3] = [0x07, 0x12, 0x18];

impl Fault {
    pub(super) fn of(number: u64) -> Self {
        let is_runout = number == RUNOUT || (FEEDERS.contains(&(number >> 24)) && number & 0xFFFF == RUNOUT_OF_UNIT);
        match number {
            number if HARMLESS.contains(&number) => Self::None,
            number if PAUSES.contains(&number) => Self::Pause,
            FAILURE_SEEN => Self::Error("Print Failure Detected".to_owned()),
            _ if is_runout => Self::Error("Filament Run Out".to_owned()),
            number => {
                let (part, fault) = ((number >> 16) & 0xFFFF, number & 0xFFFF);
                Self::Error(format!("Error: {part:04X}-{fault:04X}, see the printer's screen"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_meaning() {
        for number in HARMLESS {
            assert_eq!(Fault::of(number), Fault::None, "{number:08X}");
        }
        for number in [0x0300_8013, 0x0300_8001, 0x0300_8000] {
            assert_eq!(Fault::of(number), Fault::Pause, "{number:08X}");
        }
        let error = |text: &str| Fault::Error(text.to_owned());
        for number in [0x0300_8004, 0x0700_8011, 0x0703_8011, 0x07FF_8011, 0x1200_8011, 0x1803_8011] {
            assert_eq!(Fault::of(number), error("Filament Run Out"), "{number:08X}");
        }
        assert_eq!(Fault::of(0x0300_8003), error("Print Failure Detected"));
        assert_eq!(Fault::of(0x0300_8011), error("Error: 0300-8011, see the printer's screen"));
        assert_eq!(Fault::of(0x0C00_800A), error("Error: 0C00-800A, see the printer's screen"));
        assert_eq!(Fault::of(u64::MAX), error("Error: FFFF-FFFF, see the printer's screen"));
    }
}
