//! Either side leaving, in the middle of anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use parking_lot::Mutex;
use relay::{AnswerTimeouts, Timeouts};
use testkit::{
    Exchange, LinkProxy, Origin, OriginBody, Protocol, RawOrigin, Rig, TestAgent, TestAgentOptions, TestService, empty,
    full, read_head, stream_body, wait_for_answer, wait_until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the endless printer sends at a time.
const PIECE: usize = 10_000;
/// Something that must not take for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// A visitor who leaves is gone for the printer within a second, whatever was under way.
#[tokio::test]
async fn a_visitor_who_leaves_is_gone_for_the_printer_too() {
    let printer = Endless::start().await;
    let rig = Rig::start(printer.origin.address()).await;
    for protocol in Protocol::ALL {
        for (method, path) in
            [(Method::GET, "/silence"), (Method::GET, "/events"), (Method::GET, "/flood"), (Method::POST, "/upload")]
        {
            // The connection stays: in HTTP/2 a visitor leaves one stream of many.
            let mut connection = rig.client(protocol).connect("localhost").await.unwrap();
            let body = if method == Method::POST { upload_without_end() } else { no_body() };
            let request = rig.request(method.clone(), path).body(body).unwrap();
            let leaving = async {
                let mut body = connection.send(request).await.unwrap().into_body();
                while body.frame().await.is_some() {}
            };
            let there = wait_until("the request is there", || printer.n_open.load(Ordering::SeqCst) == 1);
            tokio::select! {
                () = there => {}
                () = leaving => panic!("{method} {path} was answered"),
            }
            if protocol == Protocol::Http1 {
                drop(connection);
            }
            let since = Instant::now();
            wait_until("the printer is told", || printer.n_open.load(Ordering::SeqCst) == 0).await;
            println!("{method} {path} in {protocol:?}: the printer was told after {:.2?}", since.elapsed());
        }
    }
    wait_until("nothing is left open", || rig.service.relay().open_sessions() == 0).await;
    assert_eq!(rig.get(Protocol::Http1, "/", &[]).await.status, 200);
}

/// And the other way round: a printer that goes away is gone for all its visitors.
#[tokio::test]
async fn a_printer_that_goes_away_is_gone_for_its_visitors_too() {
    for protocol in Protocol::ALL {
        let Endless { origin, n_open } = Endless::start().await;
        let rig = Rig::start(origin.address()).await;
        let client = rig.client(protocol);
        let mut downloads = Vec::new();
        for path in ["/events", "/with-length", "/flood"] {
            let response = client.send(rig.request(Method::GET, path).body(no_body()).unwrap()).await.unwrap();
            downloads.push((path, response.into_body()));
        }
        let requests = [("/silence", no_body()), ("/upload", upload_without_end())].map(|(path, body)| {
            let (client, request) = (client.clone(), rig.request(Method::POST, path).body(body).unwrap());
            tokio::spawn(async move { Exchange::read(client.send(request).await.unwrap()).await })
        });
        wait_until("all is there", || n_open.load(Ordering::SeqCst) == 5).await;
        let since = Instant::now();
        drop(origin);
        for (path, body) in downloads {
            let rest = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap();
            assert!(rest.is_err(), "{path} ended as if it were whole in {protocol:?}");
        }
        for request in requests {
            let exchange = tokio::time::timeout(PATIENCE, request).await.unwrap().unwrap();
            assert_eq!(exchange.status.as_u16(), 602, "{protocol:?}");
        }
        println!("all visitors in {protocol:?} were told within {:.2?}", since.elapsed());
        let later = rig.get(protocol, "/", &[]).await;
        assert_eq!(later.status.as_u16(), 602, "{protocol:?}");
    }
}

#[tokio::test]
async fn a_printer_that_breaks_off_before_its_response_is_602() {
    for answer in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Le"] {
        let origin = RawOrigin::answering(answer).await;
        let rig = Rig::start(origin.address()).await;
        for protocol in Protocol::ALL {
            let exchange = rig.get(protocol, "/", &[]).await;
            assert_eq!(exchange.status.as_u16(), 602, "{answer:?} in {protocol:?}");
            let authorization = rig.app.bearer_header();
            let client = rig.client(protocol);
            let opened = client.websocket(&rig.app.host, "/ws", &[("authorization", &authorization)]).await;
            assert_eq!(opened.err().unwrap().status.as_u16(), 602, "{answer:?} in {protocol:?}");
        }
    }
}

