//! Agents that break every rule: their own visitors get an error, and nobody else notices.

use std::time::Duration;

use model::link::{Refusal, RefusalReason};
use relay::Timeouts;
use store::AuditKind;
use testkit::raw_http2::{RawFrame, RawHttp2, field_block, flag, kind, push_length};
use testkit::{
    Client, Origin, RawAgent, RawDialogue, SharedAccess, TestAgent, TestPrinter, TestService, alone, connect_raw,
    raw_dialogue, read_to_close, wait_until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A service with one printer whose agent is good, and one for a bad agent.
pub(crate) struct Stage {
    pub(crate) service: TestService,
    pub(crate) printer: TestPrinter,
    pub(crate) shared: SharedAccess,
    other: SharedAccess,
    other_agent: TestAgent,
    _origin: Origin,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::set_with(Timeouts { first_answer: Duration::from_secs(1), ..Timeouts::default() }).await
    }

    pub(crate) async fn set_with(timeouts: Timeouts) -> Self {
        let service = TestService::start_with(|config| config.timeouts = timeouts).await;
        let origin = Origin::saying("good").await;
        let other = service.add_printer().await;
        let other_agent = TestAgent::start(&service, &other, origin.address()).await;
        let other = service.shared_connection(&other.id, None).await;
        let printer = service.add_printer().await;
        let shared = service.shared_connection(&printer.id, None).await;
        Self { service, printer, shared, other, other_agent, _origin: origin }
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.service.relay().printers_here().contains(&self.printer.id)
    }

    /// That the other printer's visitors see nothing of all this.
    pub(crate) async fn check_others(&self) {
        let exchange = Client::new(self.service.address()).get(&self.other.host, "/", &[]).await;
        assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (200, "good"));
        assert_eq!(self.other_agent.connects(), 1, "the good agent lost its link");
    }

    /// Makes a request to the bad agent's printer, on a connection of its own.
    pub(crate) fn visit(&self, extra: &str) -> tokio::task::JoinHandle<RawDialogue> {
        let host = &self.shared.host;
        let request = format!("GET /visited HTTP/1.1\r\nHost: {host}\r\n{extra}Connection: close\r\n\r\n");
        let address = self.service.address();
        tokio::spawn(async move { raw_dialogue(address, request.as_bytes()).await })
    }
}

/// An agent that has said hello and does the rest by hand.
pub(crate) struct Linked {
    pub(crate) http2: RawHttp2,
    /// The stream on which it reports events.
    pub(crate) events: u32,
}

impl Linked {
    /// Links `agent`, so that the service takes it for a good one.
    pub(crate) async fn start(stage: &Stage, agent: &RawAgent, settings: &[(u16, u32)]) -> Self {
        let linked = Self::link(&stage.service, agent, settings).await;
        wait_until("the agent to be linked", || stage.is_linked()).await;
        linked
    }

    /// The same with any service.
    pub(crate) async fn link(service: &TestService, agent: &RawAgent, settings: &[(u16, u32)]) -> Self {
        let mut http2 = RawHttp2::over(agent.link(service).await);
        read_preface(&mut http2).await;
        // Extended CONNECT is among the settings of every agent.
        http2.send(&RawFrame::settings(&[&[(8, 1)], settings].concat())).await.unwrap();
        let mut linked = Self { http2, events: 0 };
        linked.events = linked.next_request().await.unwrap();
        linked.http2.send(&head(0, linked.events, b"200", &[])).await.unwrap();
        let told = linked.next_request().await.unwrap();
        linked.http2.send(&head(flag::END_STREAM, told, b"204", &[])).await.unwrap();
        linked
    }

    /// The stream of the next request; `None` if the service has ended the link.
    pub(crate) async fn next_request(&mut self) -> Option<u32> {
        Some(self.http2.read_until(|frame| frame.kind == kind::HEADERS).await?.stream)
    }
}

async fn read_preface(http2: &mut RawHttp2) {
    let mut preface = [0; 24];
    http2.read_bytes(&mut preface).await.unwrap();
    assert!(preface.starts_with(b"PRI * HTTP/2.0"));
}

