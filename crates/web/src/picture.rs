//! Pictures that came from elsewhere: read with limits, and written anew, so that nothing but pixels gets through.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits};

/// Pixels on a side; a camera of 8K has 7680.
const MAX_SIDE: u32 = 8192;
/// Memory for one decoded picture.
const MAX_MEMORY: u64 = 128 * 1024 * 1024;
/// Height of what is kept.
const KEPT_HEIGHT: u32 = 1080;
const QUALITY: u8 = 85;

/// Reads a picture, if it is one of a size that is bearable.
pub(crate) fn read(bytes: &[u8]) -> Option<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    reader.decode().ok()
}

/// A camera's picture, small enough to be kept.
pub(crate) fn shrink(bytes: &[u8]) -> Option<Vec<u8>> {
    let picture = read(bytes)?;
    let picture = if picture.height() > KEPT_HEIGHT {
        picture.resize(u32::MAX, KEPT_HEIGHT, FilterType::Triangle)
    } else {
        picture
    };
    let mut out = Vec::new();
    picture.to_rgb8().write_with_encoder(JpegEncoder::new_with_quality(&mut out, QUALITY)).ok()?;
    Some(out)
}
