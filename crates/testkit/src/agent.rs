//! An agent in process.

use std::net::SocketAddr;
use std::sync::Arc;

use model::link::{PrinterStatus, Refusal};
use model::{PrinterId, Secret};
use parking_lot::Mutex;
use printers::PrinterUrl;
use printers::forward::{Forwarder, VisitorAddress};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tunnel::agent_loop::{AgentOptions, Identity, Notice, run};
use tunnel::dial::{DialOptions, tls_config};

use crate::certificates::TestCertificates;
use crate::service::{TestPrinter, TestService};
use crate::wait::wait_until;

/// An agent that forwards to one address.
pub struct TestAgent {
    /// The printer's status as the agent reports it; send to change it.
    pub status: watch::Sender<PrinterStatus>,
    connects: Arc<Mutex<usize>>,
    shutdown: CancellationToken,
    running: Option<JoinHandle<Result<(), Refusal>>>,
}

/// How an agent reaches its service.
pub struct TestAgentOptions<'a> {
    /// Where the service is; `None` for its plain listener.
    pub server: Option<String>,
    /// Trusts these.
    pub certificates: Option<&'a TestCertificates>,
    /// Whether the printer sees the visitor's address.
    pub visitor_address: VisitorAddress,
}

impl Default for TestAgentOptions<'_> {
    fn default() -> Self {
        Self { server: None, certificates: None, visitor_address: VisitorAddress::Forward }
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
        let tls = tls_config(options.certificates.map(|certificates| certificates.authority.as_path())).unwrap();
        let target: PrinterUrl = format!("http://{origin}").parse().unwrap();
        let handler = Arc::new(Forwarder::new(target, &tls, options.visitor_address).unwrap());
        let server = options.server.unwrap_or_else(|| format!("http://{}", service.address()));
        let agent_options = AgentOptions {
            dial: DialOptions { server: server.parse().unwrap(), tls, insecure: false },
            version: "0.0.0-test".to_owned(),
            capabilities: Vec::new(),
        };
        let identity = Arc::new(MemoryIdentity {
            key: Secret::generate(),
            token: printer.token.clone(),
            printer_id: Mutex::default(),
        });
        let (status, watched) =
            watch::channel(PrinterStatus { reachable: true, software: "test".to_owned(), ..PrinterStatus::default() });
        let connects = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&connects);
        let shutdown = CancellationToken::new();
        let notify = move |notice| {
            if matches!(notice, Notice::Connected { .. }) {
                *counted.lock() += 1;
            }
        };
        let running = tokio::spawn(run(agent_options, identity, watched, handler, notify, shutdown.clone()));
        let agent = Self { status, connects, shutdown, running: Some(running) };
        wait_until("the agent is linked", || service.relay().printers_here().contains(&printer.id)).await;
        agent
    }

    /// How often it has connected.
    pub fn connects(&self) -> usize {
        *self.connects.lock()
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
