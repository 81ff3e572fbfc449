//! Visitors who take their time: each is closed after its limit, and nobody else waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use relay::{Pace, Timeouts};
use testkit::raw_http2::{PREFACE, RawFrame, RawHttp2, flag, kind};
use testkit::{
    Client, Origin, SharedAccess, TestAgent, TestCertificates, TestService, connect_raw, full, parse_responses,
    read_to_close, stream_body, test_certificates, wait_until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tunnel::dial::tls_config;

/// Short enough for a test, each different enough to tell which one ended a connection.
const TIMEOUTS: Timeouts = Timeouts {
    handshake: Duration::from_millis(500),
    head: Duration::from_millis(1000),
    write_stall: Duration::from_millis(1500),
    http2_idle: Duration::from_millis(1000),
    http2_keep_alive: Duration::from_millis(700),
    body: Pace { grace: Duration::from_millis(1000), bytes_per_second: 1000 },
    ..Timeouts::DEFAULT
};
/// Between two bytes of somebody slow.
const TRICKLE: Duration = Duration::from_millis(50);

struct Stage {
    service: TestService,
    shared: SharedAccess,
    origin: Origin,
    _agent: TestAgent,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(None).await
    }

    /// A printer with an endless file, one that takes uploads, and one that answers at once.
    async fn set_with(certificates: Option<&TestCertificates>) -> Self {
        let service = TestService::start_with(|config| {
            config.timeouts = TIMEOUTS;
            config.tls = certificates.map(|certificates| (certificates.files(), Some(([127, 0, 0, 1], 0).into())));
        })
        .await;
        let origin = Origin::start(|request| async move {
            match request.uri().path() {
                "/endless" => {
                    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
                    Response::new(stream_body(futures_util::stream::repeat_with(move || Ok(piece.clone()))))
                }
                "/busy" => {
                    // Takes the body only after longer than the patience with visitors.
                    tokio::time::sleep(TIMEOUTS.body.grace * 2).await;
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    Response::new(full(format!("{} bytes", body.len())))
                }
                _ => match request.into_body().collect().await {
                    Ok(body) => Response::new(full(format!("{} bytes", body.to_bytes().len()))),
                    Err(_) => Response::new(full("broken off")),
                },
            }
        })
        .await;
        let printer = service.add_printer().await;
        let agent = TestAgent::start(&service, &printer, origin.address()).await;
        let shared = service.shared_connection(&printer.id, None).await;
        Self { service, shared, origin, _agent: agent }
    }

    async fn connect(&self) -> TcpStream {
        connect_raw(self.service.address()).await
    }

    /// Gets a page as anybody else would.
    async fn check_others(&self) {
        let exchange = Client::new(self.service.address()).get(&self.shared.host, "/", &[]).await;
        assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (200, "0 bytes"));
    }
}

/// Waits for the end of a connection that was opened at `since`, and checks that it was not too early. Returns what
/// it said.
async fn closed_after(since: Instant, limit: Duration, what: &str, stream: &mut TcpStream) -> Vec<u8> {
    let said = read_to_close(stream).await;
    assert!(since.elapsed() >= limit, "{what}: closed after {:?}", since.elapsed());
    said
}

#[tokio::test]
async fn connections_that_say_nothing_or_little_are_closed() {
    let stage = Stage::set().await;
    let head = format!("GET / HTTP/1.1\r\nHost: {}\r\n", stage.shared.host);
    let silent = async {
        let since = Instant::now();
        let mut stream = stage.connect().await;
        assert!(closed_after(since, TIMEOUTS.handshake, "silent", &mut stream).await.is_empty());
    };
    let half_a_preface = async {
        let since = Instant::now();
        let mut stream = stage.connect().await;
        stream.write_all(&PREFACE[..10]).await.unwrap();
        assert!(closed_after(since, TIMEOUTS.handshake, "half a preface", &mut stream).await.is_empty());
    };
    let half_a_head = async {
        let mut stream = stage.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let since = Instant::now();
        let _ = closed_after(since, TIMEOUTS.head / 2, "half a head", &mut stream).await;
    };
    let trickled_head = async {
        let mut stream = stage.connect().await;
        let since = Instant::now();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut sent = 0;
        while stream.write_all(b"x: y\r\n").await.is_ok() {
            sent += 1;
            assert!(sent < 200, "a head may be trickled for ever");
            tokio::time::sleep(TRICKLE).await;
        }
        assert!(since.elapsed() >= TIMEOUTS.head, "{:?}", since.elapsed());
    };
    let idle_after_a_request = async {
        let mut stream = stage.connect().await;
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        let since = Instant::now();
        let said = closed_after(since, TIMEOUTS.head / 2, "idle", &mut stream).await;
        assert!(said.ends_with(b"0 bytes"), "{}", said.escape_ascii());
    };
    let others = async {
        for _ in 0..20 {
            stage.check_others().await;
            tokio::time::sleep(TRICKLE).await;
        }
    };
    tokio::join!(silent, half_a_preface, half_a_head, trickled_head, idle_after_a_request, others);
}