/// The head of a response.
pub(crate) fn head(flags: u8, stream: u32, status: &[u8], fields: &[(&[u8], &[u8])]) -> RawFrame {
    RawFrame::headers(flags, stream, &[&[(&b":status"[..], status)], fields].concat())
}

pub(crate) fn data(flags: u8, stream: u32, bytes: &[u8]) -> RawFrame {
    RawFrame::new(kind::DATA, flags, stream, bytes)
}

/// What an upgrade request was answered, until its connection was closed.
async fn refused(stage: &Stage, request: &str) -> (u16, Option<RefusalReason>) {
    let dialogue = raw_dialogue(stage.service.address(), request.as_bytes()).await;
    assert_eq!(dialogue.responses.len(), 1, "{request:.80}");
    let response = &dialogue.responses[0];
    (response.status, serde_json::from_slice::<Refusal>(&response.body).ok().map(|refusal| refusal.reason))
}

#[tokio::test]
async fn who_does_not_introduce_himself_is_refused() {
    use RefusalReason::{AgentTooOld, InvalidToken, Malformed, PrinterRemoved, WrongKey};
    let stage = Stage::set().await;
    let new = RawAgent::new(&stage.printer);
    let request = new.request();
    let changed = |change: &dyn Fn(&mut RawAgent)| {
        let mut agent = new.clone();
        change(&mut agent);
        agent.request()
    };
    let without = |name: &str| -> String {
        let prefix = format!("{name}:");
        let lines = request.split_inclusive("\r\n").filter(|line| !line.starts_with(&prefix));
        lines.collect()
    };
    for (what, request, status, reason) in [
        ("no upgrade", without("Upgrade"), 400, Malformed),
        ("no key", without("Authorization"), 400, Malformed),
        ("no hello", without("spoolway-hello"), 400, Malformed),
        ("an empty hello", new.request_with(""), 400, Malformed),
        ("a hello that is no base64", new.request_with("%%%"), 400, Malformed),
        ("a hello that is no JSON", new.request_with("bm90IGpzb24"), 400, Malformed),
        ("a hello of another shape", new.request_with("W10"), 400, Malformed),
        ("a long hello", new.request_with(&"A".repeat(20_000)), 400, Malformed),
        ("a hello that is over the limit of heads", new.request_with(&"A".repeat(70_000)), 431, Malformed),
        ("a deep hello", new.request_with(&"W1tb".repeat(2_000)), 400, Malformed),
        ("a key that is too short", changed(&|agent| agent.key = model::Secret::new("short")), 400, Malformed),
        ("no token", changed(&|agent| agent.hello.enrolment_token = None), 401, InvalidToken),
        ("a wrong token", changed(&|agent| agent.hello.enrolment_token = Some("x".repeat(40))), 401, InvalidToken),
        ("an empty token", changed(&|agent| agent.hello.enrolment_token = Some(String::new())), 401, InvalidToken),
        ("an old protocol", changed(&|agent| agent.hello.protocol = 0), 426, AgentTooOld),
        ("an unknown printer", new.clone().enrolled_as(&model::PrinterId::generate()).request(), 410, PrinterRemoved),
        ("a printer that was never enrolled", new.clone().enrolled_as(&stage.printer.id).request(), 401, WrongKey),
    ] {
        let (answered, said) = refused(&stage, &request).await;
        assert_eq!(answered, status, "{what}");
        assert!(status == 431 || said == Some(reason), "{what}: {said:?}");
    }
    assert!(!stage.is_linked());

    // A token is for one agent, who may use it again as long as it has not heard of its success; then its key decides.
    drop(new.link(&stage.service).await);
    drop(new.link(&stage.service).await);
    assert_eq!(refused(&stage, &RawAgent::new(&stage.printer).request()).await, (401, Some(InvalidToken)));
    let stranger = RawAgent::new(&stage.printer).enrolled_as(&stage.printer.id);
    assert_eq!(refused(&stage, &stranger.request()).await, (401, Some(WrongKey)));
    // The owner reads of it, once for each place that it came from.
    assert_eq!(refused(&stage, &stranger.request()).await, (401, Some(WrongKey)));
    let store = stage.service.store();
    let log = store.audit_log(&stage.printer.account, None, 100).await.unwrap();
    let told: Vec<_> = log.iter().filter(|entry| entry.kind == AuditKind::AgentRefused).collect();
    assert_eq!(told.len(), 1, "{log:?}");
    assert_eq!(told[0].printer.as_ref(), Some(&stage.printer.id));
    let _ = Linked::start(&stage, &new.enrolled_as(&stage.printer.id), &[]).await;
    stage.check_others().await;
}

