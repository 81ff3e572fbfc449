//! What the streams of a link leave each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tunnel::body::RecvBody;
use tunnel::service_side::LinkEnd;
use tunnel::window::{CONNECTION_WINDOW, MAX_STREAM_WINDOW};

use crate::ends::{Ends, full, pieces, printer};

const PIECE: usize = 16 * 1024;

/// A link to a printer with an endless file, and the count of bytes that were asked of it.
async fn endless() -> (Ends, Arc<AtomicU64>) {
    let produced = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&produced);
    let ends = Ends::join(printer(move |request: Request<RecvBody>| {
        let counted = Arc::clone(&counted);
        async move {
            if request.uri().path() == "/small" {
                return Response::new(full("small"));
            }
            Response::new(pieces(futures_util::stream::repeat_with(move || {
                counted.fetch_add(PIECE as u64, Ordering::Relaxed);
                Bytes::from_static(&[b'x'; PIECE])
            })))
        }
    }))
    .await;
    (ends, produced)
}

/// Time passes only once nothing else is left to do, so that what could be sent has been.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_holds_no_more_than_its_windows() {
    let (ends, produced) = endless().await;
    let stalled = ends.get("/endless").await.unwrap();
    settle().await;
    // The window at the service, and as much that waits at the agent.
    let most = u64::from(MAX_STREAM_WINDOW) * 2 + 64 * 1024;
    let at_rest = produced.load(Ordering::Relaxed);
    assert!(at_rest <= most, "{at_rest}");
    assert!(at_rest >= u64::from(MAX_STREAM_WINDOW), "{at_rest} would not fill a long path");
    drop(stalled);
    settle().await;
    assert_eq!(produced.load(Ordering::Relaxed), at_rest, "somebody still produces");
}

#[tokio::test(start_paused = true)]
async fn many_stalled_streams_share_a_links_memory_and_leave_room_for_others() {
    let (ends, produced) = endless().await;
    let mut stalled = Vec::new();
    for n in 1..=200 {
        stalled.push(ends.get("/endless").await.unwrap());
        settle().await;
        let response = ends.get("/small").await.expect("another request goes on");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "small", "behind {n} stalled streams");
    }
    let at_rest = produced.load(Ordering::Relaxed);
    assert!(at_rest < u64::from(CONNECTION_WINDOW), "{at_rest}");
    drop(stalled);
    settle().await;
    assert_eq!(ends.client.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_read_get_equal_shares() {
    let (ends, _) = endless().await;
    let ends = Arc::new(ends);
    let counts: Vec<Arc<AtomicU64>> = (0..100).map(|_| Arc::default()).collect();
    let mut readers = Vec::new();
    for count in &counts {
        let (ends, count) = (Arc::clone(&ends), Arc::clone(count));
        readers.push(tokio::spawn(async move {
            let mut body = ends.get("/endless").await.unwrap().into_body();
            while count.load(Ordering::Relaxed) < 1_000_000 {
                let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
                count.fetch_add(data.len() as u64, Ordering::Relaxed);
            }
        }));
    }
    // When the first has its megabyte, how much have the others?
    let (_, _, others) = futures_util::future::select_all(readers).await;
    let least = counts.iter().map(|count| count.load(Ordering::Relaxed)).min().unwrap();
    assert!(least >= 250_000, "one has had {least} bytes while another had a million");
    for other in others {
        other.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_that_shall_end_waits_for_its_streams() {
    let (mut ends, _) = endless().await;
    let mut body = ends.get("/endless").await.unwrap().into_body();
    ends.client.close_when_idle();
    for _ in 0..1_000 {
        body.frame().await.unwrap().unwrap();
    }
    assert!(!ends.service_end.is_finished());
    drop(body);
    assert_eq!((&mut ends.service_end).await.unwrap(), LinkEnd::ClosedHere);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_shuts_down_finishes_what_it_has_begun() {
    let (mut ends, _) = endless().await;
    let mut body = ends.get("/endless").await.unwrap().into_body();
    ends.agent_shutdown.cancel();
    settle().await;
    assert!(ends.get("/small").await.is_err(), "a new request was taken");
    for _ in 0..1_000 {
        body.frame().await.unwrap().unwrap();
    }
    drop(body);
    let ended = tokio::time::timeout(Duration::from_secs(5), &mut ends.agent_end).await;
    assert!(ended.is_ok(), "the agent does not end");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_stream_ids_is_announced_long_before_it_comes() {
    let printer = printer(|_: Request<RecvBody>| async { Response::new(full("fine")) });
    let ends = Ends::join_with(printer, 64 * 1024, 21).await;
    for _ in 0..10 {
        ends.get("/").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*ends.told.exhausted.lock(), 0);
    ends.get("/").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*ends.told.exhausted.lock(), 1);
    // It is told once, and the link goes on for as long as it takes to replace it.
    for _ in 0..100 {
        ends.get("/").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*ends.told.exhausted.lock(), 1);
}
