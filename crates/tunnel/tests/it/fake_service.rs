//! A service that does what a test wants, on a socket, and an agent to dial it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::link::{Hello, PROTOCOL_VERSION, PrinterStatus, Refusal, Welcome};
use model::{PrinterId, Secret, wire};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tunnel::accept::{Arrival, Transport, unix_time_ms};
use tunnel::agent_loop::{AgentOptions, Identity, Notice, run};
use tunnel::agent_side::PrinterHandler;
use tunnel::body::{RecvBody, send_body};
use tunnel::dial::{DialOptions, tls_config};
use tunnel::service_side::{LAST_STREAM_ID, LinkClient, LinkEnd, OpenStream};

use crate::ends::{Told, full};

/// A link that an agent has opened.
pub(crate) struct Link {
    pub(crate) hello: Hello,
    pub(crate) key: Secret,
    pub(crate) transport: Transport,
    pub(crate) client: LinkClient,
    pub(crate) end: JoinHandle<LinkEnd>,
    pub(crate) told: Told,
}

impl Link {
    /// Makes a request to the agent itself. Returns its status and body, which is read only as far as `read` bytes.
    pub(crate) async fn ask_agent(&self, method: Method, path: &str, body: &'static str) -> (StatusCode, RecvBody) {
        let uri = format!("http://{}{path}", wire::AGENT_AUTHORITY);
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        let mut stream = self.client.open(request, body.is_empty()).await.unwrap();
        if !body.is_empty() {
            send_body(full(body), &mut stream.body).await.unwrap();
        }
        let response = stream.response.await.unwrap();
        (response.status(), RecvBody::new(response.into_body(), None))
    }

    /// Tells the agent that it is linked.
    pub(crate) async fn tell_linked(&self) {
        assert_eq!(self.ask_agent(Method::POST, wire::LINKED_PATH, "").await.0, StatusCode::NO_CONTENT);
    }

    /// Makes a request to the printer. Returns its status once the whole body has come.
    pub(crate) async fn ask_printer(&self, path: &str) -> Result<StatusCode, h2::Error> {
        use http_body_util::BodyExt;
        let request = Request::get(format!("http://{}{path}", wire::PRINTER_AUTHORITY)).body(()).unwrap();
        let OpenStream { response, guard, .. } = self.client.open(request, true).await?;
        let response = response.await?;
        let status = response.status();
        RecvBody::new(response.into_body(), None).collect().await?;
        drop(guard);
        Ok(status)
    }
}

type Answer = Response<Either<Full<Bytes>, Empty<Bytes>>>;

/// Listens for agents.
pub(crate) struct FakeService {
    pub(crate) address: SocketAddr,
    pub(crate) printer_id: PrinterId,
    links: mpsc::Receiver<Link>,
    accepting: JoinHandle<()>,
}

impl Drop for FakeService {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl FakeService {
    /// One that lets every agent in.
    pub(crate) async fn start() -> Self {
        Self::start_with(LAST_STREAM_ID, |_| None).await
    }

    /// One that lets in whom `refuse` has no answer for, and whose links announce the end of their ids at
    /// `last_stream_id`.
    pub(crate) async fn start_with(
        last_stream_id: u32,
        refuse: impl Fn(&Request<Incoming>) -> Option<Response<Full<Bytes>>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let printer_id = PrinterId::generate();
        let (send, links) = mpsc::channel(10);
        let shared = Arc::new((refuse, send, printer_id.clone()));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request: Request<Incoming>| {
                    let shared = Arc::clone(&shared);
                    async move {
                        let (refuse, links, printer_id) = &*shared;
                        Ok::<_, std::convert::Infallible>(match refuse(&request) {
                            Some(refusal) => refusal.map(Either::Left),
                            None => accept(request, printer_id, last_stream_id, links.clone()),
                        })
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                tokio::spawn(connection);
            }
        });
        Self { address, printer_id, links, accepting }
    }

