//! HTTP/1.1 byte by byte: every shape that two readers might read differently passes as exactly one request, or is
//! refused and the connection closed.

use std::sync::Arc;

use http::Response;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use testkit::{
    Origin, RawDialogue, SharedAccess, TestAgent, TestService, alone, full, raw_dialogue, raw_dialogue_cut_short,
};

use crate::raw_http_cases::{CHUNKS, CUT_SHORT, Expect, FIELDS, HOSTS, LENGTHS, REQUEST_LINES, large_heads};

/// A whole request, as the printer saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    method: String,
    target: String,
    body: Vec<u8>,
}

impl Taken {
    pub(crate) fn new(method: &str, target: &str, body: &[u8]) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), body: body.to_owned() }
    }
}

/// A service, and a printer behind it that notes which requests reach it whole.
pub(crate) struct Stage {
    pub(crate) service: TestService,
    pub(crate) shared: SharedAccess,
    pub(crate) taken: Arc<Mutex<Vec<Taken>>>,
    origin: Origin,
    _agent: TestAgent,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let service = TestService::start().await;
        let taken = Arc::new(Mutex::new(Vec::new()));
        let takes = Arc::clone(&taken);
        let origin = Origin::start(move |request| {
            let takes = Arc::clone(&takes);
            async move {
                let (head, body) = request.into_parts();
                if let Ok(body) = body.collect().await {
                    let body = body.to_bytes();
                    takes.lock().push(Taken::new(head.method.as_str(), &head.uri.to_string(), &body));
                }
                Response::new(full(format!("printer {}", head.uri)))
            }
        })
        .await;
        let printer = service.add_printer().await;
        let agent = TestAgent::start(&service, &printer, origin.address()).await;
        let shared = service.shared_connection(&printer.id, None).await;
        Self { service, shared, taken, origin, _agent: agent }
    }

    fn fill_in(&self, bytes: &[u8]) -> Vec<u8> {
        let mut filled = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.windows(2).position(|window| window == b"$H") {
            filled.extend_from_slice(&rest[..at]);
            filled.extend_from_slice(self.shared.host.as_bytes());
            rest = &rest[at + 2..];
        }
        filled.extend_from_slice(rest);
        filled
    }

    /// Sends a request and a second one right behind it, and checks what became of both. Returns what is wrong.
    async fn check(&self, request: &[u8], expect: Expect) -> Result<(), String> {
        let mut bytes = self.fill_in(request);
        bytes.extend(self.fill_in(b"GET /second HTTP/1.1\r\nHost: $H\r\nConnection: close\r\n\r\n"));
        let dialogue = raw_dialogue(self.service.address(), &bytes).await;
        let taken = std::mem::take(&mut *self.taken.lock());
        self.judge(&dialogue, &taken, expect).map_err(|problem| {
            let answers: Vec<String> = dialogue
                .responses
                .iter()
                .map(|response| format!("{} {}", response.status, response.body.escape_ascii()))
                .collect();
            format!("{:.120}\n    {problem}: {answers:?}, printer saw {taken:?}", request.escape_ascii().to_string())
        })
    }

    fn judge(&self, dialogue: &RawDialogue, taken: &[Taken], expect: Expect) -> Result<(), &'static str> {
        let (statuses, second) = (dialogue.statuses(), Taken::new("GET", "/second", b""));
        if !dialogue.rest.is_empty() || dialogue.responses.iter().any(|response| !response.is_whole) {
            return Err("a response is not whole");
        }
        let (first, status) = match expect {
            Expect::Refused(allowed) => {
                return match statuses[..] {
                    [status] if !allowed.contains(&status) => Err("another status was expected"),
                    [_] if taken.is_empty() => Ok(()),
                    [_] => Err("the printer saw a refused request"),
                    _ => Err("not refused and closed"),
                };
            }
            Expect::Answered(status) => (None, status),
            Expect::Passes(method, target, body) => (Some(Taken::new(method, target, body)), 200),
        };
        if statuses.first() != Some(&status) {
            return Err("it did not pass");
        }
        if let Some(first) = &first
            && dialogue.responses[0].body != format!("printer {}", first.target).into_bytes()
        {
            return Err("the response is another request's");
        }
        let expected: Vec<Taken> = match statuses.len() {
            1 => first.into_iter().collect(),
            2 if dialogue.responses[1].body == b"printer /second" => first.into_iter().chain([second]).collect(),
            _ => return Err("the second request was not answered right"),
        };
        if taken == expected { Ok(()) } else { Err("the printer saw something else") }
    }

    /// That nothing which was sent has disturbed the printer's link, or anybody else.
    pub(crate) async fn check_that_all_is_well(&self) {
        let seen = self.origin.seen();
        for request in &seen {
            let (length, coding) = ("content-length", "transfer-encoding");
            assert!(!(request.headers.contains_key(length) && request.headers.contains_key(coding)), "{request:?}");
            assert!(request.headers.get_all(length).iter().count() <= 1, "{request:?}");
            assert!(request.headers.get_all("host").iter().count() == 1, "{request:?}");
            assert_eq!(request.headers["host"], self.shared.host.as_str(), "{request:?}");
            for absent in ["connection", "keep-alive", "te", "upgrade", "http2-settings", "expect"] {
                assert!(!request.headers.contains_key(absent), "{absent} in {request:?}");
            }
        }
        let exchange = testkit::Client::new(self.service.address()).get(&self.shared.host, "/well", &[]).await;
        assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (200, "printer /well"));
        assert_eq!(self._agent.connects(), 1, "the link was lost on the way");
    }
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} cases went wrong:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_shape_of_a_request_is_one_request_or_none() {
    alone("raw_http::every_shape_of_a_request_is_one_request_or_none", async {
        let stage = Stage::set().await;
        let mut cases: Vec<(Vec<u8>, Expect)> = Vec::new();
        for (line, expect) in REQUEST_LINES {
            cases.push(([line, &b"\r\nHost: $H\r\n\r\n"[..]].concat(), *expect));
        }
        for (hosts, expect) in HOSTS {
            cases.push(([b"GET / HTTP/1.1\r\n", *hosts, b"\r\n"].concat(), *expect));
        }
        for (fields, expect) in FIELDS {
            cases.push(([b"GET / HTTP/1.1\r\nHost: $H\r\n", *fields, b"\r\n"].concat(), *expect));
        }
        for (fields, body, expect) in LENGTHS {
            cases.push(([b"POST / HTTP/1.1\r\nHost: $H\r\n", *fields, b"\r\n", *body].concat(), *expect));
        }
        for (body, expect) in CHUNKS {
            let head = b"POST / HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\n\r\n";
            cases.push(([&head[..], *body].concat(), *expect));
        }
        assert!(cases.len() >= 300, "{}", cases.len());
        let mut problems = Vec::new();
        for (request, expect) in &cases {
            problems.extend(stage.check(request, *expect).await.err());
        }
        report(&problems);
        stage.check_that_all_is_well().await;
    });
}

