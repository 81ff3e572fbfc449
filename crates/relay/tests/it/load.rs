//! Many at once, as far as a test machine goes in seconds; the bench goes further.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;
use testkit::raw_http2::{RawFrame, flag, kind};
use testkit::{
    Client, Origin, RawAgent, TestAgent, TestPrinter, TestService, alone, connect_raw, full, read_to_close,
    resident_bytes, stream_body, wait_until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bad_agents::{Linked, head};

/// A printer with an endless file, and a page.
async fn endless_origin() -> Origin {
    Origin::start(|request| async move {
        if request.uri().path() == "/page" {
            return Response::new(full("page"));
        }
        let piece = Bytes::from(vec![b'x'; 32 * 1024]);
        Response::new(stream_body(futures_util::stream::repeat_with(move || Ok(piece.clone()))))
    })
    .await
}

/// Load L3: streams of one agent share it fairly.
#[tokio::test]
async fn none_of_two_hundred_streams_of_one_agent_starves() {
    const STREAMS: usize = 200;
    const SHARE: u64 = 1_000_000;
    let service = TestService::start().await;
    let origin = endless_origin().await;
    let printer = service.add_printer().await;
    let _agent = TestAgent::start(&service, &printer, origin.address()).await;
    let shared = service.shared_connection(&printer.id, None).await;
    let request = format!("GET /endless HTTP/1.1\r\nHost: {}\r\n\r\n", shared.host);
    let counts: Vec<Arc<AtomicU64>> = (0..STREAMS).map(|_| Arc::default()).collect();
    let mut readers = tokio::task::JoinSet::new();
    for count in counts.clone() {
        let mut stream = connect_raw(service.address()).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        readers.spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let length = stream.read(&mut buffer).await.unwrap();
                assert!(length > 0, "a stream ended");
                count.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
    }
    let read = || counts.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<_>>();
    wait_until("all streams to flow", || read().into_iter().all(|count| count > 0)).await;
    // The first had the link to themselves for a while; what counts is what comes from here on.
    let before = read();
    let since = || read().into_iter().zip(&before).map(|(now, before)| now - before).collect::<Vec<_>>();
    wait_until("one to have its share", || since().into_iter().any(|count| count >= SHARE)).await;
    let shares = since();
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(least * 4 >= *most, "one has had {least} bytes while another had {most}");
    let exchange = Client::new(service.address()).get(&shared.host, "/page", &[]).await;
    assert_eq!(exchange.text(), "page");
}

/// Load L5: whoever holds connections open costs a connection each, and nobody else anything.
#[tokio::test]
async fn slow_connections_do_not_hold_up_others() {
    let service = TestService::start().await;
    let origin = endless_origin().await;
    let printer = service.add_printer().await;
    let _agent = TestAgent::start(&service, &printer, origin.address()).await;
    let shared = service.shared_connection(&printer.id, None).await;
    let host = &shared.host;
    let mut held = Vec::new();
    for n in 0..200 {
        let mut stream = connect_raw(service.address()).await;
        let said = match n % 4 {
            0 => String::new(),
            1 => format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Slow: "),
            2 => format!("PUT /page HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\nx"),
            _ => format!("GET /endless HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        };
        stream.write_all(said.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let client = Client::new(service.address());
    for _ in 0..100 {
        let since = Instant::now();
        assert_eq!(client.get(host, "/page", &[]).await.text(), "page");
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    }
    drop(held);
    wait_until("what was held to end", || service.relay().open_sessions() == 0).await;
}

/// Adds printers to one account.
async fn add_printers(service: &TestService, count: usize) -> Vec<TestPrinter> {
    let first = service.add_printer().await;
    let mut printers = Vec::new();
    for n in 0..count {
        let name = format!("Printer {n}").parse().unwrap();
        let new = service.store().add_printer(&first.owner, &name, SystemTime::now()).await.unwrap();
        printers.push(TestPrinter { id: new.id, token: new.token, ..first.clone() });
    }
    printers
}

/// Load L1: memory of links on which nothing happens. The other ends are in this process too, and as small as can be.
#[test]
fn idle_agents_are_cheap() {
    alone("load::idle_agents_are_cheap", async {
        const AGENTS: usize = 300;
        const EACH: u64 = 64 * 1024;
        let service = TestService::start().await;
        let printers = add_printers(&service, AGENTS + 1).await;
        let serve = async |printer: &TestPrinter| {
            let mut linked = Linked::link(&service, &RawAgent::new(printer), &[]).await;
            tokio::spawn(async move {
                while let Some(frame) = linked.http2.read_for_ever().await {
                    if frame.kind == kind::PING && frame.flags & flag::ACK == 0 {
                        let answer = RawFrame::new(kind::PING, flag::ACK, 0, frame.payload);
                        linked.http2.send(&answer).await.unwrap();
                    } else if frame.kind == kind::HEADERS {
                        let answer = head(flag::END_STREAM, frame.stream, b"200", &[]);
                        linked.http2.send(&answer).await.unwrap();
                    }
                }
            });
        };
        serve(&printers[0]).await;
        let before = resident_bytes();
        for printer in &printers[1..] {
            serve(printer).await;
        }
        wait_until("all agents to be linked", || service.relay().printers_here().len() == AGENTS + 1).await;
        let each = resident_bytes().saturating_sub(before) / AGENTS as u64;
        assert!(each <= EACH, "an idle agent costs {each} bytes");
        // Each of them is a printer that can be reached.
        let mut visits = Vec::new();
        for printer in printers.iter().step_by(30) {
            let shared = service.shared_connection(&printer.id, None).await;
            visits.push(Client::new(service.address()).get(&shared.host, "/", &[]).await.status);
        }
        assert!(visits.iter().all(|status| *status == 200), "{visits:?}");
    });
}

/// Load L4: readers who stop in the middle of a gigabyte. Agent and printer are in this process as well.
#[test]
fn stalled_downloads_are_bounded() {
    alone("load::stalled_downloads_are_bounded", async {
        const STALLED: usize = 50;
        let service = TestService::start().await;
        let origin = endless_origin().await;
        let printer = service.add_printer().await;
        let _agent = TestAgent::start(&service, &printer, origin.address()).await;
        let shared = service.shared_connection(&printer.id, None).await;
        let client = Client::new(service.address());
        assert_eq!(client.get(&shared.host, "/page", &[]).await.text(), "page");
        let before = resident_bytes();
        let request = format!("GET /endless HTTP/1.1\r\nHost: {}\r\n\r\n", shared.host);
        let mut stalled = Vec::new();
        for n in 1..=STALLED {
            let mut stream = connect_raw(service.address()).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            stalled.push(stream);
            wait_until("the stream to be open", || service.relay().open_sessions() == n).await;
            // Whatever the others have filled, this one gets through.
            assert_eq!(client.get(&shared.host, "/page", &[]).await.text(), "page");
        }
        let growth = resident_bytes().saturating_sub(before);
        assert!(growth < 128 * 1024 * 1024, "{growth} bytes for {STALLED} stalled downloads");
    });
}

/// Threat T34: a restart of the service brings all agents back, spread out but soon; a hundred, unless
/// `SPOOLWAY_TEST_AGENTS` says otherwise. A release is tried with 2,000.
#[tokio::test]
async fn all_agents_come_back_after_a_restart() {
    let n_agents = std::env::var("SPOOLWAY_TEST_AGENTS").map_or(100, |text| text.parse().unwrap());
    let mut service = TestService::start().await;
    let origin = endless_origin().await;
    let printers = add_printers(&service, n_agents).await;
    let mut agents = Vec::new();
    for some in printers.chunks(100) {
        agents.extend(join_all(some.iter().map(|printer| TestAgent::start(&service, printer, origin.address()))).await);
    }
    let shared = service.shared_connection(&printers[0].id, None).await;

    service.restart().await;
    let since = Instant::now();
    while service.relay().printers_here().len() < n_agents && since.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("{n_agents} agents are back after {:?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
    let exchange = Client::new(service.address()).get(&shared.host, "/page", &[]).await;
    assert_eq!(exchange.text(), "page");
    assert!(agents.iter().all(|agent| agent.connects() >= 2));
}

/// Threat T35: at the limit of connections new ones are closed at once, and old ones go on.
#[tokio::test]
async fn beyond_the_limit_connections_are_refused_until_there_is_room() {
    const CONNECTIONS: usize = 20;
    let service = TestService::start_with(|config| config.max_connections = Some(CONNECTIONS)).await;
    let origin = endless_origin().await;
    let printer = service.add_printer().await;
    // Takes one of the connections.
    let agent = TestAgent::start(&service, &printer, origin.address()).await;
    let shared = service.shared_connection(&printer.id, None).await;
    let request = format!("GET /page HTTP/1.1\r\nHost: {}\r\n\r\n", shared.host);
    let mut open = Vec::new();
    for _ in 1..CONNECTIONS {
        let mut stream = connect_raw(service.address()).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 15];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
        open.push(stream);
    }
    for _ in 0..10 {
        let mut refused = connect_raw(service.address()).await;
        let _ = refused.write_all(request.as_bytes()).await;
        assert!(read_to_close(&mut refused).await.is_empty());
    }
    // Those that are there notice nothing.
    for stream in &mut open {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The rest of the first response, and the second.
        while answer.windows(8).filter(|bytes| bytes == b"\r\n\r\npage").count() < 2 {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
    }
    drop(open);
    // The service sees the ends of the connections in its own time.
    let since = Instant::now();
    loop {
        let mut stream = connect_raw(service.address()).await;
        let _ = stream.write_all(request.as_bytes()).await;
        let mut start = [0; 15];
        if stream.read_exact(&mut start).await.is_ok() {
            assert_eq!(&start, b"HTTP/1.1 200 OK");
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "there is no room again");
    }
    assert_eq!(agent.connects(), 1);
}
