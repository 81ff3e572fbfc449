//! Where a redirect of the printer's leads a visitor.

use std::net::IpAddr;

use crate::response::OwnHosts;

/// The target of a redirect, for a visitor, of one that the printer's software wrote.
///
/// URLs that name the printer by an address at home become paths. Whatever else stands there is right already: paths,
/// because the visitor's path is the printer's, and other hosts, because they are meant.
pub(crate) fn for_visitor(original: &[u8], own: &OwnHosts) -> Vec<u8> {
    own_path(original, own).unwrap_or_else(|| original.to_vec())
}

fn own_path(url: &[u8], own: &OwnHosts) -> Option<Vec<u8>> {
    let is_scheme = |scheme: &[u8]| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let after = if is_scheme(b"http://") {
        url.get(7..)?
    } else if is_scheme(b"https://") {
        url.get(8..)?
    } else {
        return None;
    };
    let end = after.iter().position(|byte| b"/?#\\".contains(byte)).unwrap_or(after.len());
    let (authority, path) = after.split_at_checked(end)?;
    if !is_own(std::str::from_utf8(authority).ok()?, own) {
        return None;
    }
    Some(match path {
        // Two slashes begin a host, and browsers take `\` for one and leave tabs out.
        [b'/', second, ..] if !b"/\\\t".contains(second) => path.to_vec(),
        [] | [b'/'] => b"/".to_vec(),
        [b'/' | b'\\', ..] => [b"/.", path].concat(),
        query_or_fragment => [b"/", query_or_fragment].concat(),
    })
}

/// Whether an authority names the printer. Its port is the printer's own affair.
fn is_own(authority: &str, own: &OwnHosts) -> bool {
    // What stands before an `@` is no host.
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    if host.eq_ignore_ascii_case("localhost") || host.eq_ignore_ascii_case(own.authority.host()) {
        return true;
    }
    host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || Some(address) == own.lan_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_with_the_visitors_host_unless_they_mean_another() {
        let own = OwnHosts {
            authority: http::uri::Authority::from_static("pub.example:8443"),
            lan_address: "192.0.2.17".parse().ok(),
        };
        for (original, expected) in [
            ("http://127.0.0.1:5000/login?x=1#frag", "/login?x=1#frag"),
            ("/rel/path?q=2", "/rel/path?q=2"),
            ("./here?z=3", "./here?z=3"),
            ("foo/bar", "foo/bar"),
            ("https://other.example:8443/abs;p=1", "https://other.example:8443/abs;p=1"),
            ("HTTP://LOCALHOST", "/"),
            ("http://localhost?x", "/?x"),
            ("http://192.0.2.17/webcam/", "/webcam/"),
            ("http://192.0.2.18/webcam/", "http://192.0.2.18/webcam/"),
            ("https://pub.example/x", "/x"),
            ("http://[::1]:80/x", "/x"),
            ("http://127.0.0.1//evil.example/", "/.//evil.example/"),
            ("http://127.0.0.1/\\evil.example/", "/./\\evil.example/"),
            ("http://127.0.0.1@evil.example/x", "http://127.0.0.1@evil.example/x"),
            ("http://127.0.0.1\\@evil.example/x", "/.\\@evil.example/x"),
            ("http://127.0.0.1/\t/evil.example/x", "/./\t/evil.example/x"),
            ("http://127.0.0.1/", "/"),
            ("//evil.example/x", "//evil.example/x"),
        ] {
            assert_eq!(
                String::from_utf8(for_visitor(original.as_bytes(), &own)).expect("ASCII"),
                expected,
                "{original}"
            );
        }
    }
}
