//! Which host a request means.

use std::net::IpAddr;

use http::{HeaderValue, Request, Uri, Version, header};
use relay::authority::{AuthorityError, Host};
use relay::{Authority, SiteNames};
use url::Url;

use crate::input::split_choice;

const NAMES: [(&str, &str); 3] =
    [("d.example", "d.example"), ("d.example:8443", "p.example"), ("localhost:8080", "localhost:8080")];

/// A byte for the version; then, a line each, the target and the `Host` headers.
pub fn check(data: &[u8]) {
    let (choice, rest) = split_choice(data);
    let version = [Version::HTTP_11, Version::HTTP_10, Version::HTTP_2][usize::from(choice) % 3];
    let mut lines = rest.split(|byte| *byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let hosts: Vec<&[u8]> = lines.collect();
    for host in &hosts {
        if let Ok(host) = std::str::from_utf8(host) {
            check_text(host);
        }
    }
    if let Ok(target) = std::str::from_utf8(target) {
        check_text(target);
    }
    check_request(version, target, &hosts);
}

fn check_text(text: &str) {
    let Ok(authority) = text.parse::<Authority>() else { return };
    let printed = authority.to_string();
    assert_eq!(printed.parse::<Authority>().as_ref(), Ok(&authority), "{text:?}");
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".:-_[]".contains(&byte);
    assert!(printed.bytes().all(is_plain), "{text:?}");
    assert!(!authority.host().ends_with('.') && !authority.host().starts_with('.'), "{text:?}");
    compare_with_browser(text, &authority);
    for (domain, printers_domain) in NAMES {
        check_host(&authority, domain, printers_domain);
    }
}

/// Where a browser takes the text for a name, it is the same one.
fn compare_with_browser(text: &str, authority: &Authority) {
    let Ok(url) = Url::parse(&format!("http://{text}/")) else { return };
    match url.host() {
        Some(url::Host::Domain(name)) => assert_eq!(name.trim_end_matches('.'), authority.host(), "{text:?}"),
        Some(url::Host::Ipv6(address)) => {
            assert_eq!(format!("[{address}]").parse::<Authority>(), authority.host().parse())
        }
        // Browsers read `0x7f.1` as an address; here it is a name that nobody has.
        Some(url::Host::Ipv4(_)) | None => {}
    }
    assert_eq!(url.port_or_known_default(), Some(authority.port().unwrap_or(80)), "{text:?}");
}

fn check_host(authority: &Authority, domain: &str, printers_domain: &str) {
    let (Ok(domain), Ok(printers_domain)) = (domain.parse::<Authority>(), printers_domain.parse::<Authority>()) else {
        panic!("the names are valid");
    };
    let below = printers_domain.host().to_owned();
    let is_local = domain.host() == "localhost";
    let names = SiteNames { scheme: "https".to_owned(), domain: domain.clone(), printers_domain };
    let host = authority.host();
    match names.classify(authority) {
        Host::Site if host == domain.host() => {}
        Host::Site => {
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            assert!(is_local && address.is_ok_and(|address| address.is_loopback()), "{host} is not the site");
        }
        // Nothing may be made of a label that does not stand there, letter for letter.
        Host::App(label) => assert_eq!(host, format!("app-{label}.{below}")),
        Host::Shared(label) => assert_eq!(host, format!("shared-{label}.{below}")),
        Host::Owner(label) => assert_eq!(host, format!("p-{label}.{below}")),
        Host::Foreign => assert_ne!(host, domain.host()),
    }
}

fn check_request(version: Version, target: &[u8], hosts: &[&[u8]]) {
    let Ok(uri) = Uri::try_from(target) else { return };
    let from_target = uri.authority().map(|authority| authority.as_str().to_owned());
    let mut request = Request::new(());
    *request.version_mut() = version;
    *request.uri_mut() = uri;
    for host in hosts {
        let Ok(value) = HeaderValue::from_bytes(host) else { return };
        request.headers_mut().append(header::HOST, value);
    }
    let (parts, ()) = request.into_parts();
    match Authority::of_request(&parts) {
        Ok(authority) => {
            assert!(hosts.len() <= 1, "two hosts cannot both be meant");
            assert!(!hosts.is_empty() || version == Version::HTTP_2, "HTTP/1 needs the header");
            let sources = hosts.iter().filter_map(|host| std::str::from_utf8(host).ok()).chain(from_target.as_deref());
            let mut count = 0;
            for source in sources {
                assert_eq!(source.parse::<Authority>().as_ref(), Ok(&authority));
                count += 1;
            }
            assert_eq!(count, hosts.len() + usize::from(from_target.is_some()));
        }
        Err(AuthorityError::Missing) => assert!(hosts.is_empty()),
        Err(AuthorityError::Ambiguous | AuthorityError::Malformed) => {
            assert!(!hosts.is_empty() || from_target.is_some())
        }
    }
}
