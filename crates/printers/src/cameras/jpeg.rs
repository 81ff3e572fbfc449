//! Repairs of JPEG pictures.

use bytes::{Bytes, BytesMut};

/// Start of image.
const SOI: [u8; 2] = [0xff, 0xd8];
/// Marker of the segment that says "this is JFIF".
const APP0: [u8; 2] = [0xff, 0xe0];
/// JFIF 1.01, pixels without a unit, one by one, no thumbnail (JFIF 1.02 §10).
const JFIF: [u8; 18] = [0xff, 0xe0, 0, 16, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0];

/// The picture with the header that image libraries insist on. Cameras leave it out, or fill it with zeros.
pub(super) fn with_jfif(picture: Bytes) -> Bytes {
    if !picture.starts_with(&SOI) {
        return picture;
    }
    let rest = &picture[SOI.len()..];
    let rest = match rest {
        [0xff, 0xe0, high, low, segment @ ..] if rest.starts_with(&APP0) => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length >= 16 && segment.starts_with(b"JFIF\0") {
                return picture;
            }
            // The length counts its own two bytes. One that makes no sense leaves nothing to skip by.
            rest.get(APP0.len() + length..).filter(|after| length >= 2 && after.starts_with(&[0xff])).unwrap_or(rest)
        }
        // Exif stands for itself.
        [0xff, 0xe1, ..] => return picture,
        _ => rest,
    };
    let mut repaired = BytesMut::with_capacity(SOI.len() + JFIF.len() + rest.len());
    repaired.extend_from_slice(&SOI);
    repaired.extend_from_slice(&JFIF);
    repaired.extend_from_slice(rest);
    repaired.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_broken_header_is_put_in() {
        let table = [0xff, 0xdb, 0, 3, 9, 0xff, 0xd9];
        let good = Bytes::from([&SOI[..], &JFIF, &table].concat());
        assert_eq!(with_jfif(good.clone()), good);
        for broken in [
            [&SOI[..], &table].concat(),
            [&SOI[..], &[0xff, 0xe0, 0, 4, 0, 0], &table].concat(),
            [&SOI[..], &[0xff, 0xe0, 0, 16], &[0; 14], &table].concat(),
        ] {
            assert_eq!(with_jfif(broken.into()), good);
        }
        let exif = Bytes::from([&SOI[..], &[0xff, 0xe1, 0, 2], &table].concat());
        assert_eq!(with_jfif(exif.clone()), exif);
        // A length that leads nowhere: the picture is kept whole behind the new header.
        let lost = [&SOI[..], &[0xff, 0xe0, 0xff, 0xff, 1]].concat();
        assert_eq!(with_jfif(lost.clone().into()), [&SOI[..], &JFIF, &lost[2..]].concat());
        for tiny in [&[][..], &[0xff], &SOI, b"<html>"] {
            assert!(with_jfif(Bytes::copy_from_slice(tiny)).ends_with(tiny.strip_prefix(&SOI).unwrap_or(tiny)));
        }
    }
}
