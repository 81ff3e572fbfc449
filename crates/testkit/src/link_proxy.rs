//! What stands between an agent and its service: something that breaks, or that knows no `spoolway-tunnel`.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::raw_origin::read_head;

/// Passes bytes on to the service.
pub struct LinkProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    connections: JoinSet<()>,
    is_cut: bool,
}

impl LinkProxy {
    /// One in front of `service`.
    pub async fn start(service: SocketAddr) -> Self {
        Self::start_with(service, false).await
    }

    /// One that answers 400 to an upgrade to `spoolway-tunnel`, as a proxy does that knows WebSockets only.
    pub async fn start_for_websockets_only(service: SocketAddr) -> Self {
        Self::start_with(service, true).await
    }

    async fn start_with(service: SocketAddr, websockets_only: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let accepted = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut state = accepted.lock();
                if !state.is_cut {
                    state.connections.spawn(pass_on(stream, service, websockets_only));
                }
            }
        });
        Self { address, state, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for an agent.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks all connections and refuses new ones.
    pub fn cut(&self) {
        let mut state = self.state.lock();
        state.is_cut = true;
        state.connections.abort_all();
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.state.lock().is_cut = false;
    }
}

impl Drop for LinkProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass_on(mut agent: TcpStream, service: SocketAddr, websockets_only: bool) {
    let _ = agent.set_nodelay(true);
    let Ok(mut service) = TcpStream::connect(service).await else { return };
    let _ = service.set_nodelay(true);
    if websockets_only {
        let head = read_head(&mut agent).await;
        if head.to_ascii_lowercase().contains("upgrade: spoolway-tunnel") {
            let _ =
                agent.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            return;
        }
        if service.write_all(head.as_bytes()).await.is_err() {
            return;
        }
    }
    let _ = tokio::io::copy_bidirectional(&mut agent, &mut service).await;
}
