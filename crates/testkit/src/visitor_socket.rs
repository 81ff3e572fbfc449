//! A visitor's WebSocket over either version of HTTP, with every header the test's own.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::ext::Protocol as ConnectProtocol;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Client, ClientIo, Exchange, Protocol};
use crate::wait::LIMIT;

/// Messages of 32 MiB and a little more.
const MAX_MESSAGE: usize = 40 * 1024 * 1024;

/// An accepted WebSocket.
pub struct VisitorSocket {
    /// The messages.
    pub messages: WebSocketStream<Box<dyn ClientIo>>,
    /// The headers of the response that accepted it.
    pub headers: HeaderMap,
}

/// The same before any frame is understood, for tests of frames.
pub struct VisitorBytes {
    /// The bytes.
    pub io: Box<dyn ClientIo>,
    /// The headers of the response that accepted it.
    pub headers: HeaderMap,
}

/// How a WebSocket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a close frame.
    Closed {
        /// Its code; 1005 if it had none.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// Without one.
    BrokeOff,
}

impl Ending {
    /// An end with a close frame.
    pub fn closed(code: u16, reason: &str) -> Self {
        Self::Closed { code, reason: reason.to_owned() }
    }
}

impl Client {
    /// Opens a WebSocket: an upgrade in HTTP/1.1, an extended CONNECT (RFC 8441) in HTTP/2.
    ///
    /// # Errors
    /// The response, if it does not accept.
    pub async fn websocket(
        &self,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<VisitorSocket, Box<Exchange>> {
        let VisitorBytes { io, headers } = self.websocket_bytes(host, path, headers).await?;
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        Ok(VisitorSocket { messages: WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await, headers })
    }

    /// The same, with the frames left to the caller.
    ///
    /// # Errors
    /// The response, if it does not accept.
    pub async fn websocket_bytes(
        &self,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<VisitorBytes, Box<Exchange>> {
        let key = generate_key();
        let mut request = Request::get(path).header(header::HOST, host).header(header::SEC_WEBSOCKET_VERSION, "13");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Empty::<Bytes>::new()).unwrap();
        let opening = async {
            let mut connection = self.connect(host).await.unwrap();
            let accepting = match self.protocol() {
                Protocol::Http1 => {
                    for (name, value) in [
                        (header::CONNECTION, "Upgrade"),
                        (header::UPGRADE, "websocket"),
                        (header::SEC_WEBSOCKET_KEY, key.as_str()),
                    ] {
                        insert(request.headers_mut(), name, value);
                    }
                    StatusCode::SWITCHING_PROTOCOLS
                }
                Protocol::Http2 => {
                    // The server's settings, which allow the method, are known once it has answered anything.
                    let first = Request::get("/healthz").header(header::HOST, "localhost").body(Empty::new()).unwrap();
                    let _ = connection.send(first).await.unwrap().into_body().collect().await.unwrap();
                    *request.method_mut() = Method::CONNECT;
                    request.extensions_mut().insert(ConnectProtocol::from_static("websocket"));
                    StatusCode::OK
                }
            };
            let response = connection.send(request).await.unwrap();
            if response.status() != accepting {
                return Err(Box::new(Exchange::read(response).await));
            }
            let headers = response.headers().clone();
            if self.protocol() == Protocol::Http1 {
                assert_eq!(headers[header::SEC_WEBSOCKET_ACCEPT], derive_accept_key(key.as_bytes()).as_str());
            }
            let upgraded = hyper::upgrade::on(response).await.unwrap();
            Ok(VisitorBytes { io: Box::new(TokioIo::new(upgraded)), headers })
        };
        tokio::time::timeout(LIMIT, opening).await.unwrap()
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    headers.insert(name, HeaderValue::from_str(value).unwrap());
}

impl VisitorSocket {
    /// The next message that is neither ping nor pong.
    pub async fn next_message(&mut self) -> Message {
        let next = async {
            loop {
                match self.messages.next().await.unwrap().unwrap() {
                    Message::Ping(_) | Message::Pong(_) => {}
                    message => return message,
                }
            }
        };
        tokio::time::timeout(LIMIT, next).await.unwrap()
    }

    /// Reads until the WebSocket ends, and says how.
    pub async fn ending(mut self) -> Ending {
        self.ending_within(LIMIT).await
    }

    /// The same with a limit of its own.
    pub async fn ending_within(&mut self, limit: Duration) -> Ending {
        let reading = async {
            loop {
                match self.messages.next().await {
                    Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                        return Ending::Closed { code: code.into(), reason: reason.to_string() };
                    }
                    Some(Ok(Message::Close(None))) => return Ending::closed(1005, ""),
                    Some(Ok(_)) => {}
                    Some(Err(Error::ConnectionClosed)) | None => return Ending::BrokeOff,
                    Some(Err(_)) => return Ending::BrokeOff,
                }
            }
        };
        tokio::time::timeout(limit, reading).await.expect("the WebSocket ends")
    }
}