/// A body that is not whole never ends in order.
#[tokio::test]
async fn a_body_that_breaks_off_at_the_printer_breaks_off_at_the_visitor() {
    for (answer, is_whole) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"[..], false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello", false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense", false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", false),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
        // Without any measure, the connection's end is the body's.
        (b"HTTP/1.1 200 OK\r\n\r\nhello", true),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", true),
    ] {
        let origin = RawOrigin::answering(answer).await;
        let rig = Rig::start(origin.address()).await;
        for protocol in Protocol::ALL {
            let exchange = rig.get(protocol, "/", &[]).await;
            let context = format!("{} in {protocol:?}", String::from_utf8_lossy(answer));
            assert_eq!(exchange.status.as_u16(), 200, "{context}");
            assert_eq!(exchange.body.is_ok(), is_whole, "{context}");
            if is_whole {
                assert_eq!(exchange.text(), "hello", "{context}");
            }
        }
    }
}

/// The link is lost with a request waiting, an upload and downloads under way; when it is back, all is as before.
#[tokio::test]
async fn a_lost_link_is_601_before_the_head_and_a_break_behind_it() {
    let printer = Endless::start().await;
    let service = TestService::start().await;
    let (added, app) = Rig::printer_on(&service, model::Limits::default()).await;
    let proxy = LinkProxy::start(service.address()).await;
    let options = TestAgentOptions { server: Some(proxy.url()), ..TestAgentOptions::default() };
    let agent = TestAgent::start_with(&service, &added, printer.origin.address(), options).await;
    for (round, protocol) in Protocol::ALL.into_iter().enumerate() {
        let client = testkit::Client::speaking(protocol, service.address());
        let waiting = {
            let (client, request) = (client.clone(), app.request(Method::GET, "/silence").body(no_body()).unwrap());
            tokio::spawn(async move { Exchange::read(client.send(request).await.unwrap()).await })
        };
        let uploading = {
            let (client, request) =
                (client.clone(), app.request(Method::POST, "/upload").body(upload_without_end()).unwrap());
            tokio::spawn(async move { Exchange::read(client.send(request).await.unwrap()).await })
        };
        let mut downloads = Vec::new();
        for path in ["/events", "/flood", "/with-length"] {
            let request = app.request(Method::GET, path).body(no_body()).unwrap();
            let response = client.send(request).await.unwrap();
            assert_eq!(response.status(), 200);
            downloads.push((path, response.into_body()));
        }
        wait_until("all is there", || printer.n_open.load(Ordering::SeqCst) == 5).await;
        proxy.cut();
        for request in [waiting, uploading] {
            let exchange = tokio::time::timeout(PATIENCE, request).await.unwrap().unwrap();
            assert_eq!((exchange.status.as_u16(), exchange.header("retry-after")), (601, "15"), "{protocol:?}");
        }
        for (path, body) in downloads {
            let rest = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap();
            assert!(rest.is_err(), "{path} ended as if it were whole in {protocol:?}");
        }
        wait_until("the printer is told", || printer.n_open.load(Ordering::SeqCst) == 0).await;
        let away = client.get(&app.host, "/", &[("authorization", &app.bearer_header())]).await;
        assert_eq!(away.status.as_u16(), 601);

        proxy.mend();
        wait_until("the agent is back", || agent.connects() == round + 2).await;
        let back = client.get(&app.host, "/", &[("authorization", &app.bearer_header())]).await;
        assert_eq!((back.status.as_u16(), back.text().as_str()), (200, "hello"));
    }
}

