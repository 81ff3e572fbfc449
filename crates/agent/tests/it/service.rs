//! The service's end of links, with the real tunnel and no rules of its own.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::link::{AgentEvent, Hello, PrinterStatus, Refusal, RefusalReason, Welcome};
use model::printing::PrinterState;
use model::{PrinterId, wire};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tunnel::accept::{Arrival, refusal_response, unix_time_ms};
use tunnel::service_side::{LAST_STREAM_ID, LinkClient, LinkObserver};

use crate::program::LONG;

/// What the service makes of an agent.
type Verdict = dyn Fn(&Hello) -> Result<Welcome, Refusal> + Send + Sync;

pub(crate) struct Service {
    scheme: &'static str,
    address: SocketAddr,
    arrivals: Mutex<mpsc::Receiver<Seen>>,
    /// What agents without a token are answered, in this order; and what they asked.
    pub(crate) pairing: Arc<Pairing>,
}

#[derive(Default)]
pub(crate) struct Pairing {
    pub(crate) answers: parking_lot::Mutex<VecDeque<(u16, String)>>,
    pub(crate) asked: parking_lot::Mutex<Vec<(Method, String)>>,
}

/// An agent that was let in.
pub(crate) struct Seen {
    pub(crate) hello: Hello,
    pub(crate) key: String,
    pub(crate) link: LinkClient,
}

impl Service {
    /// One that takes everybody as `id`.
    pub(crate) async fn welcoming(id: &PrinterId) -> Self {
        let id = id.clone();
        Self::start(move |_| Ok(welcome(&id))).await
    }

    pub(crate) async fn refusing(reason: RefusalReason) -> Self {
        Self::start(move |_| Err(refusal(reason))).await
    }

    pub(crate) async fn start(verdict: impl Fn(&Hello) -> Result<Welcome, Refusal> + Send + Sync + 'static) -> Self {
        Self::start_with(Arc::new(verdict), None).await
    }

    /// One that takes everybody as `id`, over TLS.
    pub(crate) async fn with_tls(id: &PrinterId, tls: rustls::ServerConfig) -> Self {
        let id = id.clone();
        Self::start_with(Arc::new(move |_| Ok(welcome(&id))), Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn start_with(verdict: Arc<Verdict>, tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, arrivals) = mpsc::channel(16);
        let pairing = Arc::new(Pairing::default());
        let paired = Arc::clone(&pairing);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (verdict, tell) = (Arc::clone(&verdict), tell.clone());
                let paired = Arc::clone(&paired);
                let answer =
                    service_fn(move |request| answer(request, Arc::clone(&verdict), tell.clone(), Arc::clone(&paired)));
                let tls = tls.clone();
                tokio::spawn(async move {
                    let http = http1::Builder::new();
                    // What agents that do not like us leave behind is no matter.
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(stream), answer).with_upgrades().await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            http.serve_connection(TokioIo::new(stream), answer).with_upgrades().await
                        }
                    };
                });
            }
        });
        Self { scheme, address, arrivals: Mutex::new(arrivals), pairing }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The next agent that comes and is let in.
    pub(crate) async fn next(&self) -> Seen {
        timeout(LONG, self.arrivals.lock().await.recv()).await.unwrap().unwrap()
    }
}

impl Seen {
    /// Asks the printer, as a visitor would.
    pub(crate) async fn get(&self, path: &str) -> (u16, Bytes) {
        self.ask(Method::GET, wire::PRINTER_AUTHORITY, path, |_| false).await
    }

    /// Asks the agent itself, as only the service can.
    pub(crate) async fn ask_agent(&self, method: Method, path: &str) -> (u16, Bytes) {
        self.ask(method, wire::AGENT_AUTHORITY, path, |_| false).await
    }

    /// Tries as a visitor what only the service can.
    pub(crate) async fn ask_printer(&self, method: Method, path: &str) -> (u16, Bytes) {
        self.ask(method, wire::PRINTER_AUTHORITY, path, |_| false).await
    }

