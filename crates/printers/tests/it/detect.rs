use std::net::SocketAddr;
use std::sync::Arc;

use model::link::PrinterStatus;
use printers::PrinterUrl;
use printers::detect::detect;
use printers::virtual_printer::{VirtualPrinter, VirtualPrinterOptions};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers by the request's path. `None` cuts the connection.
type Answers = fn(&str) -> Option<(u16, &'static str)>;

#[tokio::test]
async fn knows_the_virtual_printer() {
    let printer = VirtualPrinter::start(VirtualPrinterOptions::default()).await.unwrap();
    let status = ask(&printer.url()).await;
    check(&status, "virtual", env!("CARGO_PKG_VERSION"), "");
}

#[tokio::test]
async fn knows_octoprint() {
    let status = against(|path| match path {
        "/api/version" => Some((200, r#"{"api":"0.1","server":"1.11.8","text":"OctoPrint 1.11.8"}"#)),
        _ => Some((404, "<!doctype html><title>404 Not Found</title>")),
    });
    check(&status.await, "octoprint", "1.11.8", "");
    // With access control, strangers do not learn the version.
    let locked = against(|path| match path {
        "/api/version" => Some((403, r#"{"error":"You don't have the permission to access the requested resource."}"#)),
        "/login/" => Some((200, "<html>\n<head>\n    <title>OctoPrint Login</title>\n")),
        _ => Some((404, "")),
    });
    check(&locked.await, "octoprint", "", "");
    let starting = against(|_| Some((503, "<html>OctoPrint is still starting up</html>")));
    let starting = starting.await;
    assert!(starting.reachable);
    assert!(starting.problem.ends_with("answers 503: the printer's software is not running, or still starting"));
}

#[tokio::test]
async fn knows_moonraker() {
    const INFO: &str =
        r#"{"result":{"klippy_connected":false,"moonraker_version":"v0.9.3-0-g7e2b8c5","components":[]}}"#;
    check(&against(|path| (path == "/server/info").then_some((200, INFO))).await, "moonraker", "v0.9.3-0-g7e2b8c5", "");
    // It can pretend to be OctoPrint for slicers.
    let compatible = against(|path| match path {
        "/server/info" => Some((200, INFO)),
        _ => Some((200, r#"{"server":"1.5.0","api":"0.1","text":"OctoPrint (Moonraker v0.9.3)"}"#)),
    });
    check(&compatible.await, "moonraker", "v0.9.3-0-g7e2b8c5", "");
    let locked = against(|_| Some((401, r#"{"error":{"code":401,"message":"Unauthorized","traceback":"…"}}"#)));
    check(&locked.await, "moonraker", "", "");
}

#[tokio::test]
async fn anything_else_is_unknown_but_there() {
    const PAGE: &str = "<!doctype html><title>Router</title>";
    for answers in [
        (|_| Some((200, PAGE))) as Answers,
        |_| Some((401, "")),
        |_| Some((403, r#"{"error":{"code":403,"message":"no"}}"#)),
        |_| Some((302, "")),
        |path| (path == "/api/version").then_some((200, r#"{"server":"somebody","version":"9"}"#)),
        |_| Some((200, r#"{"result":{"moonraker_version":7},"server":1}"#)),
    ] {
        let status = against(answers).await;
        assert!(status.reachable);
        assert_eq!((status.software.as_str(), status.software_version.as_str()), ("unknown", ""));
        assert!(status.problem.contains("neither as OctoPrint nor as Moonraker"), "{}", status.problem);
    }
}

#[tokio::test]
async fn answers_are_read_no_further_than_needed() {
    // An endless page that looks as if it would become an answer.
    let server = serve(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"result\":{\"moonraker_version\":\"").await;
        while stream.write_all(&[b'x'; 10_000]).await.is_ok() {}
    })
    .await;
    assert_eq!(ask(&url(server)).await.software, "unknown");

    let long = against(|path| match path {
        "/api/version" => Some((
            200,
            concat!(
                r#"{"server":"a\u0000b"#,
                "cccccccccccccccccccccccccccccccccccccccc",
                "cccccccccccccccccccccccccccccccccccccccc",
                r#"","text":"OctoPrint"}"#
            ),
        )),
        _ => Some((404, "")),
    });
    let version = long.await.software_version;
    assert!(version.starts_with("abc") && version.len() == 64, "{version:?}");
}

#[tokio::test]
async fn says_what_is_wrong() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    check_problem(&url(closed), "nothing listens at").await;
    check_problem(&"http://no-such-printer.invalid".parse().unwrap(), "cannot be resolved").await;

    let silent = serve(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    });
    check_problem(&url(silent.await), "accepts connections but does not answer").await;

    let not_http = serve(|mut stream| async move {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        read_head(&mut stream).await;
    });
    check_problem(&url(not_http.await), "does not answer in HTTP").await;

    let plain = serve(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        read_head(&mut stream).await;
    });
    let https = format!("https://{}", plain.await).parse().unwrap();
    check_problem(&https, "cannot be spoken to over TLS").await;
    // And one that waits for a plain request that never comes.
    let waiting = serve(|mut stream| async move { drop(read_head(&mut stream).await) });
    let https = format!("https://{}", waiting.await).parse().unwrap();
    check_problem(&https, "no answer to the handshake").await;
}

#[tokio::test]
async fn speaks_tls_and_trusts_only_what_it_was_told_to() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let server = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_head(&mut stream).await;
            let body = r#"{"result":{"moonraker_version":"v1"}}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    let url: PrinterUrl = format!("https://localhost:{}", server.port()).parse().unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    check(&detect(&url, &tls(roots)).await, "moonraker", "v1", "");
    let stranger = ask(&url).await;
    assert!(!stranger.reachable);
    assert!(stranger.problem.contains("cannot be spoken to over TLS"), "{}", stranger.problem);
}

fn check(status: &PrinterStatus, software: &str, version: &str, problem: &str) {
    assert!(status.reachable, "{status:?}");
    assert_eq!((status.software.as_str(), status.software_version.as_str()), (software, version));
    assert_eq!(status.problem, problem);
    assert!(!status.lan_ip.starts_with("127."), "{}", status.lan_ip);
}

async fn check_problem(url: &PrinterUrl, problem: &str) {
    let status = ask(url).await;
    assert!(!status.reachable);
    assert_eq!(status.software, "unknown");
    assert!(status.problem.contains(problem), "{}", status.problem);
}

async fn against(answers: Answers) -> PrinterStatus {
    let server = serve(move |mut stream| async move {
        let head = read_head(&mut stream).await;
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if let Some((status, body)) = answers(&path) {
            let head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    ask(&url(server.await)).await
}

async fn ask(url: &PrinterUrl) -> PrinterStatus {
    detect(url, &tls(rustls::RootCertStore::empty())).await
}

fn tls(roots: rustls::RootCertStore) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn url(address: SocketAddr) -> PrinterUrl {
    format!("http://{address}").parse().unwrap()
}

/// Serves connections for as long as the test runs.
async fn serve<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