/// T25: whatever breaks, and wherever, the printer gets a command once or not at all.
#[tokio::test]
async fn a_command_is_never_given_twice() {
    let commands = Commands::default();
    let origin = commands.serve().await;
    let service = TestService::start().await;
    let (added, app) = Rig::printer_on(&service, model::Limits::default()).await;
    let proxy = LinkProxy::start(service.address()).await;
    let options = TestAgentOptions { server: Some(proxy.url()), ..TestAgentOptions::default() };
    let agent = TestAgent::start_with(&service, &added, origin.address(), options).await;
    let client = testkit::Client::new(service.address());
    let command = async |id: String, how: &str| {
        let request = app.request(Method::POST, &format!("/{how}?{id}")).body(Full::<Bytes>::from("G28")).unwrap();
        Exchange::read(client.send(request).await.unwrap()).await.status.as_u16()
    };
    let mut statuses = HashMap::<(&str, u16), usize>::new();
    for how in ["answer", "answer-and-close", "close", "close-in-head", "reset"] {
        for n in 0..30 {
            let status = command(format!("{how}-{n}"), how).await;
            *statuses.entry((how, status)).or_default() += 1;
        }
    }
    println!("{statuses:?}");
    assert_eq!(statuses[&("answer", 200)], 30);
    assert_eq!(statuses[&("close", 602)], 30);
    // A command that meets a connection which the printer is just closing may be lost; it is not repeated.
    assert!(statuses[&("answer-and-close", 200)] > 15);

    // The link breaks while the printer has the command.
    let waiting = tokio::spawn({
        let (client, request) =
            (client.clone(), app.request(Method::POST, "/silence?lost").body(Full::<Bytes>::from("G28")).unwrap());
        async move { Exchange::read(client.send(request).await.unwrap()).await.status.as_u16() }
    });
    wait_until("the command is there", || commands.count("lost") == 1).await;
    proxy.cut();
    assert_eq!(waiting.await.unwrap(), 601);
    proxy.mend();
    wait_until("the agent is back", || agent.connects() == 2).await;
    assert_eq!(command("after".to_owned(), "answer").await, 200);

    let counts = commands.0.lock().clone();
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    assert!(counts.len() > 120, "{}", counts.len());
}

/// A visitor waits for the head of a response for as long as the request gives reason to, whatever else may be idle.
#[tokio::test]
async fn a_printer_that_does_not_answer_in_time_is_602() {
    let (short, long) = (Duration::from_millis(700), Duration::from_secs(1000));
    let timeouts = |answer| Timeouts { answer, idle: Duration::from_millis(100), ..Timeouts::DEFAULT };
    let large = usize::try_from(relay::timeouts::LARGE_BODY).unwrap() + 1;
    let usual = Timeouts::DEFAULT.answer;
    for (answer, body_size) in [
        (AnswerTimeouts { without_body: short, after_body: long, after_large_body: long, ..usual }, 0),
        (AnswerTimeouts { without_body: long, after_body: short, after_large_body: long, ..usual }, 1),
        (AnswerTimeouts { without_body: long, after_body: short, after_large_body: long, ..usual }, large - 1),
        (AnswerTimeouts { without_body: long, after_body: long, after_large_body: short, ..usual }, large),
    ] {
        let printer = Endless::start().await;
        let service = TestService::start_with(|config| config.timeouts = timeouts(answer)).await;
        let (added, app) = Rig::printer_on(&service, model::Limits::default()).await;
        let _agent = TestAgent::start(&service, &added, printer.origin.address()).await;
        for protocol in Protocol::ALL {
            let since = Instant::now();
            let body = Full::new(Bytes::from(vec![b'x'; body_size]));
            let request = app.request(Method::POST, "/analysis").body(body).unwrap();
            let exchange = testkit::Client::speaking(protocol, service.address()).exchange(request).await;
            assert_eq!((exchange.status.as_u16(), exchange.header("retry-after")), (602, "5"), "{body_size}");
            assert!(since.elapsed() >= short, "{:?} after {body_size}", since.elapsed());
            if body_size == 0 {
                let authorization = app.bearer_header();
                let headers = [("authorization", authorization.as_str())];
                let client = testkit::Client::speaking(protocol, service.address());
                let refused = client.websocket(&app.host, "/silence", &headers).await.err().unwrap();
                assert_eq!(refused.status.as_u16(), 602, "{protocol:?}");
            }
        }
        wait_until("the printer is let go", || printer.n_open.load(Ordering::SeqCst) == 0).await;
    }
    assert!(Timeouts::DEFAULT.answer.without_body < Duration::from_secs(30), "apps in the field wait no longer");
}

