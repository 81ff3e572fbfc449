//! Cameras in the chambers of printers that send pictures over TLS, without HTTP, to whoever shows the access code.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use model::Secret;
use model::wire::MAX_PICTURE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{CameraError, FrameSource, Frames};
use crate::connector::{PrinterConnector, PrinterIo};

/// Who signs in; the printer has no other user.
const USER: &[u8] = b"bblp";
/// Bytes of a name or a code in the login, filled up with zeros.
const FIELD: usize = 32;
/// What the login begins with: its own length, its kind, and nothing twice.
const LOGIN: [u32; 4] = [0x40, 0x3000, 0, 0];
/// Before each picture. Its first three bytes are the picture's length, the rest is of no use here.
const HEADER: usize = 16;
/// A picture begins with it, and ends with [`END`].
const START: &[u8] = &[0xff, 0xd8, 0xff, 0xe0];
const END: &[u8] = &[0xff, 0xd9];
/// Pictures come about once a second. Without one for so long, the camera is stuck.
const SILENCE: Duration = Duration::from_secs(8);
/// Read at once. Pictures have some 100 KiB.
const CHUNK: usize = 32 * 1024;

/// Such a camera.
pub(crate) struct ChamberCamera {
    connector: PrinterConnector,
    access_code: Secret,
}

impl ChamberCamera {
    /// The camera where `connector` leads, over TLS.
    pub(crate) fn new(connector: PrinterConnector, access_code: Secret) -> Self {
        Self { connector, access_code }
    }

    async fn open(&self) -> Result<Frames, CameraError> {
        let mut io = self.connector.connect().await?.io;
        let login = login(self.access_code.expose().as_bytes());
        let write = async {
            io.write_all(&login).await?;
            io.flush().await
        };
        timeout(SILENCE, write).await.map_err(|_| CameraError::Silent)?.map_err(CameraError::Broke)?;
        let mut capture = Capture { io, parser: Parser::default(), has_shown: false };
        // Whoever is not let in is hung up on before the first picture.
        let first = capture.next().await?;
        Ok(stream::unfold((Some(first), Some(capture)), |(first, capture)| async {
            if let Some(first) = first {
                return Some((Ok(first), (None, capture)));
            }
            let mut capture = capture?;
            match capture.next().await {
                Ok(picture) => Some((Ok(picture), (None, Some(capture)))),
                Err(error) => Some((Err(error), (None, None))),
            }
        })
        .boxed())
    }
}

impl FrameSource for ChamberCamera {
    fn frames(&self) -> BoxFuture<'_, Result<Frames, CameraError>> {
        self.open().boxed()
    }
}

fn login(access_code: &[u8]) -> Vec<u8> {
    let mut login: Vec<u8> = LOGIN.iter().flat_map(|number| number.to_le_bytes()).collect();
    for text in [USER, access_code] {
        login.extend(text.iter().copied().chain(std::iter::repeat(0)).take(FIELD));
    }
    login
}

struct Capture {
    io: Box<dyn PrinterIo>,
    parser: Parser,
    has_shown: bool,
}

impl Capture {
    async fn next(&mut self) -> Result<Bytes, CameraError> {
        let next = async {
            loop {
                if let Some(picture) = self.parser.poll_picture()? {
                    self.has_shown = true;
                    return Ok(picture);
                }
                let buffer = &mut self.parser.buffer;
                buffer.reserve(CHUNK);
                match self.io.read_buf(buffer).await {
                    Ok(0) if self.has_shown => return Err(CameraError::Ended),
                    Ok(0) => return Err(CameraError::Refused),
                    Ok(_) => {}
                    // Firmware ends connections without saying so in TLS.
                    Err(_) if !self.has_shown && self.parser.buffer.is_empty() => return Err(CameraError::Refused),
                    Err(error) => return Err(CameraError::Broke(error)),
                }
            }
        };
        timeout(SILENCE, next).await.unwrap_or(Err(CameraError::Silent))
    }
}

/// Takes bytes and gives pictures. Holds no more than one picture and a chunk.
#[derive(Debug, Default)]
struct Parser {
    buffer: BytesMut,
}

