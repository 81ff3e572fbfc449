//! Agents that send without end, or never read: it costs their own link, and hardly any memory.

use std::time::Duration;

use relay::Timeouts;
use testkit::raw_http2::{RawFrame, RawHttp2, flag, kind};
use testkit::{RawAgent, alone, raw_dialogue, resident_bytes, wait_until};

use crate::bad_agents::{Linked, Stage, data, head};

/// All that floods together may leave behind.
const MEMORY: u64 = 8 * 1024 * 1024;
const FRAMES: usize = 100_000;

#[test]
fn floods_of_frames_end_the_link_or_cost_nothing() {
    alone("bad_agents_floods::floods_of_frames_end_the_link_or_cost_nothing", async {
        let stage = Stage::set().await;
        let new = RawAgent::new(&stage.printer);
        drop(new.link(&stage.service).await);
        let agent = new.enrolled_as(&stage.printer.id);
        let flood = async |what: &str, frame: &dyn Fn(&Linked) -> RawFrame| {
            let linked = Linked::start(&stage, &agent, &[]).await;
            let bytes = frame(&linked).to_bytes();
            let (sent, _) = linked.http2.flood(&bytes, FRAMES).await;
            wait_until("the link to go", || !stage.is_linked()).await;
            stage.check_others().await;
            (what.to_owned(), sent)
        };
        // Whatever the first of them needs is not what they leave behind.
        flood("PING", &|_| RawFrame::new(kind::PING, 0, 0, [0; 8])).await;
        let before = resident_bytes();

        for (what, frame) in [
            ("PING", RawFrame::new(kind::PING, 0, 0, [0; 8])),
            ("SETTINGS", RawFrame::settings(&[(4, 65_535)])),
            ("PRIORITY", RawFrame::new(kind::PRIORITY, 0, 3, [0, 0, 0, 1, 7])),
            ("unknown frames", RawFrame::new(0xaa, 0, 0, [0; 8])),
            ("GOAWAY", RawFrame::new(kind::GOAWAY, 0, 0, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])),
        ] {
            let (what, sent) = flood(what, &|_| frame.clone()).await;
            assert!(sent < FRAMES, "{what}: all were taken");
        }
        let (what, sent) = flood("empty DATA", &|linked| data(0, linked.events, b"")).await;
        assert!(sent < FRAMES, "{what}: all were taken");
        // These are read and forgotten.
        flood("resets", &|_| RawFrame::reset(3, 8)).await;
        flood("updates of a closed window", &|_| RawFrame::window_update(3, 1)).await;
        flood("updates of the link's window", &|_| RawFrame::window_update(0, 1)).await;
        flood("heads on a closed stream", &|_| head(0, 3, b"200", &[])).await;
        let event = b"{\"event\":\"printer_status\",\"reachable\":true,\"software\":\"x\"}\n";
        flood("events", &|linked| data(0, linked.events, event)).await;
        flood("a line without end", &|linked| data(0, linked.events, &[b'x'; 16_000])).await;

        let growth = resident_bytes().saturating_sub(before);
        assert!(growth < MEMORY, "{growth} bytes are left of the floods");
        stage.check_others().await;
    });
}

#[tokio::test]
async fn events_that_cannot_be_read_leave_the_link_as_it_is() {
    let stage = Stage::set().await;
    let mut linked = Linked::start(&stage, &RawAgent::new(&stage.printer), &[]).await;
    for line in [
        &b"\n"[..],
        b"not json\n",
        b"{}\n",
        b"[]\n",
        b"{\"event\":\"unheard_of\",\"x\":[[[[[[]]]]]]}\n",
        b"{\"event\":\"printer_status\",\"reachable\":\"perhaps\"}\n",
        b"\xff\xfe\n",
        &[b'['; 16_000],
        &[b'x'; 16_000],
        &[b'x'; 16_000],
    ] {
        linked.http2.send(&data(0, linked.events, line)).await.unwrap();
    }
    let visit = stage.visit("");
    let stream = linked.next_request().await.unwrap();
    linked.http2.send(&head(flag::END_STREAM, stream, b"200", &[])).await.unwrap();
    assert_eq!(visit.await.unwrap().statuses(), [200]);
    // An agent that ends its events may go on, too.
    let _ = linked.http2.send(&data(flag::END_STREAM, linked.events, b"")).await;
    let visit = stage.visit("");
    let stream = linked.next_request().await.unwrap();
    linked.http2.send(&head(flag::END_STREAM, stream, b"200", &[])).await.unwrap();
    assert_eq!(visit.await.unwrap().statuses(), [200]);
}

