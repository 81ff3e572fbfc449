//! The addresses of printers and services, and redirects to them.

use http::{HeaderMap, HeaderValue, header};
use printers::PrinterUrl;
use printers::forward::fuzzing::prepare_response;
use tunnel::dial::ServerUrl;
use url::Url;

use crate::input::{split_line, values};

/// A line with a printer's address, then a `Location` of its.
pub fn check(data: &[u8]) {
    let (address, location) = split_line(data);
    let Ok(address) = std::str::from_utf8(address) else { return };
    check_server(address);
    let Ok(target) = address.parse::<PrinterUrl>() else { return };
    let printed = target.to_string();
    assert_eq!(printed.parse::<PrinterUrl>().as_ref(), Ok(&target), "{address:?}");
    assert!(target.port() != 0 && !target.host().is_empty());
    let Ok(url) = Url::parse(&printed) else { panic!("{printed} is a URL") };
    assert_eq!(url.port_or_known_default(), Some(target.port()));
    assert_eq!(url.host_str().map(|host| host.trim_matches(['[', ']'])), Some(target.host()));
    assert!(HeaderValue::from_str(target.authority()).is_ok());
    check_location(&target, location);
}

fn check_server(text: &str) {
    let Ok(server) = text.parse::<ServerUrl>() else { return };
    assert_eq!(server.to_string().parse::<ServerUrl>().as_ref(), Ok(&server), "{text:?}");
}

/// A redirect to the printer's own address stays a redirect to the printer, and any other is left alone.
fn check_location(target: &PrinterUrl, location: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(location.trim_ascii()) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, value.clone());
    prepare_response(&mut headers, target);
    let [after] = values(&headers, "location")[..] else { panic!("one stays one") };
    if after == value.as_bytes() {
        return;
    }
    let Ok(visited) = Url::parse("https://shared-abc.d.example/somewhere/deep") else { panic!("the URL is valid") };
    let (Ok(meant), Ok(after)) = (std::str::from_utf8(value.as_bytes()), std::str::from_utf8(after)) else {
        panic!("only text is rewritten");
    };
    let (Ok(meant), Ok(said)) = (Url::parse(meant), visited.join(after)) else { panic!("{after} leads nowhere") };
    assert_eq!(said.origin(), visited.origin(), "{meant} became {after}");
    assert_eq!(said[url::Position::BeforePath..], meant[url::Position::BeforePath..], "{meant} became {after}");
    assert_eq!(meant.port_or_known_default(), Some(target.port()));
}