impl Parser {
    /// The next picture that is whole.
    ///
    /// # Errors
    /// If what comes is no picture. There is no way to find the next one.
    fn poll_picture(&mut self) -> Result<Option<Bytes>, CameraError> {
        let [low, middle, high, ..] = self.buffer[..] else { return Ok(None) };
        let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
        if length > MAX_PICTURE {
            return Err(CameraError::TooLarge);
        }
        let Some(picture) = self.buffer.get(HEADER..) else { return Ok(None) };
        // Nobody waits for eight megabytes that begin like no picture.
        let begins = picture.iter().zip(START).all(|(byte, expected)| byte == expected);
        if length < START.len() + END.len() || !begins {
            return Err(CameraError::NoPicture);
        }
        if picture.len() < length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        // A copy of its own, so that a picture that somebody holds does not hold the buffer.
        let picture = Bytes::copy_from_slice(&self.buffer.split_to(length));
        if picture.ends_with(END) { Ok(Some(picture)) } else { Err(CameraError::NoPicture) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use proptest::prelude::*;

    use super::*;

    const A: &[u8] = &[0xff, 0xd8, 0xff, 0xe0, 1, 2, 3, 0xff, 0xd9, 4, 0xff, 0xd9];

    fn frame(length: usize, picture: &[u8]) -> Vec<u8> {
        let length = u32::try_from(length).unwrap().to_le_bytes();
        // What stands in the other bytes of the header is the firmware's business.
        [&length[..3], &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], picture].concat()
    }

    fn pictures(bytes: &[u8], step: usize) -> Result<Vec<Bytes>, CameraError> {
        let mut parser = Parser::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(step) {
            parser.buffer.extend_from_slice(piece);
            while let Some(picture) = parser.poll_picture()? {
                found.push(picture);
            }
        }
        Ok(found)
    }

    #[test]
    fn the_login_has_eighty_bytes() {
        let login = login(b"12345678");
        assert_eq!((login.len(), &login[..8]), (80, &[0x40, 0, 0, 0, 0, 0x30, 0, 0][..]));
        assert_eq!((&login[16..21], &login[48..57]), (&b"bblp\0"[..], &b"12345678\0"[..]));
        assert_eq!(super::login(&[b'x'; 100])[48..], [b'x'; 32]);
    }

    #[test]
    fn pictures_are_found_however_the_stream_is_cut() {
        let stream = [frame(A.len(), A), frame(A.len(), A), frame(6, &[0xff, 0xd8, 0xff, 0xe0, 0xff, 0xd9])].concat();
        for step in 1..=stream.len() {
            let found = pictures(&stream, step).unwrap();
            assert_eq!((found.len(), &found[0][..], &found[1][..]), (3, A, A), "in steps of {step}");
        }
        assert_eq!(pictures(&stream[..stream.len() - 1], 7).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_give_pictures_or_an_error(
            bytes in proptest::collection::vec(prop_oneof![Just(0), Just(0xff), Just(0xd8), Just(0xe0), any::<u8>()], 0..200),
            length in 0_usize..64,
            step in 1_usize..40,
        ) {
            let whole = pictures(&[frame(length, START), bytes].concat(), step);
            for picture in whole.unwrap_or_default() {
                prop_assert!(picture.starts_with(START) && picture.ends_with(END));
            }
        }
    }

    #[test]
    fn what_is_no_picture_ends_the_stream() {
        for (what, stream) in [
            ("no length", frame(0, A)),
            ("too short", frame(5, A)),
            ("ends elsewhere", frame(A.len() - 1, A)),
            ("begins otherwise", frame(A.len(), &A[1..])),
            ("begins otherwise, and is not whole", frame(1_000_000, b"<html>")),
        ] {
            for step in [1, 5, 100] {
                assert!(matches!(pictures(&stream, step), Err(CameraError::NoPicture)), "{what}");
            }
        }
        assert!(matches!(pictures(&frame(MAX_PICTURE + 1, A), 1), Err(CameraError::TooLarge)));
        assert!(pictures(&frame(MAX_PICTURE, A), 100).unwrap().is_empty());
    }
}