/// Sends `bytes` after the 101 and waits for the service to hang up.
async fn never_linked(stage: &Stage, agent: &RawAgent, what: &str, bytes: &[u8]) {
    let mut stream = agent.link(&stage.service).await;
    let _ = stream.write_all(bytes).await;
    read_to_close(&mut stream).await;
    assert!(!stage.is_linked(), "{what}");
    let answered = stage.visit("").await.unwrap();
    assert_eq!(answered.statuses(), [601], "{what}");
}

#[tokio::test]
async fn who_speaks_no_http2_is_never_taken_for_a_printer() {
    let stage = Stage::set().await;
    let new = RawAgent::new(&stage.printer);
    never_linked(&stage, &new, "silence", b"").await;
    let agent = new.enrolled_as(&stage.printer.id);
    let settings = RawFrame::settings(&[]).to_bytes();
    let noise: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let refuses_events = [settings.clone(), head(flag::END_STREAM, 1, b"404", &[]).to_bytes()].concat();
    let resets_events = [settings.clone(), RawFrame::reset(1, 2).to_bytes()].concat();
    let goes_away = [settings.clone(), RawFrame::new(kind::GOAWAY, 0, 0, [0; 8]).to_bytes()].concat();
    for (what, bytes) in [
        ("noise", &noise[..]),
        ("zeros", &[0; 100_000]),
        ("HTTP/1.1", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a client's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("settings and no more", &settings),
        ("no events", &refuses_events),
        ("reset events", &resets_events),
        ("goodbye", &goes_away),
    ] {
        never_linked(&stage, &agent, what, bytes).await;
    }
    stage.check_others().await;
    // None of it keeps the same agent from doing better.
    let mut linked = Linked::start(&stage, &agent, &[]).await;
    let visit = stage.visit("");
    let stream = linked.next_request().await.unwrap();
    linked.http2.send(&head(flag::END_STREAM, stream, b"200", &[])).await.unwrap();
    assert_eq!(visit.await.unwrap().statuses(), [200]);
}

/// What comes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visitor {
    /// A status, with a whole body.
    Gets(u16),
    /// That, or a response that breaks off, depending on what is looked at first.
    MayGet(u16),
    /// A response that breaks off.
    SeesABreak,
}

/// What comes of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Stays,
    IsDropped,
}

