//! A scripted plugin, and printers that are linked through one.

use std::fs;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PrivateDecryptingKey};
use bytes::Bytes;
use model::{PrinterId, Secret};
use octo::printer::{Answer, Printer, PrinterEvent, PrinterRequest, Reset};
use octo::wire::{Compression, HandshakeAck, ServerHost};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use store::NewPairing;
use testkit::{AppAccess, TestPrinter, TestService};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The service's key in tests.
pub(crate) const KEY: &[u8] = include_bytes!("../../../testkit/data/plugin_challenge_key.pem");
/// What a test's plugin encrypts.
pub(crate) const CHALLENGE: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ab";
const LIMIT: Duration = Duration::from_secs(20);

/// A service that plugins with the test's key know.
pub(crate) async fn service() -> TestService {
    TestService::start_with(|config| fs::write(config.data.join("plugin-key.pem"), KEY).unwrap()).await
}

/// A challenge as a plugin with the service's public key makes it.
pub(crate) fn challenge(plaintext: &[u8]) -> Vec<u8> {
    let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(KEY).unwrap();
    let key = PrivateDecryptingKey::from_pkcs8(pkcs8.secret_pkcs8_der()).unwrap();
    let key = Pkcs1PublicEncryptingKey::new(key.public_key()).unwrap();
    let mut ciphertext = vec![0; key.ciphertext_size()];
    key.encrypt(plaintext, &mut ciphertext).unwrap();
    ciphertext
}

/// Who a plugin says that it is.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) printer: PrinterId,
    pub(crate) key: Secret,
}

impl Identity {
    pub(crate) fn generate() -> Self {
        let printer = format!("{}{}", PrinterId::generate(), "ABCDEFGHIJKL").to_uppercase().parse().unwrap();
        let key = format!("{}{}{}", Secret::generate().expose(), Secret::generate().expose(), "0123456789abcdef");
        Self { printer, key: Secret::new(key) }
    }
}

/// A printer that is linked through a plugin, and an App Connection to it.
pub(crate) async fn linked(service: &TestService) -> (Identity, AppAccess) {
    let identity = Identity::generate();
    let TestPrinter { account, .. } = service.add_printer().await;
    let pairing = NewPairing {
        key: &identity.key,
        printer: Some(identity.printer.clone()),
        host: String::new(),
        software: String::new(),
        software_version: String::new(),
        agent_version: String::new(),
        lan_ip: String::new(),
        address: None,
    };
    let now = SystemTime::now();
    let code = service.store().start_pairing(pairing, now).await.unwrap();
    let name = "Printer".parse().unwrap();
    let claimed = service.store().claim_pairing(code.as_str(), &account, &name, now).await.unwrap();
    assert_eq!(claimed.as_ref(), Some(&identity.printer));
    let app = service.app_connection(&identity.printer).await;
    (identity, app)
}

/// How a plugin writes its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Masking {
    Zero,
    None,
    Random,
}

/// A connected plugin. It does what the test tells it.
pub(crate) struct Plugin {
    pub(crate) stream: TcpStream,
    pub(crate) printer: Printer,
    buffer: Vec<u8>,
    pub(crate) masking: Masking,
    /// What it answers when the service asks what its printer does.
    pub(crate) status: String,
}

impl Plugin {
    /// A plugin before its introduction.
    pub(crate) async fn connect(service: &TestService) -> Self {
        Self::of_host(service, ServerHost::OctoPrint).await
    }

    /// The same for another flavour.
    pub(crate) async fn of_host(service: &TestService, host: ServerHost) -> Self {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let request = "GET /octoclientwsv2 HTTP/1.1\r\nUpgrade: websocket\r\nHost: whatever.example\r\nOrigin: http://x\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                       Connection: Upgrade\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tokio::time::timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(!head.contains("sec-websocket-extensions") && !head.contains("sec-websocket-protocol"), "{head}");
        let printer = Printer::new(host, CHALLENGE);
        let status = r#"{"Status": 200, "Result": {"JobStatus": {"State": "idle"}}}"#.to_owned();
        Self { stream, printer, buffer: Vec::new(), masking: Masking::Zero, status }
    }