#[tokio::test]
async fn tls_connections_that_say_nothing_are_closed() {
    let certificates = test_certificates();
    let stage = Stage::set_with(Some(&certificates)).await;
    let address = stage.service.tls_address().unwrap();
    let handshake = async |protocol: &'static [u8]| {
        let mut config = (*tls_config(Some(&certificates.authority)).unwrap()).clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, connect_raw(address).await).await.unwrap()
    };
    let before_tls = async {
        let since = Instant::now();
        let mut stream = connect_raw(address).await;
        let _ = closed_after(since, TIMEOUTS.handshake, "silent", &mut stream).await;
    };
    let half_a_hello = async {
        let since = Instant::now();
        let mut stream = connect_raw(address).await;
        stream.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        let _ = closed_after(since, TIMEOUTS.handshake, "half a hello", &mut stream).await;
    };
    let silent_http1 = async {
        let mut stream = handshake(b"http/1.1").await;
        read_to_close(&mut stream).await;
    };
    let silent_http2 = async {
        let mut stream = handshake(b"h2").await;
        read_to_close(&mut stream).await;
    };
    tokio::join!(before_tls, half_a_hello, silent_http1, silent_http2);
    stage.check_others().await;
}

#[tokio::test]
async fn idle_http2_connections_are_closed_in_order() {
    let stage = Stage::set().await;
    let host = stage.shared.host.clone();
    let fields: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", host.as_bytes())];

    // Whoever answers every ping may stay for a while, but not for ever; a GOAWAY without an error comes first.
    let mut connection = RawHttp2::connect(stage.service.address(), &[]).await;
    connection.send(&RawFrame::headers(flag::END_STREAM, 1, &fields)).await.unwrap();
    let (mut answered, mut said_goodbye) = (false, false);
    while let Some(frame) = connection.read().await {
        answered |= frame.stream == 1;
        if frame.kind == kind::PING && frame.flags & flag::ACK == 0 {
            let _ = connection.send(&RawFrame::new(kind::PING, flag::ACK, 0, frame.payload)).await;
        } else if frame.kind == kind::GOAWAY {
            assert_eq!(frame.error_code(), Some(0));
            said_goodbye = true;
        }
    }
    assert!(answered && said_goodbye);

    // Whoever does not answer is taken for gone; so is who begins a head and never ends it.
    let silent = RawHttp2::connect(stage.service.address(), &[]).await;
    let mut unfinished = RawHttp2::connect(stage.service.address(), &[]).await;
    unfinished.send(&RawFrame::new(kind::HEADERS, 0, 1, [])).await.unwrap();
    for mut connection in [silent, unfinished] {
        while connection.read().await.is_some() {}
    }

    // A request under way is not cut by any of this.
    let mut connection = RawHttp2::connect(stage.service.address(), &[]).await;
    let mut upload = fields;
    upload[0].1 = b"POST";
    upload[2].1 = b"/upload";
    connection.send(&RawFrame::headers(0, 1, &upload)).await.unwrap();
    let since = Instant::now();
    let (mut has_ended, mut done) = (false, false);
    while let Some(frame) = connection.read().await {
        done |= frame.stream == 1 && frame.status() == Some(200);
        if frame.kind != kind::PING || frame.flags & flag::ACK != 0 {
            continue;
        }
        let _ = connection.send(&RawFrame::new(kind::PING, flag::ACK, 0, frame.payload)).await;
        if !has_ended {
            // Keeps the pace, and goes on for longer than an idle connection may.
            has_ended = since.elapsed() > TIMEOUTS.http2_idle * 3;
            let flags = if has_ended { flag::END_STREAM } else { 0 };
            connection.send(&RawFrame::new(kind::DATA, flags, 1, vec![b'x'; 5000])).await.unwrap();
        }
    }
    assert!(done, "an upload was cut by its connection's idleness");
    stage.check_others().await;
}