    /// The next link.
    pub(crate) async fn link(&mut self) -> Link {
        tokio::time::timeout(std::time::Duration::from_secs(20), self.links.recv()).await.unwrap().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn accept(
    mut request: Request<Incoming>,
    printer_id: &PrinterId,
    last_stream_id: u32,
    links: mpsc::Sender<Link>,
) -> Answer {
    let arrival = Arrival::read(&request).unwrap();
    let upgrade = hyper::upgrade::on(&mut request);
    let response = arrival.transport.accept_response::<Empty<Bytes>>(&welcome(printer_id));
    tokio::spawn(async move {
        let io = arrival.transport.take_over::<tokio::net::TcpStream>(upgrade).await.unwrap();
        start_link(io, arrival, last_stream_id, links).await;
    });
    response.map(Either::Right)
}

async fn start_link<T>(io: T, arrival: Arrival, last_stream_id: u32, links: mpsc::Sender<Link>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let told = Told::default();
    let (client, driver) = LinkClient::start(io, last_stream_id, told.clone()).await.unwrap();
    let Arrival { transport, hello, key } = arrival;
    let link = Link { hello, key, transport, client, end: tokio::spawn(driver.run()), told };
    // A test may have seen enough.
    let _ = links.send(link).await;
}

pub(crate) fn welcome(printer_id: &PrinterId) -> Welcome {
    Welcome {
        protocol: PROTOCOL_VERSION,
        printer_id: printer_id.clone(),
        printer_name: "Printer".to_owned(),
        service_version: "0.0.0-test".to_owned(),
        unix_time_ms: unix_time_ms(SystemTime::now()),
    }
}

/// Who the agent is, in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) key: Mutex<Option<Secret>>,
    pub(crate) printer_id: Mutex<Option<PrinterId>>,
    /// Set where nothing can be written.
    pub(crate) is_full: bool,
}

impl Identity for Memory {
    fn printer_id(&self) -> Option<PrinterId> {
        self.printer_id.lock().clone()
    }
    fn key(&self) -> Secret {
        self.key.lock().get_or_insert_with(Secret::generate).clone()
    }
    fn enrolment_token(&self) -> Option<Secret> {
        self.printer_id.lock().is_none().then(|| Secret::new("token"))
    }
    fn enrolled(&self, printer_id: &PrinterId) -> io::Result<()> {
        if self.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *self.printer_id.lock() = Some(printer_id.clone());
        Ok(())
    }
}

/// A running agent.
pub(crate) struct Agent {
    pub(crate) status: watch::Sender<PrinterStatus>,
    pub(crate) running: JoinHandle<Result<(), Refusal>>,
    pub(crate) shutdown: CancellationToken,
    notices: mpsc::Receiver<Notice>,
}

/// More than an agent says in any test.
const MAX_NOTICES: usize = 1024;

impl Agent {
    /// Starts one that dials `server` and trusts what the system trusts.
    pub(crate) fn start(server: &str, identity: Memory, printer: impl PrinterHandler) -> Self {
        let (status, watched) = watch::channel(PrinterStatus::default());
        let (send, notices) = mpsc::channel(MAX_NOTICES);
        let shutdown = CancellationToken::new();
        let options = AgentOptions {
            dial: DialOptions { server: server.parse().unwrap(), tls: tls_config(None).unwrap(), insecure: false },
            version: "0.0.0-test".to_owned(),
            capabilities: vec!["testing".to_owned()],
            services: None,
        };
        let notify = move |notice| {
            // A test that does not listen wants none of them.
            let _ = send.try_send(notice);
        };
        let agent = run(options, Arc::new(identity), watched, Arc::new(printer), notify, shutdown.clone());
        Self { status, running: tokio::spawn(agent.boxed()), shutdown, notices }
    }

    /// What it says next to the person who runs it.
    pub(crate) async fn notice(&mut self) -> Notice {
        tokio::time::timeout(std::time::Duration::from_secs(20), self.notices.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.running.abort();
    }
}