type Answer = (&'static str, fn(u32) -> Vec<RawFrame>, Visitor, Link);

/// Answers to a request on the stream that is handed in. A head that cannot be read ends the whole link: the library
/// no longer trusts the compression that both ends share. Only the agent that wrote it suffers.
const ANSWERS: &[Answer] = {
    use Link::{IsDropped, Stays};
    use Visitor::{Gets, MayGet, SeesABreak};
    &[
        ("nothing but a reset", |s| vec![RawFrame::reset(s, 8)], Gets(612), Stays),
        ("an internal error", |s| vec![RawFrame::reset(s, 2)], Gets(612), Stays),
        ("a refusal of the stream", |s| vec![RawFrame::reset(s, 7)], Gets(601), Stays),
        ("a reset without an error", |s| vec![RawFrame::reset(s, 0)], Gets(612), Stays),
        ("goodbye", |_| vec![RawFrame::new(kind::GOAWAY, 0, 0, [0; 8])], Gets(601), IsDropped),
        ("a body without a head", |s| vec![data(flag::END_STREAM, s, b"x")], Gets(601), IsDropped),
        ("no status", |s| vec![RawFrame::headers(1, s, &[(b"x-a", b"b")])], Gets(612), Stays),
        ("an empty status", |s| vec![head(1, s, b"", &[])], Gets(601), IsDropped),
        ("a status of letters", |s| vec![head(1, s, b"abc", &[])], Gets(601), IsDropped),
        ("a status of two digits", |s| vec![head(1, s, b"20", &[])], Gets(601), IsDropped),
        ("a status of four digits", |s| vec![head(1, s, b"2000", &[])], Gets(601), IsDropped),
        ("a negative status", |s| vec![head(1, s, b"-20", &[])], Gets(601), IsDropped),
        ("status 100 as the last word", |s| vec![head(1, s, b"100", &[])], Gets(612), Stays),
        ("status 101 as the last word", |s| vec![head(1, s, b"101", &[])], Gets(612), Stays),
        ("a pseudo-header of requests", |s| vec![head(1, s, b"200", &[(b":path", b"/")])], Gets(200), Stays),
        ("an unknown pseudo-header", |s| vec![head(1, s, b"200", &[(b":x", b"/")])], Gets(601), IsDropped),
        ("two statuses", |s| vec![head(1, s, b"200", &[(b":status", b"204")])], Gets(612), Stays),
        ("upper case", |s| vec![head(1, s, b"200", &[(b"X-A", b"b")])], Gets(601), IsDropped),
        ("a name with a space", |s| vec![head(1, s, b"200", &[(b"x a", b"b")])], Gets(601), IsDropped),
        ("a split value", |s| vec![head(1, s, b"200", &[(b"x", b"a\r\nset-cookie: b=c")])], Gets(601), IsDropped),
        ("a NUL", |s| vec![head(1, s, b"200", &[(b"x", b"a\x00")])], Gets(601), IsDropped),
        ("transfer-encoding", |s| vec![head(1, s, b"200", &[(b"transfer-encoding", b"chunked")])], Gets(612), Stays),
        ("connection", |s| vec![head(1, s, b"200", &[(b"connection", b"close")])], Gets(612), Stays),
        ("a length that is none", |s| vec![head(1, s, b"200", &[(b"content-length", b"x")])], Gets(612), Stays),
        (
            "two lengths",
            |s| vec![head(0, s, b"200", &[(b"content-length", b"1"), (b"content-length", b"2")]), data(1, s, b"x")],
            Gets(612),
            Stays,
        ),
        ("a head of 240 KB", oversized_head, Gets(612), Stays),
        ("a head that unpacks to megabytes", |s| vec![bomb(s)], Gets(601), IsDropped),
        (
            "a failure without a name",
            |s| vec![head(1, s, b"502", &[(b"spoolway-agent-failure", b"")])],
            Gets(612),
            Stays,
        ),
        (
            "a failure with a long story",
            |s| {
                let failure = head(0, s, b"502", &[(b"spoolway-agent-failure", b"target-unreachable")]);
                vec![failure, data(0, s, &[b'x'; 16_000]), data(1, s, &[b'x'; 16_000])]
            },
            Gets(602),
            Stays,
        ),
        // Bodies.
        (
            "less than announced",
            |s| vec![head(0, s, b"200", &[(b"content-length", b"5")]), data(1, s, b"abc")],
            SeesABreak,
            Stays,
        ),
        (
            "more than announced",
            |s| vec![head(0, s, b"200", &[(b"content-length", b"3")]), data(0, s, b"abc"), data(1, s, b"de")],
            MayGet(200),
            Stays,
        ),
        (
            "half a body and a reset",
            |s| vec![head(0, s, b"200", &[]), data(0, s, b"abc"), RawFrame::reset(s, 2)],
            SeesABreak,
            Stays,
        ),
        (
            "half a body and goodbye",
            |s| {
                vec![
                    head(0, s, b"200", &[]),
                    data(0, s, b"abc"),
                    RawFrame::new(kind::GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, 2]),
                ]
            },
            SeesABreak,
            IsDropped,
        ),
        ("a body after its end", |s| vec![head(1, s, b"200", &[]), data(1, s, b"late")], Gets(200), Stays),
        ("two responses", |s| vec![head(1, s, b"200", &[]), head(1, s, b"200", &[])], Gets(200), Stays),
        // Frames that are nobody's business.
        ("an answer that nobody asked for", |_| vec![head(1, 999, b"200", &[])], Gets(601), IsDropped),
        ("an answer on a stream of its own", |_| vec![head(1, 2, b"200", &[])], Gets(601), IsDropped),
        ("a request of its own", |_| vec![own_request()], Gets(601), IsDropped),
        ("a push", |s| vec![RawFrame::new(kind::PUSH_PROMISE, 4, s, [0, 0, 0, 2])], Gets(601), IsDropped),
        ("a window of 2^31", |_| vec![RawFrame::settings(&[(4, 1 << 31)])], Gets(601), IsDropped),
        ("a wide window", |_| vec![RawFrame::window_update(0, i32::MAX as u32); 2], Gets(601), IsDropped),
        ("a closed window", |s| vec![RawFrame::window_update(s, 0)], Gets(601), IsDropped),
        ("padding beyond the end", |s| vec![RawFrame::new(kind::HEADERS, 0xd, s, [200, 1])], Gets(601), IsDropped),
        (
            "an index that is not there",
            |s| vec![RawFrame::new(kind::HEADERS, 5, s, [0xff, 0x80, 1])],
            Gets(601),
            IsDropped,
        ),
        ("a frame over the limit", |s| vec![head(0, s, b"200", &[]), data(0, s, &[0; 70_000])], SeesABreak, IsDropped),
        ("noise", |_| vec![RawFrame::new(0xff, 0xff, 0, [0xff; 9]); 300], Gets(601), IsDropped),
    ]
};

