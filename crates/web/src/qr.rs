//! QR codes as SVG paths.

use qrcode::{Color, EcLevel, QrCode};

/// A QR code, drawn as one path of squares with a side of one.
#[derive(Clone, Debug)]
pub(crate) struct Qr {
    /// Modules on a side, with the quiet zone of four around (ISO/IEC 18004 §6.3.8).
    pub(crate) size: usize,
    pub(crate) path: String,
}

const QUIET: usize = 4;

impl Qr {
    /// None if the text is too long for a code.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let width = code.width();
        let mut path = String::new();
        for (index, colour) in code.to_colors().into_iter().enumerate() {
            if colour == Color::Dark {
                let (x, y) = (index % width + QUIET, index / width + QUIET);
                path.push_str(&format!("M{x} {y}h1v1h-1z"));
            }
        }
        Some(Self { size: width + 2 * QUIET, path })
    }
}
