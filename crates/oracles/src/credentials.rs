//! What a client shows to open an App Connection.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Uri;
use model::SecretHash;
use percent_encoding::percent_decode_str;
use relay::fuzzing::{Shown, opens_app_connection, read_api_key, read_authorization};

use crate::input::{headers, split_choice, split_line, values};

const USER: &str = "user0123";
const PASSWORD: &str = "password4567";
const BEARER: &str = "bearer89";

/// A byte for whether it is a handshake; then, a line each, the target and the headers.
pub fn check(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let (target, rest) = split_line(rest);
    let headers = headers(rest);
    let Ok(uri) = Uri::try_from(target) else { return };
    let is_handshake = choice & 1 == 1;

    let lines = values(&headers, "authorization");
    let authorization = read_authorization(&headers);
    assert_eq!(authorization.is_none(), lines.is_empty());
    let header_opens = authorization.as_ref().map(|shown| {
        let [line] = lines[..] else {
            assert_eq!(*shown, Shown::Unusable, "two credentials in one request are none");
            return false;
        };
        check_shown(shown, line);
        opens(shown)
    });
    let api_key = if is_handshake { read_api_key(&uri) } else { None };
    let key_opens = api_key.as_ref().map(|readings| {
        for shown in readings {
            check_argument(shown, &uri);
        }
        readings.iter().any(opens)
    });

    let expected = match (header_opens, key_opens) {
        (Some(false), _) | (_, Some(false)) | (None, None) => None,
        (header, _) => Some(header.is_some()),
    };
    let outcome = opens_app_connection(
        USER,
        &SecretHash::of(PASSWORD),
        &SecretHash::of(BEARER),
        &headers,
        is_handshake.then_some(&uri),
    );
    assert_eq!(outcome, expected);
    check_usual_forms(&uri, &lines, is_handshake, outcome);
}

fn opens(shown: &Shown) -> bool {
    match shown {
        Shown::Basic(user, password) => user == USER && password == PASSWORD,
        Shown::Bearer(token) => token == BEARER,
        Shown::Unusable => false,
    }
}

/// What was understood stands in the header.
fn check_shown(shown: &Shown, line: &[u8]) {
    match shown {
        Shown::Basic(user, password) => {
            assert!(line[..5].eq_ignore_ascii_case(b"basic"));
            assert!(!user.contains(':'));
            assert!(same_base64(&line[6..], &format!("{user}:{password}")), "{}", line.escape_ascii());
        }
        Shown::Bearer(token) => {
            assert!(line[..6].eq_ignore_ascii_case(b"bearer"));
            assert_eq!(line[7..].trim_ascii(), token.as_bytes());
        }
        Shown::Unusable => {}
    }
}

/// Whether a base64 text, in either alphabet and with any padding, says `expected`.
fn same_base64(text: &[u8], expected: &str) -> bool {
    let normal: String = text
        .trim_ascii()
        .iter()
        .map(|byte| match byte {
            b'+' => '-',
            b'/' => '_',
            other => char::from(*other),
        })
        .collect();
    normal.trim_end_matches('=') == URL_SAFE_NO_PAD.encode(expected)
}

fn check_argument(shown: &Shown, uri: &Uri) {
    let query = uri.query().unwrap_or_default();
    let stands_there = query.split('&').filter_map(|pair| pair.split_once('=')).any(|(name, value)| {
        let value: Vec<u8> = percent_decode_str(value).collect();
        percent_decode_str(name).eq(b"oe_api_key".iter().copied())
            && match shown {
                Shown::Basic(user, password) => same_base64(&value, &format!("{user}:{password}")),
                Shown::Bearer(token) => token.as_bytes() == value,
                Shown::Unusable => false,
            }
    });
    assert!(stands_there, "{uri}");
}

/// What every client sends must open the door, else the check would pass by refusing all.
fn check_usual_forms(uri: &Uri, lines: &[&[u8]], is_handshake: bool, outcome: Option<bool>) {
    let basic = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let usual_header = match lines {
        [] => None,
        [line] => Some(*line == format!("Basic {basic}").as_bytes() || *line == format!("Bearer {BEARER}").as_bytes()),
        _ => Some(false),
    };
    let usual_key = is_handshake
        && [format!("oe_api_key={BEARER}"), format!("oe_api_key={basic}")]
            .iter()
            .any(|usual| uri.query() == Some(usual));
    if usual_header == Some(true) && (!is_handshake || uri.query().is_none()) {
        assert_eq!(outcome, Some(true));
    }
    if usual_header.is_none() && usual_key {
        assert_eq!(outcome, Some(false));
    }
}