/// Four times what a head may be, in as few frames as carry it: many would be another attack.
fn oversized_head(stream: u32) -> Vec<RawFrame> {
    let mut frames = vec![RawFrame::new(kind::HEADERS, 1, stream, field_block(&[(b":status", b"200")]))];
    let block = field_block(&[(b"x", &[b'y'; 60_000])]);
    frames.extend((1..=4).map(|n| {
        let flags = if n == 4 { flag::END_HEADERS } else { 0 };
        RawFrame::new(kind::CONTINUATION, flags, stream, block.clone())
    }));
    frames
}

fn bomb(stream: u32) -> RawFrame {
    let mut block = field_block(&[(b":status", b"200")]);
    block.push(0x40);
    push_length(&mut block, 0, 127, 1);
    block.push(b'x');
    push_length(&mut block, 0, 127, 3_900);
    block.extend([b'y'; 3_900]);
    block.extend([0xbe; 8_000]);
    RawFrame::new(kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, stream, block)
}

fn own_request() -> RawFrame {
    let fields: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"localhost")];
    RawFrame::headers(flag::END_STREAM, 2, &fields)
}

#[test]
fn whatever_an_agent_answers_its_visitor_gets_one_response_and_others_theirs() {
    alone("bad_agents::whatever_an_agent_answers_its_visitor_gets_one_response_and_others_theirs", async {
        let stage = Stage::set().await;
        let new = RawAgent::new(&stage.printer);
        drop(new.link(&stage.service).await);
        let agent = new.enrolled_as(&stage.printer.id);
        let mut problems = Vec::new();
        for (what, answer, visitor, link) in ANSWERS {
            let mut linked = Linked::start(&stage, &agent, &[]).await;
            let visit = stage.visit("");
            let stream = linked.next_request().await.unwrap();
            for frame in answer(stream) {
                let _ = linked.http2.send(&frame).await;
            }
            let dialogue = visit.await.unwrap();
            let seen = match &dialogue.responses[..] {
                [response] if response.is_whole => Some(Visitor::Gets(response.status)),
                [_] => Some(Visitor::SeesABreak),
                _ => None,
            };
            let fine = match visitor {
                Visitor::MayGet(status) => {
                    matches!(seen, Some(Visitor::SeesABreak)) || seen == Some(Visitor::Gets(*status))
                }
                visitor => seen == Some(*visitor),
            };
            if !fine {
                problems.push(format!("{what}: the visitor saw {seen:?} {}", dialogue.rest.escape_ascii()));
            }
            // A link that stays carries the next request; one that was dropped is gone.
            let state = tokio::select! {
                () = wait_until("the link to go", || !stage.is_linked()) => Link::IsDropped,
                works = carries_on(&stage, &mut linked) => if works { Link::Stays } else { Link::IsDropped },
            };
            if state != *link {
                problems.push(format!("{what}: the link {state:?}"));
            }
            drop(linked);
            wait_until("the link to go", || !stage.is_linked()).await;
            stage.check_others().await;
        }
        assert!(problems.is_empty(), "{} went wrong:\n{}", problems.len(), problems.join("\n"));
    });
}

