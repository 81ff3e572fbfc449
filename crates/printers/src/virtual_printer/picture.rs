//! What the virtual printer's camera sees, drawn by blocks.

use jpeg_encoder::{ColorType, Encoder, EncodingError, SamplingFactor};

/// Good enough to read the digits; about 15 kB at 640×480, like a cheap camera.
const QUALITY: u8 = 70;
/// Rows and columns of a digit.
const DIGIT_SIZE: (u32, u32) = (5, 3);
/// Digits of the frame counter; it starts again after them.
const N_DIGITS: u32 = 6;

type Colour = [u8; 3];
const BACKGROUND: Colour = [24, 28, 36];
const BACKGROUND_LIT: Colour = [64, 68, 76];
const FRAME: Colour = [70, 78, 92];
const BED: Colour = [120, 128, 140];
const NOZZLE: Colour = [235, 190, 90];
const PLASTIC: Colour = [60, 160, 220];
const LETTERS: Colour = [230, 235, 240];

/// What is to be seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scene {
    /// Shown in a corner, so that a viewer can tell frames apart.
    pub(super) frame: u64,
    /// How much of the print is done, 0 to 1.
    pub(super) progress: f64,
    /// Whether the nozzle is at work.
    pub(super) printing: bool,
    /// Whether the light is on.
    pub(super) lit: bool,
}

/// A canvas that is drawn upon again and again.
pub(super) struct Picture {
    width: u16,
    height: u16,
    pixels: Vec<u8>,
}

impl Picture {
    pub(super) fn new(width: u16, height: u16) -> Self {
        Self { width, height, pixels: vec![0; usize::from(width) * usize::from(height) * 3] }
    }

    /// Draws the scene and encodes it.
    pub(super) fn encode(&mut self, scene: Scene) -> Result<Vec<u8>, EncodingError> {
        self.draw(scene);
        let mut jpeg = Vec::with_capacity(32 * 1024);
        let mut encoder = Encoder::new(&mut jpeg, QUALITY);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.encode(&self.pixels, self.width, self.height, ColorType::Rgb)?;
        Ok(jpeg)
    }

    /// Positions are in 64ths of the width and 48ths of the height, so the picture looks alike at any size.
    fn draw(&mut self, scene: Scene) {
        // Written so that what is no number counts as nothing printed.
        let progress = if scene.progress > 0.0 { scene.progress.min(1.0) } else { 0.0 };
        self.fill(0.0, 0.0, 64.0, 48.0, if scene.lit { BACKGROUND_LIT } else { BACKGROUND });
        for (left, top, width, height) in
            [(4.0, 4.0, 2.0, 38.0), (58.0, 4.0, 2.0, 38.0), (4.0, 4.0, 56.0, 2.0), (4.0, 40.0, 56.0, 2.0)]
        {
            self.fill(left, top, width, height, FRAME);
        }
        self.fill(12.0, 38.0, 40.0, 2.0, BED);

        let printed = 20.0 * progress;
        self.fill(24.0, 38.0 - printed, 16.0, printed, PLASTIC);
        // While it prints the nozzle runs over the part; otherwise it sways at the side, so that a stream can always
        // be seen to be alive.
        let (from, span, period) = if scene.printing { (24.0, 14.0, 20) } else { (8.0, 6.0, 60) };
        let nozzle = from + span * triangle(scene.frame, period);
        let tip = 38.0 - printed;
        self.fill(6.0, tip - 8.0, 52.0, 1.5, FRAME);
        self.fill(nozzle - 1.0, tip - 10.0, 4.0, 7.0, NOZZLE);
        self.fill(nozzle + 0.5, tip - 3.0, 1.0, 2.5, NOZZLE);

        self.fill(4.0, 44.0, 56.0, 2.0, FRAME);
        self.fill(4.0, 44.0, 56.0 * progress, 2.0, PLASTIC);
        self.draw_number(scene.frame);
    }

    fn draw_number(&mut self, number: u64) {
        let (rows, columns) = DIGIT_SIZE;
        let mut rest = number;
        for position in (0..N_DIGITS).rev() {
            let glyph = GLYPHS[(rest % 10) as usize];
            rest /= 10;
            for row in 0..rows {
                for column in 0..columns {
                    if glyph >> (rows * columns - 1 - row * columns - column) & 1 == 1 {
                        let left = 38.0 + f64::from(position * (columns + 1) + column) * 0.8;
                        self.fill(left, 8.0 + f64::from(row) * 0.8, 0.8, 0.8, LETTERS);
                    }
                }
            }
        }
    }

    fn fill(&mut self, left: f64, top: f64, width: f64, height: f64, colour: Colour) {
        let across = |position: f64| scaled(position, 64.0, self.width);
        let down = |position: f64| scaled(position, 48.0, self.height);
        let (from, to) = (across(left) * 3, across(left + width) * 3);
        let rows = down(top)..down(top + height);
        let stride = usize::from(self.width) * 3;
        for row in self.pixels.chunks_exact_mut(stride.max(3)).take(rows.end).skip(rows.start) {
            for pixel in row[from..to].chunks_exact_mut(3) {
                pixel.copy_from_slice(&colour);
            }
        }
    }
}

/// A position in a grid of `cells` as one of `pixels`, never outside.
fn scaled(position: f64, cells: f64, pixels: u16) -> usize {
    let pixels = f64::from(pixels);
    (position / cells * pixels).round().clamp(0.0, pixels) as usize
}

/// Goes from 0 to 1 and back once in `period` frames.
fn triangle(frame: u64, period: u64) -> f64 {
    let position = (frame % period) as f64 / period as f64;
    1.0 - (2.0 * position - 1.0).abs()
}

/// Digits as five rows of three bits.
const GLYPHS: [u16; 10] = [
    0b111_101_101_101_111,
    0b010_110_010_010_111,
    0b111_001_111_100_111,
    0b111_001_111_001_111,
    0b101_101_111_001_001,
    0b111_100_111_001_111,
    0b111_100_111_101_111,
    0b111_001_010_010_010,
    0b111_101_111_101_111,
    0b111_101_111_001_111,
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn every_size_is_a_jpeg_and_every_frame_another() {
        for (width, height) in [(640, 480), (320, 240), (1, 1), (17, 900)] {
            let mut picture = Picture::new(width, height);
            let scene = Scene { frame: 0, progress: 0.5, printing: true, lit: false };
            let first = picture.encode(scene).unwrap();
            assert!(first.starts_with(&[0xff, 0xd8]) && first.ends_with(&[0xff, 0xd9]), "{width}×{height}");
            if width > 16 {
                assert_ne!(picture.encode(Scene { frame: 7, ..scene }).unwrap(), first);
            }
            picture.encode(Scene { frame: u64::MAX, progress: f64::NAN, printing: false, lit: false }).unwrap();
        }
        assert!(Picture::new(0, 0).encode(Scene { frame: 0, progress: 0.0, printing: false, lit: false }).is_err());
    }

    #[test]
    fn the_nozzle_returns_to_where_it_began() {
        assert_eq!((triangle(0, 20), triangle(10, 20), triangle(20, 20)), (0.0, 1.0, 0.0));
        assert_eq!(triangle(3, 20), triangle(17, 20));
    }
}
