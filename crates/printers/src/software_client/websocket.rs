//! The agent's own WebSocket to a printer's software.

use std::time::Duration;

use futures_util::SinkExt;
use http::{HeaderValue, StatusCode};
use thiserror::Error;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{API_KEY, MAX_ANSWER};
use crate::connector::{ConnectError, PrinterConnector, PrinterIo};

/// For the handshake, and for the software to take what is sent.
const TIMEOUT: Duration = Duration::from_secs(10);
/// tungstenite takes this much at once for each connection; its default is 128 KiB.
const BUFFER: usize = 8 * 1024;
/// Who has nothing to say is asked this often whether it is there.
pub(crate) const PING_PERIOD: Duration = Duration::from_secs(20);
/// Silent for longer than two pings, it is gone.
pub(crate) const SILENCE: Duration = Duration::from_secs(50);

pub(crate) type Socket = WebSocketStream<Box<dyn PrinterIo>>;

/// Why there is no WebSocket, or none any more.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The software asks for a key, or for another one.
    #[error("the printer's software does not accept the API key")]
    Refused,
    #[error("the printer's software has no WebSocket at this address: {0}")]
    Handshake(tungstenite::Error),
    #[error("the connection to the printer's software broke: {0}")]
    Broke(#[from] tungstenite::Error),
    #[error("the printer's software has been silent for too long")]
    Silent,
    #[error("the printer's software closed the connection")]
    Closed,
}

/// Opens a WebSocket at `path`; messages of more than [`MAX_ANSWER`] end it.
pub(crate) async fn open(
    connector: &PrinterConnector,
    path: &str,
    key: Option<HeaderValue>,
) -> Result<Socket, SocketError> {
    let connection = connector.connect().await?;
    let mut request = format!("ws://{}{path}", connector.target().authority()).into_client_request()?;
    if let Some(key) = key {
        request.headers_mut().insert(API_KEY, key);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_ANSWER))
        .max_frame_size(Some(MAX_ANSWER));
    match timeout(TIMEOUT, client_async_with_config(request, connection.io, Some(config))).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(tungstenite::Error::Http(answer)))
            if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
        {
            Err(SocketError::Refused)
        }
        Ok(Err(error)) => Err(SocketError::Handshake(error)),
        Err(_) => Err(SocketError::Silent),
    }
}

/// Sends a message, unless the software does not take it.
pub(crate) async fn send(socket: &mut Socket, message: Message) -> Result<(), SocketError> {
    timeout(TIMEOUT, socket.send(message)).await.map_err(|_| SocketError::Silent)?.map_err(SocketError::Broke)
}
