//! Links on which nothing comes any more. Time is paused: hours pass in milliseconds.

use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tunnel::agent_side::ServeEnd;
use tunnel::body::RecvBody;
use tunnel::service_side::LinkEnd;

use crate::ends::{Ends, full, printer};

/// The longest that a peer's death may go unnoticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(45);

async fn join() -> Ends {
    Ends::join(printer(|_: Request<RecvBody>| async { Response::new(full("here")) })).await
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_lasts() {
    let ends = join().await;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert!(!ends.service_end.is_finished() && !ends.agent_end.is_finished());
    assert_eq!(ends.get("/").await.unwrap().status(), 200);
    // A ping every few seconds, each answered.
    assert!(ends.told.round_trips.lock().len() > 3600, "{}", ends.told.round_trips.lock().len());
}

#[tokio::test(start_paused = true)]
async fn both_ends_notice_a_peer_that_is_gone() {
    for idle in [0, 1, 3, 4, 60] {
        let mut ends = join().await;
        tokio::time::sleep(Duration::from_secs(idle)).await;
        ends.freeze();
        let since = Instant::now();
        assert_eq!((&mut ends.service_end).await.unwrap(), LinkEnd::Silent);
        assert!(matches!((&mut ends.agent_end).await.unwrap(), ServeEnd::Silent));
        assert!(since.elapsed() <= NOTICED_WITHIN, "{:?}", since.elapsed());
        assert!(since.elapsed() >= Duration::from_secs(10), "{:?} may be a slow network", since.elapsed());
        assert!(ends.client.is_closed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_ends_with_its_link() {
    let ends = Ends::join(printer(|_: Request<RecvBody>| std::future::pending())).await;
    let waiting = tokio::spawn({
        let client = ends.client.clone();
        async move {
            let request = Request::get("http://printer/").body(()).unwrap();
            let stream = client.open(request, true).await.unwrap();
            stream.response.await.map(drop)
        }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    ends.freeze();
    let since = Instant::now();
    assert!(waiting.await.unwrap().is_err());
    assert!(since.elapsed() <= NOTICED_WITHIN);
    // Nobody can open another.
    assert!(ends.get("/").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_closes_ends_the_link_at_once() {
    let mut ends = join().await;
    ends.agent_end.abort();
    let since = Instant::now();
    assert_eq!((&mut ends.service_end).await.unwrap(), LinkEnd::Closed);
    assert!(since.elapsed() < Duration::from_secs(1));

    let mut ends = join().await;
    ends.client.close();
    assert_eq!((&mut ends.service_end).await.unwrap(), LinkEnd::ClosedHere);
    assert!(matches!((&mut ends.agent_end).await.unwrap(), ServeEnd::Closed | ServeEnd::Broken(_)));
    assert!(since.elapsed() < Duration::from_secs(1));
}
