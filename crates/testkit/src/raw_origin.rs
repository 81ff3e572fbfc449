//! A printer's server of which every byte is the test's own, and one that speaks WebSockets.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Messages of 32 MiB and a little more.
const MAX_MESSAGE: usize = 40 * 1024 * 1024;

/// Hands each connection to the test.
pub struct RawOrigin {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl RawOrigin {
    /// Starts one whose connections `serve` serves.
    pub async fn start<F, S>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream));
            }
        });
        Self { address, accepting }
    }

    /// One that reads a request's head, answers with `bytes`, and closes.
    pub async fn answering(bytes: &'static [u8]) -> Self {
        Self::start(move |mut stream| async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(bytes).await;
        })
        .await
    }

    /// One that accepts WebSockets with `headers` in its answer and hands them to `serve`, with the request's headers.
    pub async fn websocket<F, S>(headers: &'static [(&'static str, &'static str)], serve: F) -> Self
    where
        F: Fn(WebSocketStream<TcpStream>, HeaderMap) -> S + Send + Sync + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let serve = Arc::new(serve);
        Self::start(move |stream| {
            let serve = Arc::clone(&serve);
            async move {
                let seen = Arc::new(Mutex::new(HeaderMap::new()));
                let recorded = Arc::clone(&seen);
                #[expect(clippy::result_large_err, reason = "the library's type")]
                let accept = move |request: &Request, mut response: Response| {
                    *recorded.lock() = request.headers().clone();
                    for (name, value) in headers {
                        response.headers_mut().append(*name, value.parse().unwrap());
                    }
                    Ok(response)
                };
                let config =
                    WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
                let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, accept, Some(config)).await;
                // A visitor may leave before the handshake is over.
                let Ok(socket) = accepted else { return };
                let headers = seen.lock().clone();
                serve(socket, headers).await;
            }
        })
        .await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Reads a request's head, the empty line included. What has come behind it is lost; there is nothing but a body.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// An address on which nothing listens.
pub async fn dead_address() -> SocketAddr {
    // Closed at once: the system does not give the port to the next that asks.
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