/// A transfer in which nothing moves has died: before the head it is told, behind it the body breaks off. Events and
/// cameras may be silent.
#[tokio::test]
async fn a_transfer_in_which_nothing_moves_is_ended() {
    let idle = Duration::from_millis(600);
    let timeouts = Timeouts { idle, quiet_idle: Duration::from_secs(1000), ..Timeouts::DEFAULT };
    let printer = Endless::start().await;
    let service = TestService::start_with(|config| config.timeouts = timeouts).await;
    let (added, app) = Rig::printer_on(&service, model::Limits::default()).await;
    let _agent = TestAgent::start(&service, &added, printer.origin.address()).await;
    for protocol in Protocol::ALL {
        let client = testkit::Client::speaking(protocol, service.address());
        let download = |path: &'static str| app.request(Method::GET, path).body(no_body()).unwrap();
        let quiet = client.send(download("/quiet")).await.unwrap();
        let stuck = client.send(app.request(Method::POST, "/upload").body(upload_without_end()).unwrap());
        assert_eq!(stuck.await.unwrap().status().as_u16(), 602, "{protocol:?}");
        let since = Instant::now();
        let silent = client.send(download("/with-length")).await.unwrap();
        assert!(silent.into_body().collect().await.is_err(), "{protocol:?}");
        assert!(since.elapsed() >= idle, "{:?}", since.elapsed());
        assert_eq!(quiet.status(), 200);
        let mut quiet = quiet.into_body();
        let mut received = 0;
        while received < PIECE {
            received += quiet.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        assert!(quiet.frame().now_or_never().is_none(), "a stream of events was ended in {protocol:?}");
    }
}

/// An agent that connects again takes over; what the link before carries may finish.
#[tokio::test]
async fn a_new_link_takes_over_and_the_old_one_finishes() {
    let (old, new) = (Origin::start(slow_answer).await, Origin::saying("new").await);
    let rig = Rig::start(old.address()).await;
    let request = rig.request(Method::GET, "/").body(no_body()).unwrap();
    let mut body = rig.client(Protocol::Http1).send(request).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let anew = rig.service.enrol_anew(&rig.printer).await;
    let second = TestAgent::start(&rig.service, &anew, new.address()).await;
    wait_until("the second agent is linked", || second.connects() == 1).await;
    wait_for_answer("the new printer answers", async || {
        (rig.get(Protocol::Http1, "/", &[]).await.text() == "new").then_some(())
    })
    .await;
    let rest = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    assert_eq!(rest.to_bytes(), "the rest");
    wait_until("the first link is over", || rig.agent.seen().losses >= 1).await;
}

/// A head that is too large for the link costs its own request only.
#[tokio::test]
async fn a_head_that_is_too_large_costs_its_own_request() {
    let origin = Origin::start(|request| async move {
        let size: usize = request.uri().path()[1..].parse().unwrap_or(0);
        Response::builder().header("x-large", "x".repeat(size)).body(full("hello")).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let mut beside = rig.client(protocol).connect("localhost").await.unwrap();
        for (size, expected) in [(50_000, 200), (110_000, 200), (140_000, 612), (300_000, 612)] {
            let exchange = rig.get(protocol, &format!("/{size}"), &[]).await;
            assert_eq!(exchange.status.as_u16(), expected, "a response's head of {size} in {protocol:?}");
            let request = rig.request(Method::GET, "/0").body(no_body()).unwrap();
            assert_eq!(beside.send(request).await.unwrap().status(), 200);
        }
        for (size, expected) in [(50_000, 200), (80_000, 431)] {
            let exchange = rig.get(protocol, "/0", &[("x-large", &"x".repeat(size))]).await;
            assert_eq!(exchange.status.as_u16(), expected, "a request's head of {size} in {protocol:?}");
        }
        // Near the edge's limit the link has room for what the service adds.
        for size in (64_000..66_000).step_by(100) {
            let exchange = rig.get(protocol, "/0", &[("x-large", &"x".repeat(size))]).await;
            assert!(matches!(exchange.status.as_u16(), 200 | 431), "{size} in {protocol:?}");
        }
    }
    assert_eq!(rig.agent.seen().losses, 0);
}

/// Gives two pieces of a body with a pause in which a second agent can connect.
async fn slow_answer(_: Request<Incoming>) -> Response<OriginBody> {
    let pieces = futures_util::stream::unfold(0, |n| async move {
        match n {
            0 => Some((Ok(Bytes::from_static(b"start")), 1)),
            1 => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                Some((Ok(Bytes::from_static(b"the rest")), 2))
            }
            _ => None,
        }
    });
    Response::new(stream_body(pieces))
}

type RequestBody = UnsyncBoxBody<Bytes, std::io::Error>;

fn no_body() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn upload_without_end() -> RequestBody {
    let start = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"start")))]);
    StreamBody::new(start.chain(futures_util::stream::pending())).boxed_unsync()
}

