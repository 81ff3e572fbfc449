//! Logos of apps: fetched by the service, made anew, and served from here, so that no page refers to another server
//! and no foreign bytes reach a browser.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::outbound::Outbound;

/// Logos of 100 by 100 pixels are a few KiB; some apps send what they have.
const MAX_BYTES: usize = 1024 * 1024;
/// Twice the size in which it is shown, for dense screens.
const SIZE: u32 = 200;
/// A picture that unpacks to more is no logo.
const MAX_SIDE: u32 = 4096;
const MAX_MEMORY: u64 = 80 * 1024 * 1024;
/// Fetched and decoded at once. Whoever comes when all are busy sees no logo.
const MAX_AT_ONCE: usize = 2;
/// For how many pages the addresses are kept, and how long somebody looks at one.
const MAX_KEPT: u64 = 1000;
const KEPT_FOR: Duration = Duration::from_secs(600);

/// The logos of pages that are being looked at.
#[derive(Clone, Debug)]
pub(super) struct Logos {
    url_by_id: Cache<String, String>,
    /// `None` where there is no picture at the address, so that nobody has it fetched again and again.
    picture_by_id: Cache<String, Option<Bytes>>,
    places: Arc<Semaphore>,
}

impl Default for Logos {
    fn default() -> Self {
        Self {
            url_by_id: Cache::builder().max_capacity(MAX_KEPT).time_to_live(KEPT_FOR).build(),
            picture_by_id: Cache::builder().max_capacity(MAX_KEPT).time_to_live(KEPT_FOR).build(),
            places: Arc::new(Semaphore::new(MAX_AT_ONCE)),
        }
    }
}

impl Logos {
    /// The path of a logo, for a page that is about to be shown; none if the address cannot be one.
    pub(super) fn path(&self, url: &str, outbound: &Outbound) -> Option<String> {
        outbound.check(url).ok()?;
        // Only addresses from pages are fetched: the id is no key to any other.
        let id = HEXLOWER.encode(&Sha256::digest(url)[..16]);
        self.url_by_id.insert(id.clone(), url.to_owned());
        Some(format!("/appportal/logo/{id}"))
    }

    /// The logo as a PNG.
    pub(super) async fn picture(&self, id: &str, outbound: &Outbound) -> Option<Bytes> {
        if let Some(known) = self.picture_by_id.get(id) {
            return known;
        }
        let url = self.url_by_id.get(id)?;
        let _place = self.places.try_acquire().ok()?;
        let picture = fetch(&url, outbound).await;
        self.picture_by_id.insert(id.to_owned(), picture.clone());
        picture
    }
}

async fn fetch(url: &str, outbound: &Outbound) -> Option<Bytes> {
    let answer = outbound.get(url, "image/png, image/jpeg, image/webp, image/gif", MAX_BYTES).await;
    let answer = answer.inspect_err(|error| tracing::debug!(%error, "a logo was not fetched")).ok()?;
    if !answer.status.is_success() {
        return None;
    }
    tokio::task::spawn_blocking(move || made_anew(&answer.body)).await.ok().flatten()
}

/// The picture, decoded within limits and written again, so that nothing of the original bytes is left.
fn made_anew(bytes: &[u8]) -> Option<Bytes> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let picture = reader.decode().ok()?;
    let small = if picture.width() > SIZE || picture.height() > SIZE { picture.thumbnail(SIZE, SIZE) } else { picture };
    let mut png = Cursor::new(Vec::new());
    DynamicImage::ImageRgba8(small.to_rgba8()).write_to(&mut png, ImageFormat::Png).ok()?;
    Some(png.into_inner().into())
}

#[cfg(test)]
mod tests {
    use image::{GenericImageView, RgbaImage};

    use super::*;

    fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let picture = DynamicImage::ImageRgba8(RgbaImage::new(width, height));
        let picture = if format == ImageFormat::Jpeg { DynamicImage::ImageRgb8(picture.to_rgb8()) } else { picture };
        picture.write_to(&mut bytes, format).expect("it can be written");
        bytes.into_inner()
    }

    #[test]
    fn pictures_come_out_small_and_as_png() {
        for (width, height, format, expected) in [
            (100, 100, ImageFormat::Png, (100, 100)),
            (400, 100, ImageFormat::Jpeg, (200, 50)),
            (50, 300, ImageFormat::WebP, (33, 200)),
            (8, 8, ImageFormat::Gif, (8, 8)),
        ] {
            let png = made_anew(&encoded(width, height, format)).expect("a picture");
            assert!(png.starts_with(b"\x89PNG"));
            let picture = image::load_from_memory(&png).expect("a PNG");
            assert_eq!(picture.dimensions(), expected, "{format:?}");
        }
    }

    #[test]
    fn nothing_of_the_original_is_left() {
        let mut bytes = encoded(10, 10, ImageFormat::Png);
        bytes.extend_from_slice(b"<script>alert(1)</script>");
        let png = made_anew(&bytes).expect("a picture");
        assert!(!png.windows(8).any(|window| window == b"<script>"));
    }

    #[test]
    fn what_is_no_logo_gives_nothing() {
        for bytes in [&b""[..], b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", b"\x89PNG\r\n\x1a\n", b"GIF89a"] {
            assert_eq!(made_anew(bytes), None);
        }
        assert_eq!(made_anew(&encoded(MAX_SIDE + 1, 1, ImageFormat::Png)), None);
    }
}
