//! The places at which a plugin knows its service: names of hosts, and a public key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The domain of the plugin's own service.
const DOMAIN: &str = "octoeverywhere.com";
/// Hosts below it (service-api.md 7).
const TUNNEL: &str = "starport-v1.octoeverywhere.com";
const EVENTS: &str = "printer-events-v1-oeapi.octoeverywhere.com";
const GADGET: &str = "gadget-v1-oeapi.octoeverywhere.com";
/// What this service answers on its own host. Links to anything else stay as they are.
const ANSWERED: [&str; 10] = [
    "/api/printer/info",
    "/api/shortcode/create",
    "/api/stats/v2/",
    "/api/plugin/",
    "/api/util/date",
    "/code",
    "/getstarted",
    "/pluginupdate",
    "/s/",
    "/plugin/connectioncheck",
];
const KEY_BEGIN: &str = "-----BEGIN RSA PUBLIC KEY-----";
const KEY_END: &str = "-----END RSA PUBLIC KEY-----";
/// Characters of a line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;

/// The service that a plugin is to know.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) is_tls: bool,
    /// Host and port.
    pub(super) authority: String,
    /// PKCS#1 in DER.
    pub(super) public_key: Vec<u8>,
}

/// How often each place was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) tunnel: usize,
    pub(super) events: usize,
    pub(super) gadget: usize,
    pub(super) site: usize,
    pub(super) key: usize,
    /// Other links to the plugin's own service, which stay.
    pub(super) left: usize,
}

impl Found {
    pub(super) fn add(&mut self, other: Self) {
        self.tunnel += other.tunnel;
        self.events += other.events;
        self.gadget += other.gadget;
        self.site += other.site;
        self.key += other.key;
        self.left += other.left;
    }

    pub(super) fn has_any(&self) -> bool {
        self.tunnel + self.events + self.gadget + self.site + self.key > 0
    }
}

/// Why a file's places cannot be changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum PlaceError {
    #[error("it has a public key that this version of `spoolway` does not know (SHA-256 {0})")]
    UnknownKey(String),
    #[error("its public key is written in a way that this version of `spoolway` does not know")]
    Unreadable,
    #[error("it names hosts without `http` or `https`, which works with a service on TLS only")]
    NeedsTls,
}

/// The text with every place changed. `known_key` is the fingerprint of the key that stands in it.
pub(super) fn rewrite(text: &str, service: &Service, known_key: &[u8; 32]) -> Result<(String, Found), PlaceError> {
    let mut found = Found::default();
    let text = rewrite_hosts(text, service, &mut found)?;
    let text = rewrite_keys(&text, service, known_key, &mut found)?;
    Ok((text, found))
}

fn rewrite_hosts(text: &str, service: &Service, found: &mut Found) -> Result<String, PlaceError> {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, _) in text.match_indices(DOMAIN) {
        let (before, after) = (&text[copied..at], &text[at + DOMAIN.len()..]);
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '.' || letter == '-';
        if after.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '-') {
            continue;
        }
        let name = &before[before.trim_end_matches(is_name).len()..];
        let host = format!("{name}{DOMAIN}");
        let before = &before[..before.len() - name.len()];
        let scheme = ["https://", "http://", "wss://", "ws://"].into_iter().find(|scheme| before.ends_with(scheme));
        let count = match host.as_str() {
            TUNNEL => &mut found.tunnel,
            EVENTS => &mut found.events,
            GADGET => &mut found.gadget,
            DOMAIN if scheme.is_some() && is_answered(after) => &mut found.site,
            _ => {
                found.left += usize::from(scheme.is_some());
                continue;
            }
        };
        *count += 1;
        let new_scheme = match (scheme, service.is_tls) {
            (None, false) => return Err(PlaceError::NeedsTls),
            (None, true) => "",
            (Some("wss://" | "ws://"), true) => "wss://",
            (Some("wss://" | "ws://"), false) => "ws://",
            (Some(_), true) => "https://",
            (Some(_), false) => "http://",
        };
        out.push_str(&before[..before.len() - scheme.map_or(0, str::len)]);
        out.push_str(new_scheme);
        out.push_str(&service.authority);
        copied = at + DOMAIN.len();
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

/// Whether what stands behind the domain is a path that this service answers, or none yet.
fn is_answered(after: &str) -> bool {
    after.starts_with(['"', '\''])
        || after.starts_with("/\"")
        || after.starts_with("/'")
        || ANSWERED.iter().any(|path| after.starts_with(path))
}

fn rewrite_keys(text: &str, service: &Service, known_key: &[u8; 32], found: &mut Found) -> Result<String, PlaceError> {
    let new = STANDARD.encode(&service.public_key);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(KEY_BEGIN) {
        let body = begin + KEY_BEGIN.len();
        let length = rest[body..].find(KEY_END).ok_or(PlaceError::Unreadable)?;
        let old = &rest[body..body + length];
        let letters = letters_of(old, known_key, new.len())?;
        out.push_str(&rest[..body]);
        if let Some(letters) = letters {
            // The same number of letters stands at the same places, so whatever is between them stays.
            let mut replaced: Vec<char> = old.chars().collect();
            for (place, letter) in letters.into_iter().zip(new.chars()) {
                if let Some(old) = replaced.get_mut(place) {
                    *old = letter;
                }
            }
            out.extend(replaced);
            found.key += 1;
        } else {
            out.push_str(old);
        }
        rest = &rest[body + length..];
    }
    out.push_str(rest);
    Ok(out)
}

