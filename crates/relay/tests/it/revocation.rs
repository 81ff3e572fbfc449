//! What ends a connection cuts everything that it has open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use model::link::RefusalReason;
use store::ConnectionKind;
use testkit::{
    AppAccess, Client, Ending, Origin, OriginBody, Protocol, Rig, accept_websocket, connect_raw, stream_body,
    wait_until,
};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

/// The specification says one second; a busy machine gets some more.
const CUT_LIMIT: Duration = Duration::from_secs(8);

/// What ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Revoked,
    PrinterRemoved,
    AccountDeleted,
    PlanLost,
}

#[tokio::test]
async fn everything_that_is_open_is_cut() {
    for (cause, code, reason) in [
        (Cause::Revoked, 604, "connection_revoked"),
        (Cause::PrinterRemoved, 604, "connection_revoked"),
        (Cause::AccountDeleted, 604, "connection_revoked"),
        (Cause::PlanLost, 605, "not_supporter"),
    ] {
        let printer = Printer::start().await;
        let rig = Rig::start(printer.origin.address()).await;
        let open = open_all(&rig, Visitor::of(&rig.app)).await.unwrap();
        wait_until("the printer has all", || printer.n_open.load(Ordering::SeqCst) == open.len()).await;
        let now = SystemTime::now();
        let since = Instant::now();
        let store = rig.service.store();
        match cause {
            Cause::Revoked => rig.service.revoke(ConnectionKind::App, &rig.app.id).await,
            Cause::PrinterRemoved => store.remove_printer(&rig.printer.id, now).await.unwrap(),
            Cause::AccountDeleted => store.delete_account(&rig.printer.owner, now).await.unwrap(),
            Cause::PlanLost => rig.set_supporter(false).await,
        }
        expect_cut(open, &format!("{cause:?}"), since, code, reason).await;
        wait_until("the printer is told", || printer.n_open.load(Ordering::SeqCst) == 0).await;
        wait_until("nothing is left open", || rig.service.relay().open_sessions() == 0).await;

        if matches!(cause, Cause::PrinterRemoved | Cause::AccountDeleted) {
            wait_until("the agent is told", || rig.agent.seen().refusal == Some(RefusalReason::PrinterRemoved)).await;
            assert_eq!(rig.agent.seen().losses, 1);
            assert!(rig.service.relay().printers_here().is_empty());
        } else {
            assert_eq!(rig.agent.seen().losses, 0);
        }
        if cause == Cause::PlanLost {
            rig.set_supporter(true).await;
            testkit::wait_for_answer("the plan is back", async || {
                (rig.get(Protocol::Http1, "/", &[]).await.status == 200).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn expiry_cuts_what_is_open() {
    let printer = Printer::start().await;
    let rig = Rig::start(printer.origin.address()).await;
    // On a busy machine the first time may be too short to open everything in.
    for seconds in [1, 4, 12] {
        let expires_at = SystemTime::now() + Duration::from_secs(seconds);
        let app = rig.service.app_connection_until(&rig.printer.id, Some(expires_at)).await;
        let Some(open) = open_all(&rig, Visitor::of(&app)).await else { continue };
        if printer.n_open.load(Ordering::SeqCst) < open.len() {
            continue;
        }
        let since = Instant::now() + expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        expect_cut(open, "Expired", since, 604, "connection_revoked").await;
        wait_until("the printer is told", || printer.n_open.load(Ordering::SeqCst) == 0).await;
        return;
    }
    panic!("nothing could be opened in time");
}

#[tokio::test]
async fn a_shared_connections_end_cuts_its_visitors_and_nobody_else() {
    let printer = Printer::start().await;
    let rig = Rig::start(printer.origin.address()).await;
    let shared = rig.service.shared_connection(&rig.printer.id, None).await;
    let others = open_all(&rig, Visitor::of(&rig.app)).await.unwrap();
    let n_others = others.len();
    let visitors = open_all(&rig, Visitor { host: shared.host.clone(), authorization: String::new() }).await.unwrap();
    wait_until("the printer has all", || printer.n_open.load(Ordering::SeqCst) == n_others + visitors.len()).await;
    let since = Instant::now();
    rig.service.revoke(ConnectionKind::Shared, &shared.id).await;
    expect_cut(visitors, "Revoked, shared", since, 604, "connection_revoked").await;
    wait_until("the printer is told", || printer.n_open.load(Ordering::SeqCst) == n_others).await;
    for (what, other) in others {
        assert!(other.now_or_never().is_none(), "{what} was cut");
    }
}

/// A visitor who does not read cannot be told; the printer is let go all the same.
#[tokio::test]
async fn a_stalled_download_lets_go_of_the_printer() {
    let printer = Printer::start().await;
    let rig = Rig::start(printer.origin.address()).await;
    let mut visitor = connect_raw(rig.service.address()).await;
    let head =
        format!("GET /flood HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n\r\n", rig.app.host, rig.app.bearer_header());
    visitor.write_all(head.as_bytes()).await.unwrap();
    wait_until("the download begins", || printer.n_open.load(Ordering::SeqCst) == 1).await;
    rig.service.revoke(ConnectionKind::App, &rig.app.id).await;
    wait_until("the printer is told", || printer.n_open.load(Ordering::SeqCst) == 0).await;
    drop(visitor);
}

/// How something that was open ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The response's body broke off.
    Broken,
    /// A response of the service's own came.
    Answered(u16),
    Websocket(Ending),
    /// The body was whole, or the printer answered.
    InOrder,
}

type Open = (String, BoxFuture<'static, Outcome>);

async fn expect_cut(open: Vec<Open>, cause: &str, since: Instant, code: u16, reason: &str) {
    let ended = open.into_iter().map(|(what, outcome)| async move { (what, outcome.await, since.elapsed()) });
    let ended = tokio::time::timeout(CUT_LIMIT, join_all(ended)).await.expect("everything is cut in time");
    let mut slowest = Duration::ZERO;
    for (what, outcome, elapsed) in ended {
        let expected = match what.split(' ').next().unwrap() {
            "download" => Outcome::Broken,
            "websocket" => Outcome::Websocket(Ending::closed(4000 + code, reason)),
            _ => Outcome::Answered(code),
        };
        assert_eq!(outcome, expected, "{cause}: {what}");
        slowest = slowest.max(elapsed);
    }
    println!("{cause}: all was cut within {slowest:.2?}");
}

/// How a visitor comes.
#[derive(Clone)]
struct Visitor {
    host: String,
    authorization: String,
}

impl Visitor {
    fn of(app: &AppAccess) -> Self {
        Self { host: app.host.clone(), authorization: app.bearer_header() }
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        if self.authorization.is_empty() { Vec::new() } else { vec![("authorization", &self.authorization)] }
    }

    fn request<B>(&self, method: Method, path: &str, body: B) -> Request<B> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        request.body(body).unwrap()
    }
}

/// Opens one of each kind over both versions of HTTP; `None` if the connection is dead already.
async fn open_all(rig: &Rig, visitor: Visitor) -> Option<Vec<Open>> {
    let mut open: Vec<Open> = Vec::new();
    for protocol in Protocol::ALL {
        let client = rig.client(protocol);
        for path in ["/with-length", "/without-length", "/flood"] {
            let outcome = open_download(&client, &visitor, path).await?;
            open.push((format!("download of {path} in {protocol:?}"), outcome));
        }
        for (method, path) in [(Method::POST, "/upload"), (Method::GET, "/silence")] {
            let outcome = open_request(&client, &visitor, method.clone(), path);
            open.push((format!("{method} of {path} in {protocol:?}"), outcome));
        }
        let mut socket = client.websocket(&visitor.host, "/ws", &visitor.headers()).await.ok()?;
        assert_eq!(socket.next_message().await, Message::text("hello"));
        open.push((format!("websocket in {protocol:?}"), async { Outcome::Websocket(socket.ending().await) }.boxed()));
    }
    Some(open)
}

async fn open_download(client: &Client, visitor: &Visitor, path: &str) -> Option<BoxFuture<'static, Outcome>> {
    let response = client.send(visitor.request(Method::GET, path, Empty::new())).await.unwrap();
    if response.status() != 200 {
        return None;
    }
    let mut body = response.into_body();
    body.frame().await.unwrap().ok()?;
    let outcome = async move {
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return Outcome::Broken;
            }
        }
        Outcome::InOrder
    };
    Some(outcome.boxed())
}

/// A request that gets no response until it is cut. It has reached the printer when its [`Printer`] says so.
fn open_request(client: &Client, visitor: &Visitor, method: Method, path: &str) -> BoxFuture<'static, Outcome> {
    let start = futures_util::stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"start")))]);
    let body = StreamBody::new(start.chain(futures_util::stream::pending()));
    let (client, visitor, path) = (client.clone(), visitor.clone(), path.to_owned());
    let running = tokio::spawn(async move {
        let response = if method == Method::GET {
            client.send(visitor.request(method, &path, Empty::new())).await
        } else {
            client.send(visitor.request(method, &path, body)).await
        };
        let response = response.unwrap();
        match response.headers().get("x-spoolway-error") {
            Some(_) => Outcome::Answered(response.status().as_u16()),
            None => Outcome::InOrder,
        }
    });
    running.map(Result::unwrap).boxed()
}