    /// Waits until the agent has said this of what its printer does.
    pub(crate) async fn wait_for_state(&self, wanted: impl Fn(&PrinterState) -> bool) {
        self.wait_for_event(|event| matches!(event, AgentEvent::PrinterState(state) if wanted(state))).await;
    }

    /// Waits until the agent has said this of its printer.
    pub(crate) async fn wait_for_status(&self, wanted: impl Fn(&PrinterStatus) -> bool) {
        self.wait_for_event(|event| matches!(event, AgentEvent::PrinterStatus(status) if wanted(status))).await;
    }

    async fn wait_for_event(&self, wanted: impl Fn(&AgentEvent) -> bool) {
        let saw = |body: &[u8]| {
            body.split(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .any(|event| wanted(&event))
        };
        timeout(LONG, self.ask(Method::GET, wire::AGENT_AUTHORITY, wire::EVENTS_PATH, saw)).await.unwrap();
    }

    /// Reads the answer to its end, or until enough has come.
    async fn ask(&self, method: Method, authority: &str, path: &str, enough: impl Fn(&[u8]) -> bool) -> (u16, Bytes) {
        let request = Request::builder().method(method).uri(format!("http://{authority}{path}")).body(()).unwrap();
        let open = self.link.open(request, true).await.unwrap();
        let (head, mut stream) = timeout(LONG, open.response).await.unwrap().unwrap().into_parts();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data.unwrap();
            stream.flow_control().release_capacity(data.len()).unwrap();
            body.extend_from_slice(&data);
            if enough(&body) {
                break;
            }
        }
        (head.status.as_u16(), body.into())
    }
}

async fn answer(
    mut request: Request<Incoming>,
    verdict: Arc<Verdict>,
    tell: mpsc::Sender<Seen>,
    pairing: Arc<Pairing>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == wire::PAIRING_PATH {
        let method = request.method().clone();
        let body = request.collect().await.unwrap().to_bytes();
        pairing.asked.lock().push((method.clone(), String::from_utf8(body.to_vec()).unwrap()));
        // A service that links by tokens only has no codes.
        let none = || if method == Method::GET { (404, String::new()) } else { (403, String::new()) };
        let (status, body) = pairing.answers.lock().pop_front().unwrap_or_else(none);
        return Ok(Response::builder().status(status).body(Full::from(body)).unwrap());
    }
    let arrival = Arrival::read(&request).unwrap();
    let welcome = match verdict(&arrival.hello) {
        Ok(welcome) => welcome,
        Err(refusal) => return Ok(refusal_response(&refusal)),
    };
    let response = arrival.transport.accept_response(&welcome);
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let io = arrival.transport.take_over::<TcpStream>(upgrade).await.unwrap();
        let (link, driver) = LinkClient::start(io, LAST_STREAM_ID, Quiet).await.unwrap();
        let linked = Request::post(format!("http://{}{}", wire::AGENT_AUTHORITY, wire::LINKED_PATH)).body(()).unwrap();
        // Kept as long as the link is driven: a connection that nobody can make requests on ends in order, and the agent
        // would be back before its test wants it.
        let client = link.clone();
        let kept = link.clone();
        tokio::spawn(async move {
            if let Ok(stream) = client.open(linked, true).await {
                let _ = stream.response.await;
            }
        });
        let seen = Seen { hello: arrival.hello, key: arrival.key.expose().to_owned(), link };
        // A test that has ended hears nothing any more.
        let _ = tell.send(seen).await;
        driver.run().await;
        drop(kept);
    });
    Ok(response)
}

struct Quiet;

impl LinkObserver for Quiet {
    fn round_trip(&mut self, _: Duration) {}
    fn exhausted(&mut self) {}
}

pub(crate) fn welcome(id: &PrinterId) -> Welcome {
    Welcome {
        protocol: 1,
        printer_id: id.clone(),
        printer_name: "Prusa".to_owned(),
        service_version: "9.9.9".to_owned(),
        unix_time_ms: unix_time_ms(SystemTime::now()),
    }
}

pub(crate) fn refusal(reason: RefusalReason) -> Refusal {
    Refusal { reason, message: "because the test says so".to_owned(), retry_after_seconds: None }
}
