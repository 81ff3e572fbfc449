#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io;

use model::PrinterId;
use tunnel::agent_side::ServeEnd;

use super::*;

#[test]
fn a_service_that_is_not_there() {
    let source = io::Error::from(io::ErrorKind::ConnectionRefused);
    let error = DialError::Connect { server: server(), source };
    check(
        &failed_with(error),
        Level::WARN,
        &["cannot connect to `https://s.example`", "refused"],
        "is the service running",
    );
    check(
        &failed_with(DialError::Timeout(server())),
        Level::WARN,
        &["did not answer within"],
        "is the service running",
    );
    let error = DialError::NotUpgraded { server: server(), status: 404.try_into().unwrap() };
    check(&failed_with(error), Level::WARN, &["answered 404", "no Spoolway service"], "");
}

#[test]
fn certificates() {
    for (reason, hint) in [
        (CertificateError::UnknownIssuer, "--ca FILE"),
        (CertificateError::NotValidYet, "clock says 2023-11-14T22:13:20Z"),
        (CertificateError::Expired, "2023-11-14T22:13:20Z"),
        (CertificateError::NotValidForName, "for another name"),
        (CertificateError::BadSignature, ""),
    ] {
        let source = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(reason));
        let error = DialError::Tls { server: server(), source };
        check(&failed_with(error), Level::WARN, &["secure connection", "certificate"], hint);
    }
    let source = io::Error::from(io::ErrorKind::UnexpectedEof);
    let error = DialError::Tls { server: server(), source };
    check(&failed_with(error), Level::WARN, &["secure connection"], "is there really");
}

#[test]
fn refusals() {
    for (reason, level, text, hint) in [
        (RefusalReason::InvalidToken, Level::ERROR, "does not accept the enrolment token", "make a new one"),
        (RefusalReason::WrongKey, Level::ERROR, "by another key", "somebody else"),
        (RefusalReason::PrinterRemoved, Level::ERROR, "in no account", "--token TOKEN"),
        (RefusalReason::AgentTooOld, Level::ERROR, "this agent, version 1.2.3, is too old", "update `spoolway-agent`"),
        (RefusalReason::ServiceTooOld, Level::ERROR, "the service is too old", "update it"),
        (RefusalReason::Malformed, Level::ERROR, "cannot read", "in between"),
        (RefusalReason::Busy, Level::WARN, "right now: because", ""),
        (RefusalReason::Unavailable, Level::WARN, "right now: because", ""),
        (RefusalReason::Unknown, Level::ERROR, "refuses this printer: because", ""),
    ] {
        let refusal = Refusal { reason, message: "because".to_owned(), retry_after_seconds: None };
        let notice = Notice::Refused { refusal, retry_in: Duration::from_secs(300) };
        check(&describe(&notice, "1.2.3", now()), level, &[text], hint);
        assert_eq!(retry_in(&notice), Some(Duration::from_secs(300)));
    }
}

#[test]
fn the_rest() {
    let connected = |upgrade| Notice::Connected { welcome: welcome(0), upgrade };
    let text = ["linked as \"Prusa\"", "version 9.9"];
    check(&describe(&connected(Upgrade::Raw), "1", now()), Level::INFO, &text, "");
    check(&describe(&connected(Upgrade::WebSocket), "1", now()), Level::INFO, &["through a WebSocket"], "");
    let lost = Notice::Lost { end: ServeEnd::Silent, retry_in: Duration::ZERO };
    check(&describe(&lost, "1", now()), Level::WARN, &["connection was lost: the service has been silent"], "");
    let not_kept = Notice::IdentityNotKept(io::ErrorKind::StorageFull.into());
    check(&describe(&not_kept, "1", now()), Level::ERROR, &["cannot be kept"], "free space");
    let draining = Notice::Draining { reconnect_in: Duration::from_secs(3) };
    check(&describe(&draining, "1", now()), Level::INFO, &["connect anew"], "");
}

#[test]
fn clocks() {
    let at = |seconds: i64| clock_warning(&welcome(seconds * 1000), now()).map(|message| message.text);
    assert_eq!(at(0), None);
    assert_eq!((at(299), at(-299)), (None, None));
    assert_eq!(at(-7_200).unwrap(), "this machine's clock is 2h ahead of the service's");
    assert_eq!(at(301).unwrap(), "this machine's clock is 5m 1s behind the service's");
    let absurd = Welcome { unix_time_ms: u64::MAX, ..welcome(0) };
    assert!(clock_warning(&absurd, now()).is_none_or(|message| message.text.contains("behind")));
}

fn server() -> tunnel::dial::ServerUrl {
    "https://s.example".parse().unwrap()
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// The service's clock is `ahead_ms` ahead of ours.
fn welcome(ahead_ms: i64) -> Welcome {
    Welcome {
        protocol: 1,
        printer_id: PrinterId::generate(),
        printer_name: "Prusa".to_owned(),
        service_version: "9.9".to_owned(),
        unix_time_ms: 1_700_000_000_000u64.checked_add_signed(ahead_ms).unwrap(),
    }
}

fn failed_with(error: DialError) -> Message {
    describe(&Notice::Failed { error, retry_in: Duration::from_secs(1) }, "1", now())
}

fn check(message: &Message, level: Level, text: &[&str], hint: &str) {
    assert_eq!(message.level, level, "{message}");
    for part in text {
        assert!(message.text.contains(part), "{message}");
    }
    match &message.hint {
        Some(actual) => assert!(!hint.is_empty() && actual.contains(hint), "{message}"),
        None => assert_eq!(hint, "", "{message}"),
    }
}