/// A printer's server whose answers never end, and which counts those that are open.
struct Endless {
    origin: Origin,
    n_open: Arc<AtomicUsize>,
}

struct OpenGuard(Arc<AtomicUsize>);

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Endless {
    async fn start() -> Self {
        let n_open = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&n_open);
        let origin = Origin::start(move |request| {
            let counted = Arc::clone(&counted);
            async move {
                if request.uri().path() == "/" {
                    return Response::new(full("hello"));
                }
                counted.fetch_add(1, Ordering::SeqCst);
                answer(request, OpenGuard(counted)).await
            }
        })
        .await;
        Self { origin, n_open }
    }
}

async fn answer(request: Request<Incoming>, guard: OpenGuard) -> Response<OriginBody> {
    let pieces = |guard: OpenGuard, goes_on: bool| {
        stream_body(futures_util::stream::unfold((guard, false), move |(guard, begun)| async move {
            if begun && !goes_on {
                std::future::pending::<()>().await;
            }
            Some((Ok(Bytes::from(vec![b'x'; PIECE])), (guard, true)))
        }))
    };
    match request.uri().path() {
        "/events" => Response::new(pieces(guard, false)),
        "/with-length" => Response::builder().header("content-length", 1_000_000).body(pieces(guard, false)).unwrap(),
        "/flood" => Response::new(pieces(guard, true)),
        "/quiet" => Response::builder().header("content-type", "text/event-stream").body(pieces(guard, false)).unwrap(),
        "/analysis" => {
            let _guard = guard;
            let _ = request.into_body().collect().await;
            std::future::pending().await
        }
        "/upload" => {
            let _guard = guard;
            // An orderly end would be answered with success.
            let status = if request.into_body().collect().await.is_ok() { 200 } else { 500 };
            Response::builder().status(status).body(empty()).unwrap()
        }
        _ => {
            let _guard = guard;
            std::future::pending().await
        }
    }
}

/// How often a printer got each command.
#[derive(Clone, Default)]
struct Commands(Arc<Mutex<HashMap<String, usize>>>);

impl Commands {
    fn count(&self, id: &str) -> usize {
        self.0.lock().get(id).copied().unwrap_or(0)
    }

    /// A server that counts commands and treats them as their path says.
    async fn serve(&self) -> RawOrigin {
        let commands = self.clone();
        RawOrigin::start(move |stream| serve_commands(stream, commands.clone())).await
    }
}

async fn serve_commands(mut stream: TcpStream, commands: Commands) {
    loop {
        let head = read_head(&mut stream).await;
        let Some(target) = head.split(' ').nth(1) else { return };
        let (how, id) = target.split_once('?').unwrap();
        *commands.0.lock().entry(id.to_owned()).or_default() += 1;
        let mut body = [0; 3];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let answer: &[u8] = match how {
            "/answer" | "/answer-and-close" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "/close-in-head" => b"HTTP/1.1 200 OK\r\nCont",
            "/silence" => std::future::pending().await,
            _ => b"",
        };
        let _ = stream.write_all(answer).await;
        if how == "/reset" {
            let _ = stream.set_zero_linger();
        }
        if how != "/answer" {
            return;
        }
    }
}
