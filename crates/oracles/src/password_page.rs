//! The page that asks for the password of a Shared Connection.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Request, Uri, header};
use model::{AccountId, ConnectionId, Label, Plan, PrinterId};
use relay::Authority;
use relay::fuzzing::{
    PASSWORD_PATH, SharedCookies, Visitor, form_field, is_same_origin, password_page_location, safe_target,
};
use store::{ConnectionCredentials, ConnectionKind, ConnectionRecord, PasswordHash};
use url::Url;

use crate::input::{headers, split_choice, values};

const HOST: &str = "shared-abc.d.example";

/// A byte for the kind of input, then the input.
pub fn check(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    match choice & 3 {
        0 => check_form(rest),
        1 => check_round_trip(rest),
        2 => check_origin(rest),
        _ => check_cookies(rest),
    }
}

fn page() -> Url {
    Url::parse(&format!("https://{HOST}{PASSWORD_PATH}")).unwrap_or_else(|error| panic!("the URL is valid: {error}"))
}

/// Wherever a form says to go, the browser stays on this host.
fn check_form(form: &[u8]) {
    let form = String::from_utf8_lossy(form);
    let target = form_field(&form, "return-to");
    assert_eq!(target.is_some(), form.split('&').any(|pair| pair.starts_with("return-to=")));
    for target in [target.as_deref(), Some(&form)] {
        let safe = safe_target(target);
        assert!(HeaderValue::from_str(&safe).is_ok());
        let Ok(url) = page().join(&safe) else { panic!("{safe} leads nowhere") };
        assert_eq!((url.scheme(), url.host_str()), ("https", Some(HOST)), "{safe}");
        assert!(
            !url.path().starts_with(PASSWORD_PATH) || safe.contains('%') || safe.contains("/."),
            "{safe} leads round"
        );
        assert!(safe == "/" || Some(safe.as_str()) == target);
    }
}

/// After the password a browser gets what it asked for in the first place.
fn check_round_trip(target: &[u8]) {
    let Ok(uri) = Uri::try_from(target) else { return };
    if !uri.path().starts_with('/') {
        return;
    }
    let asked = uri.path_and_query().map_or("/", |target| target.as_str());
    let Some(location) = password_page_location(&uri) else { panic!("it always leads somewhere") };
    let Ok(location) = location.to_str() else { panic!("it is visible ASCII") };
    let Some((path, query)) = location.split_once('?') else { panic!("{location} says nothing") };
    assert_eq!(path, PASSWORD_PATH);
    assert_eq!(form_field(query, "return-to").as_deref(), Some(asked));
}

fn check_origin(lines: &[u8]) {
    let mut request = Request::new(());
    *request.headers_mut() = headers(lines);
    let Ok(authority) = HOST.parse::<Authority>() else { panic!("the host is valid") };
    let visitor = Visitor { address: IpAddr::V4(Ipv4Addr::LOCALHOST), is_https: true, authority };
    let origins = values(request.headers(), "origin");
    let Some(origin) = origins.first() else { return assert!(is_same_origin(&request, &visitor)) };
    if is_same_origin(&request, &visitor) {
        let url = std::str::from_utf8(origin).ok().and_then(|origin| Url::parse(origin).ok());
        // Only browsers send it, and none sends what it cannot read.
        if let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https")) {
            assert_eq!(url.host_str().map(|host| host.trim_end_matches('.')), Some(HOST));
        }
    }
}

static CONNECTION: LazyLock<(ConnectionRecord, PasswordHash)> = LazyLock::new(|| {
    let hash = PasswordHash::dummy();
    let connection = ConnectionRecord {
        id: ConnectionId::generate(),
        kind: ConnectionKind::Shared,
        label: Label::generate(),
        printer: PrinterId::generate(),
        printer_name: "Printer".to_owned(),
        account: AccountId::generate(),
        app_name: None,
        expires_at: None,
        has_full_control: false,
        credentials: ConnectionCredentials::Password(hash.clone()),
        plan: Plan::unlimited(),
    };
    (connection, hash)
});

/// No cookie opens but the one that was issued, until it expires. `@` in the input stands for that one.
fn check_cookies(lines: &[u8]) {
    let (connection, hash) = &*CONNECTION;
    let cookies = SharedCookies::default();
    let now = SystemTime::now();
    let Some(issued) = cookies.issue(connection, hash, now) else { panic!("a cookie can be made") };
    let issued = issued.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let line: Vec<u8> =
            line.iter().flat_map(|byte| if *byte == b'@' { issued.clone() } else { vec![*byte] }).collect();
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            headers.append(header::COOKIE, value);
        }
    }
    let stands_there = values(&headers, "cookie")
        .into_iter()
        .any(|line| line.split(|byte| *byte == b';').any(|cookie| cookie.trim_ascii() == issued));
    let opens = cookies.open(connection, hash, &headers, now);
    assert!(!opens || stands_there, "{headers:?}");
    assert!(!cookies.open(connection, hash, &headers, now + Duration::from_secs(31 * 24 * 3600)));
    let mut alone = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(&issued) {
        alone.insert(header::COOKIE, value);
    }
    assert!(cookies.open(connection, hash, &alone, now));
}
