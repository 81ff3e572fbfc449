//! A client's WebSocket, and how it ends.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use model::RelayError;
use tokio::io::DuplexStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::platforms::CommandFailure;

/// Bytes of one message: a packet of the greatest length, in base64, with what is around it.
const MAX_MESSAGE: usize = 3 * 1024 * 1024 / 2;
/// tungstenite takes this much per connection at once; its default is 128 KiB.
const BUFFER: usize = 4 * 1024;
/// For the client to take what is sent.
const SEND_LIMIT: Duration = Duration::from_secs(20);
/// For its goodbye.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Bytes that fit into a close frame besides its code.
const MAX_REASON: usize = 123;

/// What a client has sent.
#[derive(Debug)]
pub(super) enum Said {
    Text(Utf8Bytes),
    Binary(Bytes),
}

impl Said {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// Why a client's WebSocket ends, and what it is told; nothing where it has gone by itself.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    close: Option<(u16, String)>,
}

impl Ended {
    /// The client has gone.
    pub(super) const GONE: Self = Self { close: None };

    /// With one of the codes of RFC 6455.
    pub(super) fn with(code: CloseCode, reason: &str) -> Self {
        Self { close: Some((code.into(), reason.to_owned())) }
    }

    /// Because of the printer.
    pub(super) fn failed(failure: &CommandFailure) -> Self {
        let code = match failure {
            CommandFailure::CredentialsRejected(_) => RelayError::PluginError,
            _ => RelayError::PrinterTimeout,
        };
        Self { close: Some((code.close_code(), format!("{}: {failure}", code.name()))) }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.close {
            None => f.write_str("it closed its WebSocket"),
            Some((code, reason)) => write!(f, "{code} {reason}"),
        }
    }
}

/// A client's WebSocket.
pub(super) struct Socket {
    stream: WebSocketStream<DuplexStream>,
}

impl Socket {
    pub(super) async fn new(io: DuplexStream) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(2 * MAX_MESSAGE)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Self { stream: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await }
    }

    /// The next message. It can be given up at any time: a half-read one stays in the socket.
    pub(super) async fn next(&mut self) -> Result<Said, Ended> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Said::Text(text)),
                Some(Ok(Message::Binary(bytes))) => return Ok(Said::Binary(bytes)),
                // The library answers them.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(Error::Capacity(_))) => {
                    return Err(Ended::with(CloseCode::Size, "that message is too long"));
                }
                Some(Err(Error::Protocol(_) | Error::Utf8(_))) => {
                    return Err(Ended::with(CloseCode::Protocol, "that is no WebSocket"));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Ended::GONE),
            }
        }
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), Ended> {
        match timeout(SEND_LIMIT, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ended::GONE),
        }
    }

    /// Says why, and waits a moment for the client to hear it.
    pub(super) async fn close(mut self, ended: Ended) {
        let Some((code, reason)) = ended.close else { return };
        let end = reason.floor_char_boundary(MAX_REASON);
        let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::from(&reason[..end]) };
        let goodbye = async {
            // Whoever has gone need not be told.
            let _ = self.stream.close(Some(frame)).await;
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        // A client that says nothing more is cut off.
        let _ = timeout(CLOSE_LIMIT, goodbye).await;
    }
}