#[tokio::test]
async fn heads_of_any_size_pass_or_are_refused() {
    let stage = Stage::set().await;
    let mut problems = Vec::new();
    for (name, head, expect) in large_heads() {
        problems.extend(stage.check(&head, expect).await.err().map(|problem| format!("{name}: {problem}")));
    }
    report(&problems);
    stage.check_that_all_is_well().await;
}

#[tokio::test]
async fn a_request_that_ends_in_the_middle_never_reaches_the_printer_as_a_whole() {
    let stage = Stage::set().await;
    for request in CUT_SHORT {
        let dialogue = raw_dialogue_cut_short(stage.service.address(), &stage.fill_in(request)).await;
        assert!(dialogue.responses.iter().all(|response| response.status >= 400), "{}", request.escape_ascii());
    }
    stage.check_that_all_is_well().await;
    assert_eq!(*stage.taken.lock(), [Taken::new("GET", "/well", b"")]);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let stage = Stage::set().await;
    let mut bytes = Vec::new();
    for n in 0..50 {
        let (body, close) = ("x".repeat(n), if n == 49 { "Connection: close\r\n" } else { "" });
        let head = format!("PUT /{n} HTTP/1.1\r\nHost: $H\r\nContent-Length: {n}\r\n{close}\r\n{body}");
        bytes.extend(stage.fill_in(head.as_bytes()));
    }
    let dialogue = raw_dialogue(stage.service.address(), &bytes).await;
    let bodies: Vec<Vec<u8>> = dialogue.responses.into_iter().map(|response| response.body).collect();
    let expected: Vec<Vec<u8>> = (0..50).map(|n| format!("printer /{n}").into_bytes()).collect();
    assert_eq!(bodies, expected);
    let taken: Vec<Taken> = (0..50).map(|n| Taken::new("PUT", &format!("/{n}"), "x".repeat(n).as_bytes())).collect();
    assert_eq!(*stage.taken.lock(), taken);
}