/// At which characters the key's letters stand. The key may be lines of one text, or texts that are put together.
fn letters_of(body: &str, known_key: &[u8; 32], n_new: usize) -> Result<Option<Vec<usize>>, PlaceError> {
    let mut unknown = None;
    for is_quoted in [false, true] {
        let places = base64_places(body, is_quoted);
        let letters: String = places.iter().filter_map(|place| body.chars().nth(*place)).collect();
        let Ok(der) = STANDARD.decode(&letters) else { continue };
        let fingerprint: [u8; 32] = Sha256::digest(&der).into();
        if fingerprint != *known_key {
            unknown = Some(data_encoding::HEXLOWER.encode(&fingerprint));
            continue;
        }
        return if places.len() == n_new { Ok(Some(places)) } else { Err(PlaceError::Unreadable) };
    }
    Err(unknown.map_or(PlaceError::Unreadable, PlaceError::UnknownKey))
}

/// Places of base64 letters. With `is_quoted`, what stands outside of quotes is the program's and not the key's; the
/// body begins within them.
fn base64_places(body: &str, is_quoted: bool) -> Vec<usize> {
    let (mut places, mut is_inside, mut is_escaped) = (Vec::new(), true, false);
    for (place, letter) in body.chars().enumerate() {
        if std::mem::take(&mut is_escaped) {
            continue;
        }
        match letter {
            '\\' => is_escaped = true,
            '"' | '\'' => is_inside = !is_inside,
            _ if (is_inside || !is_quoted) && (letter.is_ascii_alphanumeric() || "+/=".contains(letter)) => {
                places.push(place);
            }
            _ => {}
        }
    }
    places
}

/// A public key as plugins have it.
pub(super) fn pem_of(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("{KEY_BEGIN}\n");
    for (index, letter) in encoded.chars().enumerate() {
        if index > 0 && index % PEM_LINE == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str(&format!("\n{KEY_END}\n"));
    text
}

/// The key in a file that [`pem_of`] made.
pub(super) fn key_of_pem(text: &str) -> Option<Vec<u8>> {
    let body = text.split_once(KEY_BEGIN)?.1.split_once(KEY_END)?.0;
    let letters: String = body.chars().filter(|letter| !letter.is_whitespace()).collect();
    STANDARD.decode(letters).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(is_tls: bool) -> Service {
        Service { is_tls, authority: "spoolway.example:8443".to_owned(), public_key: vec![7; 526] }
    }

    fn known() -> ([u8; 32], String) {
        let der = vec![9; 526];
        (Sha256::digest(&der).into(), pem_of(&der))
    }

    fn hosts(text: &str, is_tls: bool) -> Result<String, PlaceError> {
        rewrite(text, &service(is_tls), &known().0).map(|(text, _)| text)
    }

    #[test]
    fn hosts_are_changed_where_this_service_answers() {
        for (old, secure, plain) in [
            (
                "wss://starport-v1.octoeverywhere.com/octoclientwsv2",
                "wss://spoolway.example:8443/octoclientwsv2",
                Some("ws://spoolway.example:8443/octoclientwsv2"),
            ),
            (
                "https://printer-events-v1-oeapi.octoeverywhere.com",
                "https://spoolway.example:8443",
                Some("http://spoolway.example:8443"),
            ),
            ("'gadget-v1-oeapi.octoeverywhere.com'", "'spoolway.example:8443'", None),
            (
                "\"https://octoeverywhere.com/api/printer/info\"",
                "\"https://spoolway.example:8443/api/printer/info\"",
                Some("\"http://spoolway.example:8443/api/printer/info\""),
            ),
            (
                "\"https://octoeverywhere.com\" + path",
                "\"https://spoolway.example:8443\" + path",
                Some("\"http://spoolway.example:8443\" + path"),
            ),
        ] {
            assert_eq!(hosts(old, true).as_deref(), Ok(secure));
            assert_eq!(hosts(old, false).ok().as_deref(), plain);
        }
        for same in [
            "https://octoeverywhere.com/blog/post",
            "https://blog.octoeverywhere.com/code",
            "support@octoeverywhere.com",
            "if \"octoeverywhere.com\" in host:",
            "https://octoeverywhere.community/code",
            "https://{sub}.octoeverywhere.com/api/x",
            "wss://xstarport-v1.octoeverywhere.com/",
        ] {
            assert_eq!(hosts(same, true).as_deref(), Ok(same));
        }
    }

    #[test]
    fn a_key_is_changed_however_it_is_written() {
        let (fingerprint, pem) = known();
        let new = pem_of(&[7; 526]);
        let joined = |pem: &str, between: &str| pem.trim_end().replace('\n', between);
        for between in ["\n", "\n        ", "\\n", "\\n\\\n", "\\n\"\n    \"", "\\n' +\n  '", "\"\n  \"", "\r\n"] {
            let old = format!("KEY = \"{}\"\n", joined(&pem, between));
            let expected = format!("KEY = \"{}\"\n", joined(&new, between));
            let (text, found) = rewrite(&old, &service(true), &fingerprint).expect("it is known");
            assert_eq!((text, found.key), (expected, 1), "{between:?}");
        }
        let other = pem_of(&[8; 526]);
        assert!(matches!(rewrite(&other, &service(true), &fingerprint), Err(PlaceError::UnknownKey(_))));
        let cut = pem.replace(KEY_END, "");
        assert_eq!(rewrite(&cut, &service(true), &fingerprint), Err(PlaceError::Unreadable));
        assert_eq!(key_of_pem(&pem), Some(vec![9; 526]));
    }
}