async fn carries_on(stage: &Stage, linked: &mut Linked) -> bool {
    let visit = stage.visit("");
    let Some(stream) = linked.next_request().await else { std::future::pending().await };
    linked.http2.send(&head(flag::END_STREAM, stream, b"203", &[])).await.unwrap();
    visit.await.unwrap().statuses() == [203]
}

#[tokio::test]
async fn an_agent_cannot_speak_for_the_service() {
    let stage = Stage::set().await;
    let mut linked = Linked::start(&stage, &RawAgent::new(&stage.printer), &[]).await;
    for code in 600..=613u16 {
        let visit = stage.visit("");
        let stream = linked.next_request().await.unwrap();
        let (status, body) = (code.to_string(), b"forged");
        let forged: [(&[u8], &[u8]); 5] = [
            (b"x-spoolway-error", status.as_bytes()),
            (b"x-spoolway-error", b"604"),
            (b"spoolway-upgraded", b"1"),
            (b"strict-transport-security", b"max-age=9999999"),
            (b"alt-svc", b"h2=\"evil.example:443\""),
        ];
        linked.http2.send(&head(0, stream, status.as_bytes(), &forged)).await.unwrap();
        linked.http2.send(&data(flag::END_STREAM, stream, body)).await.unwrap();
        let dialogue = visit.await.unwrap();
        let response = &dialogue.responses[0];
        assert_eq!((response.status, &response.body[..]), (code, &body[..]));
        for name in ["x-spoolway-error", "spoolway-upgraded", "strict-transport-security", "alt-svc"] {
            assert!(!response.headers.contains_key(name), "{name}");
        }
    }
    stage.check_others().await;
}

#[tokio::test]
async fn a_newer_link_replaces_the_older_whose_streams_finish() {
    let stage = Stage::set().await;
    let new = RawAgent::new(&stage.printer);
    let mut older = Linked::start(&stage, &new, &[]).await;
    let running = stage.visit("");
    let stream = older.next_request().await.unwrap();
    older.http2.send(&head(0, stream, b"200", &[])).await.unwrap();
    older.http2.send(&data(0, stream, b"from the older, ")).await.unwrap();

    let mut newer = Linked::start(&stage, &new.enrolled_as(&stage.printer.id), &[]).await;
    let visit = stage.visit("");
    let stream_of_newer = newer.next_request().await.unwrap();
    newer.http2.send(&head(flag::END_STREAM, stream_of_newer, b"201", &[])).await.unwrap();
    assert_eq!(visit.await.unwrap().statuses(), [201]);

    assert!(!running.is_finished());
    older.http2.send(&data(flag::END_STREAM, stream, b"to its end")).await.unwrap();
    let dialogue = running.await.unwrap();
    assert_eq!(dialogue.responses[0].body, b"from the older, to its end");
    assert!(dialogue.responses[0].is_whole);
    // Nothing is left to do for the older one.
    while older.http2.read().await.is_some() {}
    assert!(stage.is_linked());
}

/// A connection that is a tunnel no longer answers HTTP, whatever else its agent tries.
#[tokio::test]
async fn one_identity_cannot_be_used_over_another_printers_link() {
    let stage = Stage::set().await;
    let mut stream: TcpStream = connect_raw(stage.service.address()).await;
    let agent = RawAgent::new(&stage.printer);
    let twice = format!("{}{}", agent.request(), agent.request());
    stream.write_all(twice.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    let rest = read_to_close(&mut stream).await;
    assert!(!rest.windows(8).any(|bytes| bytes == b"HTTP/1.1"), "{}", rest.escape_ascii());
    assert!(!stage.is_linked());
    stage.check_others().await;
}
