//! Whom an agent trusts, and what it says about those it does not.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use model::Secret;
use model::link::{Hello, PROTOCOL_VERSION, PrinterStatus};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tunnel::agent_loop::Notice;
use tunnel::body::RecvBody;
use tunnel::dial::{DialError, DialOptions, Upgrade, dial, tls_config};

use crate::ends::{full, printer};
use crate::fake_service::{Agent, Memory};

/// Something that listens where the service should be.
struct Impostor {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Impostor {
    /// Reads a request's head and answers with `bytes`.
    async fn answering(bytes: Vec<u8>) -> Self {
        Self::start(None, bytes).await
    }

    /// The same over TLS, with a certificate for `name` that nobody vouches for. Also returns the certificate.
    async fn with_certificate(name: &str) -> (Self, Vec<u8>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::start(Some(acceptor), welcome()).await, certificate.pem().into_bytes())
    }

    async fn start(tls: Option<TlsAcceptor>, bytes: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tls, bytes) = (tls.clone(), bytes.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            let Ok(mut stream) = tls.accept(stream).await else { return };
                            let mut head = [0; 16 * 1024];
                            let _ = stream.read(&mut head).await;
                            let _ = stream.write_all(&bytes).await;
                        }
                        None => {
                            let mut head = [0; 16 * 1024];
                            let _ = stream.read(&mut head).await;
                            let _ = stream.write_all(&bytes).await;
                            let _ = stream.shutdown().await;
                        }
                    }
                });
            }
        });
        Self { address, accepting }
    }
}

/// A 101 and a request for the printer right behind it, as if all were well.
fn welcome() -> Vec<u8> {
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: spoolway-tunnel\r\n\r\n\
      PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
        .to_vec()
}

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        printer_id: None,
        enrolment_token: None,
        agent_version: "0.0.0-test".to_owned(),
        capabilities: Vec::new(),
        printer: PrinterStatus::default(),
    }
}

async fn dial_to(server: &str) -> DialError {
    dial_trusting(server, None).await
}

async fn dial_trusting(server: &str, authority: Option<PathBuf>) -> DialError {
    let tls = tls_config(authority.as_deref()).unwrap();
    let options = DialOptions { server: server.parse().unwrap(), tls, insecure: false };
    match dial(&options, Upgrade::Raw, &hello(), &Secret::generate()).await {
        Ok(_) => panic!("{server} was taken for a service"),
        Err(error) => error,
    }
}

/// The error and its causes, as people read it.
fn story(error: &DialError) -> String {
    let mut story = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        story = format!("{story}: {error}");
        cause = error.source();
    }
    story
}

async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn each_failure_says_what_was_tried_and_what_came_of_it() {
    let page = Impostor::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()).await;
    let missing = Impostor::answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let moved =
        b"HTTP/1.1 301 Moved Permanently\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec();
    let moved = Impostor::answering(moved).await;
    let no_welcome = Impostor::answering(welcome()).await;
    let ssh = Impostor::answering(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()).await;
    let silent = Impostor::answering(Vec::new()).await;
    let (untrusted, _) = Impostor::with_certificate("localhost").await;
    let refused = br#"{"reason":"printer_removed","message":"the printer was removed"}"#;
    let head = format!("HTTP/1.1 410 Gone\r\nContent-Length: {}\r\n\r\n", refused.len());
    let removed = Impostor::answering([head.as_bytes(), refused].concat()).await;

    for (server, expected) in [
        (format!("http://{}", nobody().await), "cannot connect to `http://127.0.0.1:"),
        (
            "http://no-such-host.localhost.invalid".to_owned(),
            "`http://no-such-host.localhost.invalid` is not encrypted",
        ),
        (format!("http://{}", page.address), "answered 200 OK to the upgrade: it is no Spoolway service"),
        (format!("http://{}", missing.address), "answered 404 Not Found to the upgrade: it is no Spoolway service"),
        (format!("http://{}", moved.address), "answered 301 Moved Permanently to the upgrade"),
        (format!("http://{}", no_welcome.address), "answered 101 Switching Protocols to the upgrade"),
        (format!("http://{}", ssh.address), "did not answer the upgrade in HTTP"),
        (format!("http://{}", silent.address), "did not answer the upgrade in HTTP"),
        (format!("https://{}", page.address), "cannot make a secure connection to `https://127.0.0.1:"),
        (
            format!("https://localhost:{}", untrusted.address.port()),
            "cannot make a secure connection to `https://localhost:",
        ),
        (format!("http://{}", removed.address), "the service refuses this printer: the printer was removed"),
    ] {
        let error = dial_to(&server).await;
        let story = story(&error);
        assert!(story.contains(expected), "{server}: {story}");
        assert!(!story.contains("Bearer"), "{story}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let error = dial_to(&server).await;
    assert!(matches!(error, DialError::Timeout(_)), "{error:?}");
    assert!(story(&error).ends_with("did not answer within 20 seconds"), "{}", story(&error));
}

#[tokio::test]
async fn a_certificate_must_be_vouched_for_and_for_this_name() {
    let (impostor, certificate) = Impostor::with_certificate("spoolway.example").await;
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("authority.pem");
    std::fs::write(&authority, certificate).unwrap();
    // Trusted, but for another name.
    let error = dial_trusting(&format!("https://localhost:{}", impostor.address.port()), Some(authority)).await;
    assert!(matches!(error, DialError::Tls { .. }), "{error:?}");
    assert!(story(&error).contains("not valid for name"), "{}", story(&error));
}

#[tokio::test]
async fn files_that_hold_no_certificate_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty.pem");
    std::fs::write(&path, "nothing").unwrap();
    for path in [path, directory.path().join("absent.pem")] {
        let error = tls_config(Some(&path)).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

/// Threat T40: whoever is not the service gets nothing of the printer's, however it behaves.
#[tokio::test]
async fn no_impostor_reaches_the_printer() {
    let wrong_accept = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Protocol: spoolway-tunnel\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    let garbled = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: spoolway-tunnel\r\n\
        Spoolway-Welcome: e30\r\n\r\n";
    let impostors = [
        Impostor::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()).await,
        Impostor::answering(welcome()).await,
        Impostor::answering(wrong_accept.to_vec()).await,
        Impostor::answering(garbled.to_vec()).await,
        Impostor::with_certificate("localhost").await.0,
        Impostor::with_certificate("spoolway.example").await.0,
    ];
    let calls = Arc::new(AtomicUsize::new(0));
    for (n, impostor) in impostors.iter().enumerate() {
        let counted = Arc::clone(&calls);
        let answer = move |_: Request<RecvBody>| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Response::new(full("the printer")) }
        };
        let scheme = if n < 4 { "http" } else { "https" };
        let server = format!("{scheme}://localhost:{}", impostor.address.port());
        let mut agent = Agent::start(&server, Memory::default(), printer(answer));
        // Twice, because what failed once may be believed the second time.
        for _ in 0..2 {
            match agent.notice().await {
                Notice::Failed { error, retry_in } => {
                    let is_tls = matches!(error, DialError::Tls { .. });
                    assert_eq!(is_tls, scheme == "https", "{error:?}");
                    assert!(retry_in <= Duration::from_secs(1));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}
