//! An agent in process.

use std::net::SocketAddr;
use std::sync::Arc;

use model::link::{PrinterStatus, Refusal, RefusalReason};
use model::{PrinterId, Secret};
use parking_lot::Mutex;
use printers::PrinterUrl;
use printers::forward::{Forwarder, VisitorAddress};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;
use tunnel::agent_loop::{AgentOptions, Identity, Notice, run};
use tunnel::agent_services::AgentServices;
use tunnel::agent_side::PrinterHandler;
use tunnel::dial::{DialOptions, Upgrade, tls_config};

use crate::certificates::TestCertificates;
use crate::service::{TestPrinter, TestService};
use crate::wait::wait_until;

/// An agent that forwards to one address.
pub struct TestAgent {
    /// The printer's status as the agent reports it; send to change it.
    pub status: watch::Sender<PrinterStatus>,
    seen: Arc<Mutex<SeenByAgent>>,
    shutdown: CancellationToken,
    running: Option<JoinHandle<Result<(), Refusal>>>,
}

/// What an agent has noticed of its link.
#[derive(Clone, Debug, Default)]
pub struct SeenByAgent {
    /// How often it was told that visitors can reach its printer.
    pub connects: usize,
    /// How often it lost a link.
    pub losses: usize,
    /// How the last link's bytes travel.
    pub upgrade: Option<Upgrade>,
    /// Why it was last refused.
    pub refusal: Option<RefusalReason>,
}

/// How an agent reaches its service.
pub struct TestAgentOptions<'a> {
    /// Where the service is; `None` for its plain listener.
    pub server: Option<String>,
    /// Trusts these.
    pub certificates: Option<&'a TestCertificates>,
    /// Whether the printer sees the visitor's address.
    pub visitor_address: VisitorAddress,
    /// What it answers for its printer.
    pub services: Option<Arc<dyn AgentServices>>,
    /// The abilities that it claims.
    pub capabilities: &'a [&'a str],
}

impl Default for TestAgentOptions<'_> {
    fn default() -> Self {
        Self {
            server: None,
            certificates: None,
            visitor_address: VisitorAddress::Forward,
            services: None,
            capabilities: &[],
        }
    }
}

impl TestAgentOptions<'_> {
    fn tls(&self) -> Arc<ClientConfig> {
        tls_config(self.certificates.map(|certificates| certificates.authority.as_path())).unwrap()
    }
}

struct MemoryIdentity {
    key: Secret,
    token: Secret,
    printer_id: Mutex<Option<PrinterId>>,
}

impl Identity for MemoryIdentity {
    fn printer_id(&self) -> Option<PrinterId> {
        self.printer_id.lock().clone()
    }
    fn key(&self) -> Secret {
        self.key.clone()
    }
    fn enrolment_token(&self) -> Option<Secret> {
        self.printer_id.lock().is_none().then(|| self.token.clone())
    }
    fn enrolled(&self, printer_id: &PrinterId) -> std::io::Result<()> {
        *self.printer_id.lock() = Some(printer_id.clone());
        Ok(())
    }
}

impl TestAgent {
    /// Starts an agent of `printer` that forwards to `origin`, and waits until the service has it.
    pub async fn start(service: &TestService, printer: &TestPrinter, origin: SocketAddr) -> Self {
        Self::start_with(service, printer, origin, TestAgentOptions::default()).await
    }

    /// The same, reaching the service another way.
    pub async fn start_with(
        service: &TestService,
        printer: &TestPrinter,
        origin: SocketAddr,
        options: TestAgentOptions<'_>,
    ) -> Self {
        let target: PrinterUrl = format!("http://{origin}").parse().unwrap();
        let handler = Arc::new(Forwarder::new(&target, &options.tls(), options.visitor_address).unwrap());
        Self::start_answering(service, printer, handler, options).await
    }

    /// The same with another answer than that of a printer's web server.
    pub async fn start_answering<H: PrinterHandler>(
        service: &TestService,
        printer: &TestPrinter,
        handler: Arc<H>,
        options: TestAgentOptions<'_>,
    ) -> Self {
        let tls = options.tls();
        let server = options.server.unwrap_or_else(|| format!("http://{}", service.address()));
        let agent_options = AgentOptions {
            dial: DialOptions { server: server.parse().unwrap(), tls, insecure: false },
            version: "0.0.0-test".to_owned(),
            capabilities: options.capabilities.iter().map(|name| (*name).to_owned()).collect(),
            services: options.services,
        };
        let identity = Arc::new(MemoryIdentity {
            key: Secret::generate(),
            token: printer.token.clone(),
            printer_id: Mutex::default(),
        });
        let (status, watched) =
            watch::channel(PrinterStatus { reachable: true, software: "test".to_owned(), ..PrinterStatus::default() });
        let seen = Arc::new(Mutex::new(SeenByAgent::default()));
        let noting = Arc::clone(&seen);
        let shutdown = CancellationToken::new();
        let notify = move |notice| {
            let mut seen = noting.lock();
            match notice {
                Notice::Connected { upgrade, .. } => {
                    seen.connects += 1;
                    seen.upgrade = Some(upgrade);
                }
                Notice::Refused { refusal, .. } => seen.refusal = Some(refusal.reason),
                Notice::Lost { .. } => seen.losses += 1,
                _ => {}
            }
        };
        let running = tokio::spawn(run(agent_options, identity, watched, handler, notify, shutdown.clone()));
        let agent = Self { status, seen, shutdown, running: Some(running) };
        wait_until("the agent is linked", || service.relay().printers_here().contains(&printer.id)).await;
        agent
    }

    /// What it has noticed of its link.
    pub fn seen(&self) -> SeenByAgent {
        self.seen.lock().clone()
    }

    /// How often it has connected.
    pub fn connects(&self) -> usize {
        self.seen.lock().connects
    }

    /// Ends it in order.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            let _ = running.await;
        }
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
