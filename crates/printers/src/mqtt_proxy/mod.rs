//! MQTT for apps, in a WebSocket (`proxy/mqtt`): each is a client of ours, and all of them share the agent's one
//! connection to the printer.
//!
//! It is opened before anything is known of the printer. The first message tells whether MQTT 3.1.1 is spoken or the
//! JSON protocol of older apps.

mod clients;
mod json_client;
mod json_protocol;
mod mqtt_client;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, header};
use model::wire;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::{Instrument, debug};
use tunnel::agent_side::PrinterStream;

use self::clients::Clients;
use self::socket::{Ended, Socket};
use crate::mqtt::PrinterBroker;
use crate::platforms::{CommandFailure, Outcome};

/// At once. Each may cost some megabytes while it falls behind.
const MAX_CLIENTS: usize = 25;
/// For the first message, and the login of those who speak MQTT.
const HELLO_LIMIT: Duration = Duration::from_secs(20);
/// Bytes on their way between the tunnel and a client's task.
const PIPE: usize = 32 * 1024;
/// The name that MQTT's own clients ask for (MQTT 3.1.1 §6).
const SUBPROTOCOL: &str = "mqtt";

/// A WebSocket that was opened: the head of the answer, and its bytes.
pub(crate) type OpenedSocket = (Response<()>, Box<dyn PrinterStream>);

/// All clients of one printer's broker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MqttProxy {
    places: Arc<Semaphore>,
    clients: Arc<Clients>,
}

impl Default for MqttProxy {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_CLIENTS)), clients: Arc::default() }
    }
}

impl MqttProxy {
    /// Opens a WebSocket for one more client.
    pub(crate) fn open(&self, broker: PrinterBroker, headers: &HeaderMap) -> Outcome<OpenedSocket> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            CommandFailure::TooManyClients(format!("{MAX_CLIENTS} apps speak MQTT with this printer already"))
        })?;
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let clients = Arc::clone(&self.clients);
        tokio::spawn(async move { serve(Socket::new(ours).await, broker, clients, place).await }.in_current_span());
        let mut head = Response::new(());
        head.headers_mut().insert(wire::UPGRADED_HEADER, HeaderValue::from_static("1"));
        if asks_for_mqtt(headers) {
            head.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        Ok((head, Box::new(theirs)))
    }
}

fn asks_for_mqtt(headers: &HeaderMap) -> bool {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).any(|name| name.trim() == SUBPROTOCOL)
}

/// Serves one client until its WebSocket is closed.
async fn serve(mut socket: Socket, broker: PrinterBroker, clients: Arc<Clients>, _place: OwnedSemaphorePermit) {
    let first = tokio::time::timeout(HELLO_LIMIT, socket.next()).await;
    let ended = match first {
        Err(_) => Ended::with(CloseCode::Policy, "nothing was said"),
        Ok(Err(ended)) => ended,
        Ok(Ok(first)) => match Spoken::of(first.bytes()) {
            Some(Spoken::Mqtt) => mqtt_client::serve(&mut socket, first, &broker, &clients).await,
            Some(Spoken::Json) => json_client::serve(&mut socket, first, &broker).await,
            None => Ended::with(CloseCode::Protocol, "that is neither MQTT nor JSON"),
        },
    };
    debug!("an MQTT client has gone: {ended}");
    socket.close(ended).await;
}

/// What a client speaks, by the first thing that it says.
#[derive(Debug, PartialEq, Eq)]
enum Spoken {
    Mqtt,
    Json,
}

impl Spoken {
    fn of(first: &[u8]) -> Option<Self> {
        const CONNECT: u8 = 0x10;
        if first.first() == Some(&CONNECT) {
            return Some(Self::Mqtt);
        }
        (first.trim_ascii_start().first() == Some(&b'{')).then_some(Self::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_tells_what_is_spoken() {
        assert_eq!(Spoken::of(&[0x10, 0x0c]), Some(Spoken::Mqtt));
        assert_eq!(Spoken::of(b" \r\n{\"Type\""), Some(Spoken::Json));
        for other in [&b""[..], b"  ", b"[]", b"GET / HTTP/1.1", &[0x20, 2, 0, 0], &[0x11]] {
            assert_eq!(Spoken::of(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_subprotocol_is_given_to_those_who_ask() {
        let asks = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value));
            asks_for_mqtt(&headers)
        };
        assert!(asks("mqtt") && asks("mqttv3.1, mqtt"));
        assert!(!asks("mqttv3.1") && !asks_for_mqtt(&HeaderMap::new()));
    }
}