#[tokio::test]
async fn a_body_that_trickles_is_broken_off() {
    let stage = Stage::set().await;
    let head = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n", stage.shared.host)
    };
    let trickling = async {
        let (mut reader, mut writer) = stage.connect().await.into_split();
        writer.write_all(head("/slow", 1_000_000).as_bytes()).await.unwrap();
        let since = Instant::now();
        let reading = tokio::spawn(async move { read_to_close(&mut reader).await });
        while !reading.is_finished() && writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(TRICKLE).await;
        }
        assert!(since.elapsed() >= TIMEOUTS.body.grace, "{:?}", since.elapsed());
        assert_eq!(parse_responses(&reading.await.unwrap()).statuses(), [408]);
    };
    let stopping = async {
        let mut stream = stage.connect().await;
        // What was sent quickly does not buy time without end: a second for each thousand bytes.
        stream.write_all(head("/slow", 1_000_000).as_bytes()).await.unwrap();
        stream.write_all(&[b'x'; 2_000]).await.unwrap();
        let since = Instant::now();
        let said = closed_after(since, TIMEOUTS.body.grace * 3 / 2, "stopped", &mut stream).await;
        assert_eq!(parse_responses(&said).statuses(), [408]);
    };
    let keeping_pace = async {
        let mut stream = stage.connect().await;
        let pieces = 60;
        stream.write_all(head("/upload", pieces * 100).as_bytes()).await.unwrap();
        for _ in 0..pieces {
            stream.write_all(&[b'x'; 100]).await.unwrap();
            tokio::time::sleep(TRICKLE).await;
        }
        let said = read_to_close(&mut stream).await;
        assert_eq!(parse_responses(&said).responses[0].body, b"6000 bytes");
    };
    // Time that the printer takes is not the visitor's.
    let waiting_for_the_printer = async {
        let (mut reader, mut writer) = stage.connect().await.into_split();
        let length = 16 * 1024 * 1024;
        writer.write_all(head("/busy", length).as_bytes()).await.unwrap();
        let writing = tokio::spawn(async move {
            writer.write_all(&vec![b'x'; length]).await.unwrap();
            writer
        });
        let said = read_to_close(&mut reader).await;
        assert_eq!(parse_responses(&said).responses[0].body, format!("{length} bytes").into_bytes());
        drop(writing);
    };
    let others = async {
        for _ in 0..20 {
            stage.check_others().await;
            tokio::time::sleep(TRICKLE).await;
        }
    };
    tokio::join!(trickling, stopping, keeping_pace, waiting_for_the_printer, others);
    wait_until("all requests to end", || stage.service.relay().open_sessions() == 0).await;
    assert!(stage.origin.seen().iter().any(|seen| seen.target == "/slow"));
}

#[tokio::test]
async fn a_visitor_who_does_not_read_is_closed() {
    let stage = Stage::set().await;
    let head = format!("GET /endless HTTP/1.1\r\nHost: {}\r\n\r\n", stage.shared.host);
    let since = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = stage.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // One who reads, as slowly as a phone at the edge of its network, is not.
    let mut reader = stage.connect().await;
    reader.write_all(head.as_bytes()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 256 * 1024];
        while !stopping.load(Ordering::Relaxed) {
            assert!(reader.read(&mut buffer).await.unwrap() > 0, "somebody who reads was cut off");
            tokio::time::sleep(TRICKLE).await;
        }
    });
    wait_until("everybody to arrive", || stage.service.relay().open_sessions() == 11).await;
    wait_until("those who do not read to be closed", || stage.service.relay().open_sessions() == 1).await;
    assert!(since.elapsed() >= TIMEOUTS.write_stall, "{:?}", since.elapsed());
    stage.check_others().await;
    for mut stream in streams {
        // What was sent before is there, and then it breaks: an endless file has no end.
        let said = read_to_close(&mut stream).await;
        assert!(!said.ends_with(b"0\r\n\r\n"));
    }
    stop.store(true, Ordering::Relaxed);
    reading.await.unwrap();
}