/// A printer's server whose answers never end, and which counts those that are open.
struct Printer {
    origin: Origin,
    n_open: Arc<AtomicUsize>,
}

struct OpenGuard(Arc<AtomicUsize>);

impl OpenGuard {
    fn new(n_open: &Arc<AtomicUsize>) -> Self {
        n_open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(n_open))
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Printer {
    async fn start() -> Self {
        let n_open = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&n_open);
        let origin = Origin::start(move |request| answer(request, OpenGuard::new(&counted))).await;
        Self { origin, n_open }
    }
}

async fn answer(mut request: Request<Incoming>, guard: OpenGuard) -> Response<OriginBody> {
    match request.uri().path() {
        "/with-length" => {
            Response::builder().header("content-length", 1_000_000).body(endless(guard, 10, false)).unwrap()
        }
        "/without-length" => Response::new(endless(guard, 10, false)),
        "/flood" => Response::new(endless(guard, 64 * 1024, true)),
        "/upload" => {
            // Without an orderly end there is nobody to answer.
            let _guard = guard;
            let body = request.into_body().collect().await;
            let status = if body.is_ok() { 200 } else { 500 };
            Response::builder().status(status).body(testkit::empty()).unwrap()
        }
        "/silence" => {
            let _guard = guard;
            std::future::pending().await
        }
        "/ws" => accept_websocket(&mut request, |mut socket| async move {
            let _guard = guard;
            socket.send(Message::text("hello")).await.unwrap();
            while let Some(Ok(_)) = socket.next().await {}
        }),
        _ => Response::new(testkit::full("hello")),
    }
}

/// Pieces of `size` bytes: one and then none, or more and more.
fn endless(guard: OpenGuard, size: usize, goes_on: bool) -> OriginBody {
    stream_body(futures_util::stream::unfold((guard, false), move |(guard, begun)| async move {
        if begun && !goes_on {
            std::future::pending::<()>().await;
        }
        Some((Ok(Bytes::from(vec![b'x'; size])), (guard, true)))
    }))
}