    pub(crate) async fn introduce(&mut self, identity: &Identity, challenge: &[u8], best: Compression) {
        let (id, key) = (identity.printer.as_str(), identity.key.expose());
        let introduction = self.printer.introduction(id, key, challenge, best);
        self.send(&introduction).await;
    }

    /// A plugin that the service serves.
    pub(crate) async fn accepted(service: &TestService, identity: &Identity) -> Self {
        Self::connect(service).await.accept(identity).await
    }

    pub(crate) async fn accept(mut self, identity: &Identity) -> Self {
        let plugin = &mut self;
        plugin.introduce(identity, &challenge(CHALLENGE.as_bytes()), Compression::Zlib).await;
        let ack = plugin.ack().await;
        assert!(ack.connected_accounts.is_some_and(|accounts| accounts.len() == 1));
        self
    }

    pub(crate) async fn ack(&mut self) -> HandshakeAck {
        match self.event().await {
            PrinterEvent::Accepted(ack) => ack,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &[u8]) {
        self.send_frame(0x82, message).await;
    }

    pub(crate) async fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let mask_bit = if self.masking == Masking::None { 0 } else { 0x80 };
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..=125 => frame.push(mask_bit | short as u8),
            medium @ 126..=0xffff => {
                frame.push(mask_bit | 126);
                frame.extend_from_slice(&(medium as u16).to_be_bytes());
            }
            long => {
                frame.push(mask_bit | 127);
                frame.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        let key: &[u8] = match self.masking {
            Masking::None => &[],
            Masking::Zero => &[0; 4],
            Masking::Random => &[1, 2, 3, 250],
        };
        frame.extend_from_slice(key);
        let start = frame.len();
        frame.extend_from_slice(payload);
        if self.masking == Masking::Random {
            frame[start..].iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        // The service may have gone, which is for the test to notice when it reads.
        let _ = tokio::time::timeout(LIMIT, self.stream.write_all(&frame)).await.unwrap();
    }

    /// The next frame of the service: its first byte and its payload. `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Bytes)> {
        loop {
            if let Some((first, start, length)) = frame_head(&self.buffer)
                && self.buffer.len() >= start + length
            {
                let payload = Bytes::copy_from_slice(&self.buffer[start..start + length]);
                self.buffer.drain(..start + length);
                return Some((first, payload));
            }
            let read = tokio::time::timeout(LIMIT, self.stream.read_buf(&mut self.buffer)).await.unwrap();
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// What the service wants next, or how it ended the session.
    pub(crate) async fn try_event(&mut self) -> Result<PrinterEvent, Reset> {
        loop {
            match self.frame().await {
                Some((0x82, message)) => match self.printer.handle_message(&message)? {
                    Some(PrinterEvent::Request(request)) if is_status(&request) => {
                        let status = self.status.clone();
                        self.answer(request.stream, &Answer::new(200, &[], status.as_bytes())).await;
                    }
                    Some(event) => return Ok(event),
                    None => {}
                },
                Some((0x88, _)) | None => return Err(Reset("the service closed".to_owned())),
                Some((first, _)) => panic!("a frame that begins with {first:#x}"),
            }
        }
    }

    pub(crate) async fn event(&mut self) -> PrinterEvent {
        self.try_event().await.unwrap()
    }

    pub(crate) async fn request(&mut self) -> PrinterRequest {
        match self.event().await {
            PrinterEvent::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn answer(&mut self, stream: u32, answer: &Answer) {
        for message in answer.messages(stream, &[]) {
            self.send(&message).await;
        }
        self.printer.forget(stream);
    }
}

/// Whether the service asks by itself what the printer does: apps' requests have an origin.
fn is_status(request: &PrinterRequest) -> bool {
    request.context.path.as_deref() == Some("/octoeverywhere-command-api/status")
        && request.header("x-real-ip").is_none()
}

fn frame_head(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    match second {
        126 => Some((first, 4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)))),
        127 => Some((first, 10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize)),
        short => Some((first, 2, usize::from(short))),
    }
}
