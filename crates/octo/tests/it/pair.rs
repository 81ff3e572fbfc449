//! Both ends of a session, in memory, with time as a number.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::Authority;
use http::{Method, Request};
use model::Secret;
use octo::printer::{Answer, Printer, PrinterEvent, PrinterRequest};
use octo::session::BodyLength;
use octo::wire::{Compression, ServerHost};
use octo::{Acceptance, ChallengeAnswer, Dictionary, Event, Session, SessionOptions, StreamEnd, StreamId};

use crate::examples::{data, hex};

pub(crate) const ANSWER: &str = "Tq7Zk2Vb9XwL4mNp8RsD1fGh3JyC6tAe5UiOo0PzQx2WvBn4MkLj7HgFd9SaRrEe";
pub(crate) const PRINTER_ID: &str = "TESTPRINTER00000000000000000000000000000000000000000EXAMPLE1";
pub(crate) const KEY: &str = "exampleprivatekeyexampleprivatekeyexampleprivatekeyexampleprivatekey012345678901";

/// The made-up dictionary of the examples.
pub(crate) fn dictionary_bytes() -> Vec<u8> {
    hex(&data("zstd_synthetic_dictionary.hex"))
}

pub(crate) fn dictionary() -> Dictionary {
    static DICTIONARY: OnceLock<Dictionary> = OnceLock::new();
    *DICTIONARY.get_or_init(|| Dictionary::install(&dictionary_bytes()).expect("it is a dictionary"))
}

pub(crate) fn authority() -> Authority {
    Authority::from_static("app-x.printers.example")
}

pub(crate) fn get(target: &str) -> Request<()> {
    Request::get(target).body(()).expect("test targets are valid")
}

pub(crate) struct Pair {
    pub(crate) session: Session,
    pub(crate) printer: Printer,
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
    pub(crate) asked: Vec<PrinterEvent>,
}

impl Pair {
    /// A plugin that has been accepted.
    pub(crate) fn accepted(host: ServerHost, options: SessionOptions) -> Self {
        let mut pair = Self::new(host, options);
        let introduction = pair.printer.introduction(PRINTER_ID, KEY, &[7; 512], Compression::Zstandard);
        pair.receive(&introduction);
        assert!(matches!(pair.events.pop(), Some(Event::Introduced(_))));
        pair.session.accept(acceptance());
        pair.exchange();
        assert!(matches!(pair.asked.pop(), Some(PrinterEvent::Accepted(_))));
        pair
    }

    pub(crate) fn open() -> Self {
        Self::accepted(
            ServerHost::OctoPrint,
            SessionOptions { dictionary: Some(dictionary()), ..SessionOptions::default() },
        )
    }

    pub(crate) fn new(host: ServerHost, options: SessionOptions) -> Self {
        let now = Instant::now();
        let (session, printer) = (Session::new(options, now), Printer::new(host, ANSWER));
        Self { session, printer, now, events: Vec::new(), asked: Vec::new() }
    }

    pub(crate) fn receive(&mut self, message: &Bytes) {
        self.session.handle_message(message, self.now).expect("the session goes on");
        self.exchange();
    }

    /// Lets both ends say what they have to say.
    pub(crate) fn exchange(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
        while let Some(message) = self.session.poll_transmit() {
            let asked = self.printer.handle_message(&message).expect("the printer takes everything");
            self.asked.extend(asked);
        }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        if self.session.poll_timeout().is_some_and(|at| at <= self.now) {
            self.session.handle_timeout(self.now).expect("the session goes on");
        }
        self.exchange();
    }

    /// A request that has reached the printer.
    pub(crate) fn request(&mut self, request: &Request<()>) -> (StreamId, PrinterRequest) {
        let id = self.session.open_http(request, &authority(), BodyLength::Known(0)).expect("it can be sent");
        self.exchange();
        match self.asked.pop() {
            Some(PrinterEvent::Request(request)) => (id, request),
            other => panic!("the printer was asked {other:?}"),
        }
    }

    /// What a visitor gets of an answer to `GET /` or to another method.
    pub(crate) fn answered(&mut self, method: Method, answer: &Answer) -> Seen {
        let mut request = get("/");
        *request.method_mut() = method;
        let (id, _) = self.request(&request);
        for message in answer.messages(id.get(), &dictionary_bytes()) {
            self.receive(&message);
        }
        self.seen(id)
    }

    /// What a visitor has got by now.
    pub(crate) fn seen(&mut self, id: StreamId) -> Seen {
        let mut seen = Seen::default();
        for event in self.events.drain(..) {
            match event {
                Event::Head(stream, head) if stream == id => {
                    assert!(seen.head.is_none() && seen.body.is_empty() && seen.end.is_none(), "heads come first");
                    seen.head = Some(head);
                }
                Event::Data(stream, data) if stream == id => {
                    assert!(seen.head.is_some() && seen.end.is_none() && !data.is_empty());
                    seen.body.extend_from_slice(&data);
                }
                Event::End(stream, end) if stream == id => {
                    assert!(seen.end.is_none(), "a stream ends once");
                    seen.end = Some(end);
                }
                other => panic!("nobody asked for {other:?}"),
            }
        }
        seen
    }
}

pub(crate) fn acceptance() -> Acceptance {
    Acceptance {
        answer: ChallengeAnswer::from_plaintext(ANSWER.as_bytes()).expect("it is one"),
        octokey: Secret::new("octokey"),
        accounts: vec!["owner@example.org".to_owned()],
    }
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) head: Option<octo::ResponseHead>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: Option<StreamEnd>,
}

impl Seen {
    pub(crate) fn status(&self) -> u16 {
        self.head.as_ref().expect("there is a head").response.status().as_u16()
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.head.as_ref().expect("there is a head").length
    }

    pub(crate) fn header(&self, name: &str) -> Vec<&[u8]> {
        let head = self.head.as_ref().expect("there is a head");
        head.response.headers().get_all(name).iter().map(http::HeaderValue::as_bytes).collect()
    }
}
