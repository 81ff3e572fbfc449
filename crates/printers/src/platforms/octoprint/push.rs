//! What OctoPrint pushes: its state as it changes, over the WebSocket of its own pages (SockJS without its framing).

use std::convert::Infallible;

use futures_util::StreamExt;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tracing::debug;
use tunnel::backoff::{Backoff, random_fraction};

use super::OctoPrint;
use super::state::Pushed;
use crate::software_client::websocket::{self, PING_PERIOD, SILENCE, Socket, SocketError};
use crate::software_client::{AskError, SoftwareClient};

const PATH: &str = "/sockjs/websocket";
/// OctoPrint reports twice a second times this; nobody notices one second.
const THROTTLE: u32 = 2;

#[derive(Debug, Error)]
enum Lost {
    #[error("{0}")]
    Socket(#[from] SocketError),
    #[error("OctoPrint gives no session: {0}")]
    NoSession(#[from] AskError),
    #[error("OctoPrint gives no session; it answers {}", .0.as_u16())]
    Refused(StatusCode),
    /// Somebody has changed the key's user.
    #[error("OctoPrint wants the session renewed")]
    SessionEnded,
}

/// A message of OctoPrint's has one member, whose name says what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming {
    /// The state at the beginning.
    history: Option<Pushed>,
    /// The state as it changes.
    current: Option<Pushed>,
    reauth_required: Option<serde::de::IgnoredAny>,
}

/// Follows what is pushed for as long as the future lives. Where nothing is, the looks go on as often as without.
pub(super) async fn follow(octoprint: &OctoPrint) {
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        let lost = match connect(&octoprint.client).await {
            Ok(socket) => {
                let lost = match read(octoprint, socket).await {
                    Ok(never) => match never {},
                    Err(lost) => lost,
                };
                octoprint.set_pushing(false);
                backoff.handle_connection_lasted(began.elapsed());
                lost
            }
            Err(lost) => lost,
        };
        debug!("OctoPrint pushes nothing and is asked instead: {lost}");
        tokio::time::sleep(backoff.next_delay(random_fraction())).await;
    }
}

/// Signs in with the key, for OctoPrint's WebSocket knows no keys, and says what is of interest.
async fn connect(client: &SoftwareClient) -> Result<Socket, Lost> {
    #[derive(Deserialize)]
    struct Login {
        name: String,
        session: String,
    }
    let answer = client.post("/api/login", &json!({"passive": true})).await?;
    if answer.status != StatusCode::OK {
        return Err(Lost::Refused(answer.status));
    }
    let login: Login = answer.json()?;
    let mut socket = websocket::open(client.connector(), PATH, client.api_key()).await?;
    for said in [
        json!({"throttle": THROTTLE}),
        json!({"subscribe": {"state": {"logs": false, "messages": false}, "events": false, "plugins": false}}),
        json!({"auth": format!("{}:{}", login.name, login.session)}),
    ] {
        websocket::send(&mut socket, Message::text(said.to_string())).await?;
    }
    Ok(socket)
}

async fn read(octoprint: &OctoPrint, mut socket: Socket) -> Result<Infallible, Lost> {
    let (mut heard, mut pinged) = (Instant::now(), Instant::now());
    loop {
        tokio::select! {
            message = socket.next() => {
                heard = Instant::now();
                let text = match message.ok_or(SocketError::Closed)?.map_err(SocketError::Broke)? {
                    Message::Text(text) => text,
                    Message::Close(_) => return Err(SocketError::Closed.into()),
                    _ => continue,
                };
                // What cannot be read is none of ours: plug-ins say a lot.
                let Ok(incoming) = serde_json::from_str::<Incoming>(text.as_str()) else { continue };
                if incoming.reauth_required.is_some() {
                    return Err(Lost::SessionEnded);
                }
                if let Some(pushed) = incoming.history.or(incoming.current) {
                    octoprint.set_pushing(true);
                    octoprint.handle_pushed(pushed).await;
                }
            }
            () = sleep_until(pinged + PING_PERIOD) => {
                pinged = Instant::now();
                if heard.elapsed() > SILENCE {
                    return Err(SocketError::Silent.into());
                }
                websocket::send(&mut socket, Message::Ping(bytes::Bytes::new())).await?;
            }
        }
    }
}
