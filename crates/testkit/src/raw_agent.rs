//! An agent of which every byte after the hello is the test's own.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::link::{Hello, PROTOCOL_VERSION, PrinterStatus};
use model::{PrinterId, Secret, wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::connect_raw;
use crate::service::{TestPrinter, TestService};

/// Who an agent says it is.
#[derive(Clone)]
pub struct RawAgent {
    /// The hello.
    pub hello: Hello,
    /// The key.
    pub key: Secret,
}

impl RawAgent {
    /// One that has never been there and brings the printer's token.
    pub fn new(printer: &TestPrinter) -> Self {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            printer_id: None,
            enrolment_token: Some(printer.token.expose().to_owned()),
            agent_version: "0.0.0-raw".to_owned(),
            capabilities: Vec::new(),
            printer: PrinterStatus::default(),
        };
        Self { hello, key: Secret::generate() }
    }

    /// The same agent when it comes back.
    #[must_use]
    pub fn enrolled_as(mut self, printer: &PrinterId) -> Self {
        self.hello.printer_id = Some(printer.clone());
        self.hello.enrolment_token = None;
        self
    }

    /// The upgrade request.
    pub fn request(&self) -> String {
        let hello = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&self.hello).unwrap());
        self.request_with(&hello)
    }

    /// The upgrade request with anything for a hello.
    pub fn request_with(&self, hello: &str) -> String {
        format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {}\r\nAuthorization: Bearer {}\r\n{}: \
             {hello}\r\n\r\n",
            wire::TUNNEL_PATH,
            wire::TUNNEL_PROTOCOL,
            self.key.expose(),
            wire::HELLO_HEADER,
        )
    }

    /// Says hello and expects to be let in. What follows on the connection is HTTP/2, with the service as the client.
    pub async fn link(&self, service: &TestService) -> TcpStream {
        let mut stream = connect_raw(service.address()).await;
        stream.set_nodelay(true).unwrap();
        stream.write_all(self.request().as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
        stream
    }
}
