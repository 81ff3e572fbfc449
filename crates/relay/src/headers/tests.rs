#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::Ipv4Addr;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const HOST: &str = "shared-abc.d.example:8443";

fn visitor(is_https: bool) -> Visitor {
    Visitor { address: Ipv4Addr::new(192, 0, 2, 7).into(), is_https, authority: HOST.parse().unwrap() }
}

fn header_map(lines: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

fn request(lines: &[(String, String)]) -> HeaderMap {
    let mut headers = header_map(lines);
    prepare_request(&mut headers, &visitor(true), &RequestId::generate());
    headers
}

fn response(lines: &[(String, String)], is_https: bool) -> HeaderMap {
    let mut headers = header_map(lines);
    prepare_response(&mut headers, &visitor(is_https), Version::HTTP_11);
    headers
}

fn line(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Names that mean nothing to anybody on the way.
fn plain_name() -> impl Strategy<Value = String> {
    "[a-z]{1,3}-[a-z0-9!#$%&'*+.^_`|~-]{1,12}".prop_filter("it means something", |name| {
        let name = name.replace('_', "-");
        !FORGED.contains(&name.as_str()) && !FORGED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    })
}

fn plain_value() -> impl Strategy<Value = String> {
    "[!-~]([ -~]{0,20}[!-~])?"
}

/// A name in any letter case, with any of its dashes written as `_`.
fn spelling(name: String) -> impl Strategy<Value = String> {
    let length = name.len();
    prop::collection::vec(any::<(bool, bool)>(), length).prop_map(move |choices| {
        name.chars()
            .zip(choices)
            .map(|(letter, (upper, underscore))| match letter {
                '-' if underscore => '_',
                letter if upper => letter.to_ascii_uppercase(),
                letter => letter,
            })
            .collect()
    })
}

fn forged_name() -> impl Strategy<Value = String> {
    let whole = select(FORGED.to_vec()).prop_map(str::to_owned);
    let in_group =
        (select(FORGED_PREFIXES.to_vec()), "[a-z]{1,8}").prop_map(|(prefix, rest)| format!("{prefix}{rest}"));
    let known = select(vec!["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "spoolway-request-id"]);
    prop_oneof![whole, in_group, known.prop_map(str::to_owned)].prop_flat_map(spelling)
}

fn hop_by_hop_name() -> impl Strategy<Value = String> {
    let names = "keep-alive proxy-connection proxy-authenticate proxy-authorization te transfer-encoding upgrade";
    select(names.split(' ').map(str::to_owned).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn strangers_say_nothing_that_only_we_may_say(
        forged in prop::collection::vec((forged_name(), plain_value()), 1..8),
        plain in prop::collection::vec((plain_name(), plain_value()), 0..8),
    ) {
        let before = [forged.clone(), plain.clone()].concat();
        let after = request(&before);
        prop_assert_eq!(values(&after, "x-forwarded-for"), ["192.0.2.7"]);
        prop_assert_eq!(values(&after, "x-real-ip"), ["192.0.2.7"]);
        prop_assert_eq!(values(&after, "x-forwarded-proto"), ["https"]);
        prop_assert_eq!(values(&after, "x-forwarded-host"), [HOST]);
        prop_assert_eq!(values(&after, wire::REQUEST_ID_HEADER).len(), 1);
        let names: std::collections::BTreeSet<&String> = plain.iter().map(|(name, _)| name).collect();
        prop_assert_eq!(after.keys_len(), 5 + names.len(), "{:?}", after);
        let untouched = header_map(&plain);
        for name in names {
            prop_assert_eq!(values(&after, name), values(&untouched, name));
        }
    }

    #[test]
    fn what_belongs_to_one_connection_ends_with_it(
        hop_by_hop in prop::collection::vec((hop_by_hop_name(), plain_value()), 0..5),
        named in prop::collection::vec((plain_name(), plain_value()), 0..4),
        plain in prop::collection::vec((plain_name(), plain_value()), 0..4),
        separator in select(vec![",", ", ", " ,\t", ",,"]),
    ) {
        let list = named.iter().map(|(name, _)| name.to_uppercase()).collect::<Vec<_>>().join(separator);
        let before = [hop_by_hop, named.clone(), plain.clone(), vec![line("Connection", &list)]].concat();
        for after in [request(&before), response(&before, true)] {
            for (name, _) in &named {
                prop_assert!(!after.contains_key(name));
            }
            for name in ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"] {
                prop_assert!(!after.contains_key(name));
            }
            for (name, _) in plain.iter().filter(|(name, _)| named.iter().all(|(named, _)| named != name)) {
                let untouched = header_map(&plain);
                prop_assert_eq!(values(&after, name), values(&untouched, name));
            }
        }
    }

    #[test]
    fn visitors_cookies_stay_apart_and_in_order(
        lines in prop::collection::vec(
            prop::collection::vec(("[a-z_]{1,8}", "[!-~&&[^;]]{0,10}", any::<bool>()), 1..5), 1..4,
        ),
    ) {
        let cookie = |(name, value, ours): &(String, String, bool)| {
            if *ours { format!("{COOKIE_PREFIX}{name}={value}") } else { format!("{name}={value}") }
        };
        let before: Vec<(String, String)> = lines
            .iter()
            .map(|cookies| line("Cookie", &cookies.iter().map(cookie).collect::<Vec<_>>().join("; ")))
            .collect();
        let expected: Vec<String> = lines.iter().flatten().filter(|(_, _, ours)| !ours).map(cookie).collect();
        let after = request(&before);
        let after = values(&after, "cookie");
        if expected.is_empty() {
            prop_assert!(after.is_empty());
        } else {
            prop_assert_eq!(after, [expected.join("; ")]);
        }
    }

    #[test]
    fn our_arguments_go_in_any_spelling_and_others_stay_byte_for_byte(
        pairs in prop::collection::vec((own_or_other_pair(), any::<bool>()), 0..8),
    ) {
        let join = |pairs: Vec<&String>| pairs.into_iter().cloned().collect::<Vec<_>>().join("&");
        let all = join(pairs.iter().map(|((_, pair), _)| pair).collect());
        let kept = join(pairs.iter().filter(|((is_own, _), _)| !is_own).map(|((_, pair), _)| pair).collect());
        let has_own = pairs.iter().any(|((is_own, _), _)| *is_own);
        let expected = if has_own && kept.is_empty() { "/a%2Fb".to_owned() } else { format!("/a%2Fb?{kept}") };

        let mut uri: Uri = format!("/a%2Fb?{all}").parse().unwrap();
        remove_own_arguments(&mut uri);
        prop_assert_eq!(uri.to_string(), expected.clone());

        let after = request(&[line("Referer", &format!("https://{HOST}/a%2Fb?{all}"))]);
        prop_assert_eq!(values(&after, "referer"), [format!("https://{HOST}{expected}")]);
    }

    #[test]
    fn printers_cookies_keep_what_fits_and_lose_what_does_not(
        cookies in prop::collection::vec(
            ("[a-z]{1,6}", "[!-~&&[^;]]{0,10}", prop::collection::vec(cookie_attribute(), 0..6)), 1..60,
        ),
        is_https: bool,
    ) {
        let before: Vec<(String, String)> = cookies
            .iter()
            .map(|(name, value, attributes)| {
                let attributes: String = attributes.iter().map(|(text, _, _)| format!(";{text}")).collect();
                line("Set-Cookie", &format!("{name}={value}{attributes}"))
            })
            .collect();
        let expected: Vec<String> = cookies
            .iter()
            .take(MAX_SET_COOKIE)
            .map(|(name, value, attributes)| {
                let kept = attributes.iter().filter_map(|(_, https, http)| if is_https { *https } else { *http });
                format!("{name}={value}{}", kept.map(|kept| format!("; {kept}")).collect::<String>())
            })
            .collect();
        let after = response(&before, is_https);
        prop_assert_eq!(values(&after, "set-cookie"), expected);
    }
}

/// A pair of a query, and whether its name is one of ours.
fn own_or_other_pair() -> impl Strategy<Value = (bool, String)> {
    let own = select(vec![wire::API_KEY_QUERY, wire::PLAIN_STATUS_QUERY])
        .prop_flat_map(|name| (prop::collection::vec(0u8..3, name.len()), Just(name)))
        .prop_map(|(choices, name)| {
            name.bytes()
                .zip(choices)
                .map(|(byte, choice)| match choice {
                    0 => char::from(byte).to_string(),
                    1 => format!("%{byte:02x}"),
                    _ => format!("%{byte:02X}"),
                })
                .collect::<String>()
        });
    let value = "(=[a-zA-Z0-9%=?/+._~!$'()*,;:@-]{0,12})?";
    prop_oneof![
        (own, value).prop_map(|(name, value)| (true, format!("{name}{value}"))),
        ("[A-Z_]{0,6}", value).prop_map(|(name, value)| (false, format!("{name}{value}"))),
        select(vec!["oe_api_keys=1", "xoe_api_key=1", "OE_API_KEY=1", "x=oe_api_key", "x=%26oe_api_key=1"])
            .prop_map(|pair| (false, pair.to_owned())),
    ]
}

/// An attribute as a printer writes it, and what is left of it with and without encryption.
fn cookie_attribute() -> impl Strategy<Value = (&'static str, Option<&'static str>, Option<&'static str>)> {
    select(vec![
        (" Path=/", Some("Path=/"), Some("Path=/")),
        ("HttpOnly", Some("HttpOnly"), Some("HttpOnly")),
        (" max-age = 5 ", Some("max-age = 5"), Some("max-age = 5")),
        (" Expires=Thu, 01 Jan 1970 00:00:00 GMT", Some("Expires=Thu, 01 Jan 1970 00:00:00 GMT"), {
            Some("Expires=Thu, 01 Jan 1970 00:00:00 GMT")
        }),
        (" Partitioned", Some("Partitioned"), Some("Partitioned")),
        (" Domain=d.example", None, None),
        ("domain = .d.example ", None, None),
        (" DOMAIN", None, None),
        (" Secure", Some("Secure"), None),
        ("secure=1", Some("secure=1"), None),
        (" SameSite=None", Some("SameSite=None"), Some("SameSite=Lax")),
        (" samesite = NONE", Some("samesite = NONE"), Some("SameSite=Lax")),
        (" SameSite=Strict", Some("SameSite=Strict"), Some("SameSite=Strict")),
    ])
}

#[test]
fn redirects_to_the_visitors_own_host_become_paths_and_no_others_change() {
    for (location, expected) in [
        ("https://shared-abc.d.example:8443/x?y#z", "/x?y#z"),
        ("http://shared-abc.d.example/", "/"),
        ("http://shared-abc.d.example:5000/login/?next=%2F", "/login/?next=%2F"),
        ("HTTPS://SHARED-ABC.D.EXAMPLE.", "/"),
        ("//shared-abc.d.example/x", "/x"),
        ("/already/a/path", "/already/a/path"),
        ("relative?a", "relative?a"),
        ("https://elsewhere.example/", "https://elsewhere.example/"),
        ("https://shared-abc.d.example.evil.example/", "https://shared-abc.d.example.evil.example/"),
        ("https://shared-abc.d.example@evil.example/", "https://shared-abc.d.example@evil.example/"),
        ("https://u@shared-abc.d.example/", "https://u@shared-abc.d.example/"),
        ("https://shared-abc.d.example//evil.example/", "https://shared-abc.d.example//evil.example/"),
        ("https://shared-abc.d.example/\\evil.example/", "https://shared-abc.d.example/\\evil.example/"),
        ("https://shared-abc.d.example/\t/evil.example/", "https://shared-abc.d.example/\t/evil.example/"),
        ("https://shared-abc.d.example?x", "https://shared-abc.d.example?x"),
        ("//evil.example/", "//evil.example/"),
        ("ftp://shared-abc.d.example/", "ftp://shared-abc.d.example/"),
        ("", ""),
    ] {
        for name in ["location", "content-location"] {
            assert_eq!(values(&response(&[line(name, location)], true), name), [expected], "{name}: {location}");
        }
    }
}

#[test]
fn a_printer_cannot_set_a_cookie_of_ours() {
    let cookies = ["__spoolway_share=1; Path=/", " __spoolway_share=1", "=__spoolway_share=1", "= __spoolway_x", "a=b"];
    let before: Vec<_> = cookies.iter().map(|cookie| line("Set-Cookie", cookie)).collect();
    assert_eq!(values(&response(&before, true), "set-cookie"), ["a=b"]);
}

#[test]
fn a_referer_is_cleaned_whatever_else_it_holds() {
    for referer in [
        &b"https://a/?oe_api_key=secret"[..],
        b"https://a/?x=1&oe_api_key=secret&y=2#z",
        b"https://a/?oe_api_key=secret&x=\xff",
        b"https://a/?%6fe_api_key=secret#&b",
        b"https://a/?spoolway-plain-status=secret",
    ] {
        let mut headers = HeaderMap::new();
        headers.append(header::REFERER, HeaderValue::from_static("https://a/"));
        headers.append(header::REFERER, HeaderValue::from_bytes(referer).unwrap());
        prepare_request(&mut headers, &visitor(true), &RequestId::generate());
        for value in headers.get_all(header::REFERER) {
            assert!(!contains(value.as_bytes(), b"secret"), "{}", referer.escape_ascii());
        }
    }
}

#[test]
fn what_opened_the_way_here_does_not_travel_on() {
    let before = [
        line("host", HOST),
        line("expect", "100-continue"),
        line("http2-settings", "x"),
        line("authorization", "Bearer the-printers"),
    ];
    let after = request(&before);
    for name in ["host", "expect", "http2-settings"] {
        assert!(!after.contains_key(name), "{name}");
    }
    // Whether it was ours is for access to say.
    assert_eq!(values(&after, "authorization"), ["Bearer the-printers"]);
}

#[test]
fn a_printer_cannot_speak_for_the_service_or_beyond_its_host() {
    let before = [
        line("x-spoolway-error", "604"),
        line("alt-svc", "h3=\":443\""),
        line("strict-transport-security", "max-age=1"),
        line("service-worker-allowed", "/"),
        line("clear-site-data", "\"cookies\""),
        line("trailer", "x-sum"),
        line("etag", "\"1\""),
    ];
    let left = |version| {
        let mut headers = header_map(&before);
        prepare_response(&mut headers, &visitor(true), version);
        let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(left(Version::HTTP_11), ["etag", "trailer"]);
    assert_eq!(left(Version::HTTP_2), ["etag"]);
}
