//! How a session begins and how long it lives.

use std::time::Duration;

use bytes::Bytes;
use octo::handshake::IntroductionError;
use octo::printer::{PrinterEvent, Reset};
use octo::session::{OpenError, SessionError};
use octo::wire::{self, Compression, HandshakeSyn, Message, ServerHost};
use octo::{ChallengeAnswer, Event, Introduction, PluginVersion, Refusal, Session, SessionOptions};

use crate::examples::{description, example};
use crate::pair::{ANSWER, KEY, PRINTER_ID, Pair, acceptance, authority, get};

fn syn(name: &str) -> HandshakeSyn {
    match wire::decode(&example(name)).expect("examples are valid") {
        Message::HandshakeSyn(syn) => *syn,
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn the_examples_introduce_a_plugin() {
    let full = Introduction::try_from(syn("handshake_syn")).expect("it is complete");
    assert_eq!(full.printer.as_str(), PRINTER_ID);
    assert_eq!(full.key.expose(), KEY);
    assert_eq!(full.version, PluginVersion { major: 5, minor: 3, patch: 1 });
    assert_eq!((full.host, full.compression), (ServerHost::PrusaLink, Compression::Zstandard));
    assert_eq!(full.lan_address, "192.0.2.17".parse().ok());
    assert!(full.is_primary && full.is_companion);
    assert_eq!(description("handshake_syn")["rsa_challenge_plaintext"], ANSWER);

    let minimal = Introduction::try_from(syn("handshake_syn_minimal")).expect("it is complete");
    assert!(!minimal.is_primary);
    assert_eq!((minimal.compression, minimal.lan_address, minimal.device_id), (Compression::Zlib, None, None));
}

#[test]
fn secrets_do_not_show() {
    let shown = format!("{:?}", syn("handshake_syn"));
    assert!(!shown.contains(KEY) && !shown.contains("\"123456\"") && !shown.contains("SN-0001"), "{shown}");
    let answer = ChallengeAnswer::from_plaintext(ANSWER.as_bytes());
    assert!(!format!("{answer:?}").contains(ANSWER));
}

#[test]
fn what_is_missing_is_named() {
    type Change = fn(&mut HandshakeSyn);
    let changes: [(Change, IntroductionError); 11] = [
        (|syn| syn.printer_id = None, IntroductionError::PrinterId),
        (|syn| syn.printer_id = Some("A".repeat(39)), IntroductionError::PrinterId),
        (|syn| syn.printer_id = Some("A".repeat(61)), IntroductionError::PrinterId),
        (|syn| syn.printer_id = Some("../".repeat(15)), IntroductionError::PrinterId),
        (|syn| syn.private_key = None, IntroductionError::PrivateKey),
        (|syn| syn.private_key = Some(model::Secret::new("a".repeat(79))), IntroductionError::PrivateKey),
        (|syn| syn.private_key = Some(model::Secret::new("a".repeat(129))), IntroductionError::PrivateKey),
        (|syn| syn.rsa_challenge = Some(Bytes::from_static(&[1; 511])), IntroductionError::Challenge),
        (|syn| syn.ras_challenge_version = 2, IntroductionError::ChallengeVersion(2)),
        (|syn| syn.plugin_version = Some("new".to_owned()), IntroductionError::Version),
        (|syn| syn.plugin_version = None, IntroductionError::Version),
    ];
    for (change, error) in changes {
        let mut syn = syn("handshake_syn");
        change(&mut syn);
        let mut pair = Pair::new(ServerHost::OctoPrint, SessionOptions::default());
        let message = wire::encode(&Message::HandshakeSyn(Box::new(syn)));
        match pair.session.handle_message(&message, pair.now) {
            Err(SessionError::Introduction(actual)) => assert_eq!(actual, error),
            other => panic!("{error:?}: {other:?}"),
        }
        let refusal = pair.session.poll_transmit().expect("it is told why");
        assert!(matches!(pair.printer.handle_message(&refusal), Err(Reset(reason)) if reason.contains("refused")));
    }
}

#[test]
fn versions_compare_by_their_numbers() {
    let version = |text: &str| text.parse::<PluginVersion>();
    assert_eq!(version("5.3.1rc2"), version("5.3.1"));
    assert_eq!(version("5"), version("5.0.0"));
    assert!(version("5.10.0").expect("valid") > version("5.9.9").expect("valid"));
    for wrong in ["", "v5", "x.1", "5.x", "99999999999.0"] {
        assert!(version(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn only_what_plugins_encrypt_is_an_answer() {
    assert!(ChallengeAnswer::from_plaintext(ANSWER.as_bytes()).is_some());
    for wrong in [&ANSWER.as_bytes()[1..], &[b'a'; 65], &[b'-'; 64], &[0; 64], b""] {
        assert!(ChallengeAnswer::from_plaintext(wrong).is_none());
    }
}

#[test]
fn nothing_is_served_before_the_plugin_is_accepted() {
    let mut pair = Pair::new(ServerHost::OctoPrint, SessionOptions::default());
    let open = |session: &mut Session| {
        session.open_http(&get("/"), &authority(), octo::session::BodyLength::Known(0)).map(|id| id.get())
    };
    assert_eq!(open(&mut pair.session), Err(OpenError::NotOpen));
    pair.session.accept(acceptance());
    assert!(pair.session.poll_transmit().is_none(), "nobody has introduced himself");
    let introduction = pair.printer.introduction(PRINTER_ID, KEY, &[7; 512], Compression::Zlib);
    pair.receive(&introduction);
    assert_eq!(open(&mut pair.session), Err(OpenError::NotOpen));
    pair.session.accept(acceptance());
    pair.exchange();
    assert!(matches!(pair.asked.pop(), Some(PrinterEvent::Accepted(_))));
    assert_eq!(open(&mut pair.session), Ok(1));
}

#[test]
fn a_refused_plugin_is_told_why_and_gets_no_streams() {
    let mut pair = Pair::new(ServerHost::OctoPrint, SessionOptions::default());
    let introduction = pair.printer.introduction(PRINTER_ID, KEY, &[7; 512], Compression::Zlib);
    pair.receive(&introduction);
    let refusal = Refusal { error: "Update.".to_owned(), backoff_seconds: 60, update_required: true };
    pair.session.refuse(refusal);
    let ack = pair.session.poll_transmit().expect("it is told");
    let Message::HandshakeAck(ack) = wire::decode(&ack).expect("our messages are valid") else { panic!("an ack") };
    assert!(!ack.accepted && ack.requires_plugin_update && !ack.requires_rekey);
    assert_eq!((ack.error.as_deref(), ack.backoff_seconds), (Some("Update."), 60));
    assert_eq!(pair.session.poll_timeout(), None);
    pair.session.accept(acceptance());
    assert!(pair.session.poll_transmit().is_none());
}

#[test]
fn a_refusal_never_reaches_a_plugin_that_was_accepted() {
    let mut pair = Pair::open();
    pair.session.refuse(Refusal { error: String::new(), backoff_seconds: 0, update_required: false });
    pair.exchange();
    pair.request(&get("/still/there"));
}

#[test]
fn who_is_late_rude_or_silent_is_gone() {
    let mut late = Pair::new(ServerHost::OctoPrint, SessionOptions::default());
    let limit = late.session.poll_timeout().expect("it is waited for");
    assert_eq!(limit - late.now, Duration::from_secs(10));
    assert!(late.session.handle_timeout(limit - Duration::from_millis(1)).is_ok());
    assert!(matches!(late.session.handle_timeout(limit), Err(SessionError::Silent)));

    let mut rude = Pair::new(ServerHost::OctoPrint, SessionOptions::default());
    assert!(matches!(rude.session.handle_message(&example("close"), rude.now), Err(SessionError::NotIntroduced)));

    let mut twice = Pair::open();
    let again = twice.printer.introduction(PRINTER_ID, KEY, &[7; 512], Compression::Zlib);
    assert!(matches!(twice.session.handle_message(&again, twice.now), Err(SessionError::IntroducedTwice)));

    let mut garbage = Pair::open();
    let (id, _) = garbage.request(&get("/"));
    let message = Bytes::from_static(b"garbage");
    assert!(matches!(garbage.session.handle_message(&message, garbage.now), Err(SessionError::Malformed(_))));
    assert!(matches!(garbage.session.poll_event(), Some(Event::End(stream, octo::StreamEnd::Lost)) if stream == id));

    let mut silent = Pair::open();
    silent.wait(Duration::from_secs(109));
    silent.session.handle_activity(silent.now);
    silent.wait(Duration::from_secs(109));
    let limit = silent.session.poll_timeout().expect("it is waited for");
    assert!(matches!(silent.session.handle_timeout(limit), Err(SessionError::Silent)));
}

#[test]
fn a_plugin_may_say_what_we_do_not_know() {
    let mut pair = Pair::open();
    for message in [Message::Unknown(77), wire::decode(&example("summon")).expect("valid")] {
        pair.receive(&wire::encode(&message));
    }
    assert!(pair.events.is_empty());
}
