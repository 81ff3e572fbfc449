//! What plugins cost: idle ones, and those whose visitors do not read.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::Method;
use http_body_util::{BodyExt, Full};
use octo::printer::{Answer, AnswerEnd, PrinterEvent};
use octo::wire::Compression;
use testkit::{AppAccess, Client, Protocol, TestService, alone, resident_bytes, wait_until};

use crate::plugin_support::{Plugin, linked, service};

const MIB: usize = 1024 * 1024;

/// Files without a name that this process has open, and their bytes.
fn spilled() -> (usize, u64) {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let target = std::fs::read_link(&path).ok()?;
        target.to_string_lossy().ends_with("(deleted)").then(|| std::fs::metadata(&path).map_or(0, |file| file.len()))
    });
    open.fold((0, 0), |(n, bytes), length| (n + 1, bytes + length))
}

async fn ask(service: &TestService, app: &AppAccess, path: &str) -> http::Response<hyper::body::Incoming> {
    let client = Client::speaking(Protocol::Http1, service.address());
    client.send(app.request(Method::GET, path).body(Full::new(Bytes::new())).unwrap()).await.unwrap()
}

/// Threat T30: whoever does not read holds nobody up, costs no memory, and leaves nothing behind.
#[test]
fn two_hundred_slow_readers_hold_nobody_up() {
    alone("plugin_load::two_hundred_slow_readers_hold_nobody_up", async {
        const READERS: usize = 200;
        const EACH: usize = 6 * MIB;
        let service = service().await;
        let (identity, app) = linked(&service).await;
        let mut plugin = Plugin::accepted(&service, &identity).await;
        let before = resident_bytes();
        let body: Vec<u8> = (0..EACH).map(|n| (n / 1000 % 251) as u8).collect();
        let mut answer = Answer::new(200, &[], &body);
        answer.pieces = body.chunks(MIB).map(|piece| (piece.to_vec(), Compression::Zlib)).collect();
        let mut stalled = Vec::new();
        for n in 0..READERS {
            let asking = ask(&service, &app, "/large");
            let playing = async {
                let request = plugin.request().await;
                plugin.answer(request.stream, &answer).await;
            };
            let (response, ()) = tokio::join!(asking, playing);
            stalled.push(response);
            if n % 20 == 0 {
                let (quick, ()) = tokio::join!(ask(&service, &app, "/quick"), async {
                    let request = plugin.request().await;
                    plugin.answer(request.stream, &Answer::new(200, &[], b"quick")).await;
                });
                assert_eq!(quick.into_body().collect().await.unwrap().to_bytes(), "quick");
            }
        }
        let growth = resident_bytes().saturating_sub(before);
        assert!(growth < 160 * MIB as u64, "{growth} bytes for {READERS} readers");
        let (files, bytes) = spilled();
        assert!(files > READERS / 2 && bytes > (READERS * EACH / 2) as u64, "{files} files with {bytes} bytes");
        // Whoever reads on gets all of it.
        let read = stalled.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
        assert!(read == body);
        drop(stalled);
        wait_until("the files to be gone", || spilled().0 == 0).await;
    });
}

/// What is kept for a slow reader is no more than it may get.
#[tokio::test]
async fn a_backlog_ends_at_the_plans_limit() {
    const LIMIT: u64 = 4 * MIB as u64;
    let service = service().await;
    let (identity, app) = linked(&service).await;
    let now = std::time::SystemTime::now();
    service.store().set_plan("unlimited", now, |plan| plan.limits.max_download_bytes = Some(LIMIT)).await.unwrap();
    let mut plugin = Plugin::accepted(&service, &identity).await;
    let asking = ask(&service, &app, "/endless");
    let playing = async {
        let request = plugin.request().await;
        let mut head = Answer::new(200, &[], &vec![b'x'; MIB]);
        (head.announced, head.end) = (None, AnswerEnd::Never);
        let messages = head.messages(request.stream, &[]);
        for _ in 0..64 {
            for message in &messages {
                plugin.send(message).await;
            }
            let next = tokio::time::timeout(Duration::from_millis(20), plugin.event()).await;
            if let Ok(PrinterEvent::Closed(stream)) = next {
                assert_eq!(stream, request.stream);
                return true;
            }
        }
        false
    };
    let (response, is_closed) = tokio::join!(asking, playing);
    assert!(is_closed, "the service takes more and more");
    let mut body = response.into_body().into_data_stream();
    let mut read = 0;
    let end = loop {
        match body.next().await {
            Some(Ok(data)) => read += data.len() as u64,
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(end.is_some() && read <= LIMIT, "{read} bytes, {end:?}");
}

/// An idle plugin is cheap: receive buffers are small and given back. The test's own end of each connection counts, too.
#[test]
fn an_idle_plugin_costs_little_memory() {
    alone("plugin_load::an_idle_plugin_costs_little_memory", async {
        const PLUGINS: usize = 500;
        const EACH: u64 = 64 * 1024;
        let service = service().await;
        let mut identities = Vec::new();
        for _ in 0..=PLUGINS {
            identities.push(linked(&service).await.0);
        }
        let mut plugins = vec![Plugin::accepted(&service, &identities[0]).await];
        let before = resident_bytes();
        for identity in &identities[1..] {
            let mut plugin = Plugin::accepted(&service, identity).await;
            // It is asked what its printer does, and has answered.
            let asked = tokio::time::timeout(Duration::from_millis(5), plugin.event()).await;
            assert!(asked.is_err(), "{asked:?}");
            plugins.push(plugin);
        }
        wait_until("all plugins to be linked", || service.relay().printers_here().len() == PLUGINS + 1).await;
        let each = resident_bytes().saturating_sub(before) / PLUGINS as u64;
        println!("an idle plugin costs {each} bytes");
        assert!(each <= EACH, "an idle plugin costs {each} bytes");
    });
}