#[tokio::test]
async fn interim_responses_without_end_keep_nobody_else_waiting() {
    let stage = Stage::set().await;
    let mut linked = Linked::start(&stage, &RawAgent::new(&stage.printer), &[]).await;
    let visit = stage.visit("");
    let stream = linked.next_request().await.unwrap();
    let interim = head(0, stream, b"103", &[(b"link", b"</style.css>; rel=preload")]).to_bytes().repeat(100);
    for _ in 0..200 {
        linked.http2.send_bytes(&interim).await.unwrap();
    }
    stage.check_others().await;
    linked.http2.send(&head(flag::END_STREAM, stream, b"200", &[])).await.unwrap();
    assert_eq!(visit.await.unwrap().statuses(), [200]);
}

/// An agent may say that it can take anything, or nothing.
#[tokio::test]
async fn settings_of_any_size_are_lived_with() {
    let stage = Stage::set().await;
    let new = RawAgent::new(&stage.printer);
    drop(new.link(&stage.service).await);
    let agent = new.enrolled_as(&stage.printer.id);
    for settings in [
        &[(1, 0), (3, u32::MAX), (4, i32::MAX as u32), (5, (1 << 24) - 1), (6, u32::MAX)][..],
        &[(1, u32::MAX), (6, 0)],
        &[(4, 0)],
        &[(4, 1), (5, 16_384)],
        &[(0xffff, u32::MAX), (0, 0), (7, 7), (9, 9)],
        // Without extended CONNECT: what needs it fails alone.
        &[(8, 0)],
    ] {
        let mut linked = Linked::start(&stage, &agent, settings).await;
        let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        if settings == [(8, 0)] {
            let visit = stage.visit(handshake);
            // Whoever says that it cannot must refuse when it is asked all the same.
            let stream = linked.next_request().await.unwrap();
            linked.http2.send(&RawFrame::reset(stream, 1)).await.unwrap();
            assert_eq!(visit.await.unwrap().statuses(), [612]);
        }
        let visit = stage.visit("");
        let stream = linked.next_request().await.unwrap();
        linked.http2.send(&head(flag::END_STREAM, stream, b"200", &[])).await.unwrap();
        assert_eq!(visit.await.unwrap().statuses(), [200], "{settings:?}");
        stage.check_others().await;
        drop(linked);
        wait_until("the link to go", || !stage.is_linked()).await;
    }
}

#[tokio::test]
async fn an_agent_that_never_reads_is_disconnected() {
    let write_stall = Duration::from_secs(1);
    let stage = Stage::set_with(Timeouts { write_stall, ..Timeouts::default() }).await;
    let linked = Linked::start(&stage, &RawAgent::new(&stage.printer), &[(4, i32::MAX as u32)]).await;
    let mut http2: RawHttp2 = linked.http2;
    http2.send(&RawFrame::window_update(0, i32::MAX as u32 - 65_535)).await.unwrap();
    // More than what the sockets in between take.
    let length = 64 * 1024 * 1024;
    let host = &stage.shared.host;
    let mut upload = format!("PUT /file HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    upload.resize(upload.len() + length, b'x');
    let address = stage.service.address();
    let uploading = tokio::spawn(async move { raw_dialogue(address, &upload).await });
    wait_until("the link to go", || !stage.is_linked()).await;
    assert_eq!(uploading.await.unwrap().statuses(), [601]);
    stage.check_others().await;
}
