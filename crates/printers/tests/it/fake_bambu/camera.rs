//! Its camera.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;

use super::{CODE, Shared};

/// What it sends to whoever knows the code.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// Pictures with their numbers, in pieces.
    Moving,
    /// These bytes, and then the end.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing for as long as somebody waits.
    Then(Vec<u8>),
}

/// A picture as it travels.
pub(crate) fn frame(length: usize, picture: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_le_bytes();
    [&length[..], &[0; 12], picture].concat()
}

pub(crate) fn picture(number: u8) -> Vec<u8> {
    [&[0xff, 0xd8, 0xff, 0xe0, 0, 16][..], b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0", &[0xff, 0xfe, 0, 3, number, 0xff, 0xd9]]
        .concat()
}

pub(super) async fn serve(shared: Shared, mut stream: TlsStream<TcpStream>) -> Option<()> {
    let mut login = [0; 80];
    stream.read_exact(&mut login).await.ok()?;
    let mut expected = [&[0x40, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], b"bblp"].concat();
    expected.resize(48, 0);
    expected.extend_from_slice(CODE.as_bytes());
    expected.resize(80, 0);
    if login[..] != expected[..] {
        return None;
    }
    shared.printer(|printer| printer.n_captures += 1);
    match shared.printer(|printer| printer.camera.clone()) {
        Script::Moving => {
            for number in 1..=u8::MAX {
                let picture = picture(number);
                for piece in frame(picture.len(), &picture).chunks(7) {
                    stream.write_all(piece).await.ok()?;
                    stream.flush().await.ok()?;
                }
                sleep(Duration::from_millis(20)).await;
            }
            None
        }
        Script::Bytes(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            stream.shutdown().await.ok()
        }
        Script::Then(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            stream.flush().await.ok()?;
            // Until the viewer has gone.
            let _ = stream.read(&mut [0]).await;
            None
        }
    }
}
