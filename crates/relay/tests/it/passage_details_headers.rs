//! Headers: those that end at each hop, those that nobody may forge, and those that are made to fit.

use http::{HeaderName, HeaderValue, Method, Response};
use http_body_util::Full;
use testkit::{Client, Exchange, Origin, Protocol, Rig, TestAgent, TestService, full, raw_exchange};

/// By these, software behind a proxy is told who its visitor is or where it is mounted.
const NEVER_FROM_VISITORS: [&str; 24] = [
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-User",
    "X-Forwarded-Anything",
    "X-Real-IP",
    "Forwarded",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Original-URL",
    "X-Original-Host",
    "X-Rewrite-URL",
    "X-Script-Name",
    "X-Scheme",
    "X-Remote-User",
    "X-Spoolway-Anything",
    "Spoolway-Request-Id",
    "oe-snapshot",
    "oe-webcamstream",
];

#[tokio::test]
async fn what_only_we_may_say_never_comes_from_a_visitor() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    for name in NEVER_FROM_VISITORS {
        let half = name.to_ascii_lowercase().replacen('-', "_", 1);
        for spelling in
            [name.to_owned(), name.to_ascii_uppercase(), name.to_ascii_lowercase(), half, name.replace('-', "_")]
        {
            // As bytes, because libraries know only the lower case.
            let request = format!(
                "GET / HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n{spelling}: forged\r\n{spelling}: forged again\r\n\
                 Connection: close\r\n\r\n",
                rig.app.host,
                rig.app.bearer_header(),
            );
            let (answer, _) =
                raw_exchange(rig.service.address(), request.as_bytes(), std::time::Duration::from_secs(20)).await;
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{spelling}: {}", String::from_utf8_lossy(&answer));
            let seen = origin.last_seen();
            assert!(!format!("{:?}", seen.headers).contains("forged"), "{spelling}: {:?}", seen.headers);
        }
        let exchange = rig.get(Protocol::Http2, "/", &[(&name.to_ascii_lowercase(), "forged")]).await;
        assert_eq!(exchange.status, 200, "{name}");
        assert!(!format!("{:?}", origin.last_seen().headers).contains("forged"), "{name} in HTTP/2");
    }
    let seen = origin.last_seen().headers;
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["x-real-ip"], "127.0.0.1");
    assert_eq!(seen["x-forwarded-proto"], "http");
    assert_eq!(seen["x-forwarded-host"], rig.app.host.as_str());
    assert!(!seen.keys().any(|name| name.as_str().starts_with("spoolway-")));
}

/// A proxy on the operator's list may name its visitor; what stands before an address that it does not vouch for may
/// be anybody's invention.
#[tokio::test]
async fn a_trusted_proxy_names_its_visitor() {
    let trusted = ["127.0.0.1/32", "10.0.0.0/8"].map(|network| network.parse().unwrap());
    let service = TestService::start_with(|config| config.trusted_proxies = trusted.to_vec()).await;
    let origin = Origin::saying("hello").await;
    let printer = service.add_printer().await;
    let app = service.app_connection(&printer.id).await;
    let _agent = TestAgent::start(&service, &printer, origin.address()).await;
    let authorization = app.bearer_header();
    for protocol in Protocol::ALL {
        for (forwarded, scheme, expected, expected_scheme) in [
            (&["192.0.2.1"][..], Some("https"), "192.0.2.1", "https"),
            (&["203.0.113.9, 192.0.2.1"], Some("http"), "192.0.2.1", "http"),
            (&["203.0.113.9, 192.0.2.1, 10.1.2.3"], None, "192.0.2.1", "http"),
            (&["203.0.113.9", "192.0.2.1"], None, "192.0.2.1", "http"),
            (&["2001:db8::1"], None, "2001:db8::1", "http"),
            (&["nonsense"], None, "127.0.0.1", "http"),
            (&[], None, "127.0.0.1", "http"),
        ] {
            let mut headers = vec![("authorization", authorization.as_str())];
            headers.extend(forwarded.iter().map(|value| ("x-forwarded-for", *value)));
            headers.extend(scheme.map(|scheme| ("x-forwarded-proto", scheme)));
            let exchange = Client::speaking(protocol, service.address()).get(&app.host, "/", &headers).await;
            assert_eq!(exchange.status, 200);
            let seen = origin.last_seen().headers;
            let told = |name| seen[name].to_str().unwrap();
            assert_eq!((told("x-forwarded-for"), told("x-real-ip")), (expected, expected), "{forwarded:?}");
            assert_eq!(told("x-forwarded-proto"), expected_scheme, "{scheme:?}");
        }
    }
}

#[tokio::test]
async fn hop_by_hop_headers_end_at_the_hop_in_both_directions() {
    let origin = Origin::start(|_| async {
        Response::builder()
            .header("connection", "x-private")
            .header("x-private", "printer")
            .header("keep-alive", "timeout=5")
            .header("proxy-authenticate", "Basic")
            .header("x-kept", "1")
            .body(full("hello"))
            .unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nConnection: close, X-Mine, Cookie\r\nX-Mine: 1\r\n\
         Keep-Alive: timeout=5\r\nTE: gzip\r\nProxy-Authorization: Basic eA==\r\nProxy-Connection: close\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nCookie: kept=1\r\nX-Kept: 1\r\n\r\n",
        rig.app.host,
        rig.app.bearer_header(),
    );
    let (answer, _) = raw_exchange(rig.service.address(), request.as_bytes(), std::time::Duration::from_secs(20)).await;
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 ") && answer.contains("\r\nx-kept: 1\r\n"), "{answer}");
    for absent in ["x-private", "keep-alive", "proxy-authenticate"] {
        assert!(!answer.contains(absent), "{absent} in {answer}");
    }
    let seen = origin.last_seen().headers;
    for absent in ["x-mine", "keep-alive", "te", "proxy-authorization", "proxy-connection", "upgrade", "http2-settings"]
    {
        assert!(!seen.contains_key(absent), "{absent} in {seen:?}");
    }
    // Naming a header that decides who is asking does not take it away.
    assert_eq!((&seen["cookie"], &seen["x-kept"]), (&"kept=1".parse().unwrap(), &"1".parse().unwrap()));
}

#[tokio::test]
async fn repeated_headers_stay_apart_and_in_order() {
    let origin = Origin::start(|request| async move {
        let mut response = Response::builder();
        for value in request.headers().get_all("x-many") {
            response = response.header("x-many", value);
        }
        response.header("set-cookie", "a=1; Path=/").header("set-cookie", "b=2, still b").body(full("")).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let many = [("x-many", "2"), ("x-many", "1, 1b"), ("x-many", ""), ("x-many", "3")];
        let exchange = rig.get(protocol, "/", &many).await;
        let values: Vec<_> = exchange.headers.get_all("x-many").iter().collect();
        assert_eq!(values, ["2", "1, 1b", "", "3"], "{protocol:?}");
        let cookies: Vec<_> = exchange.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1; Path=/", "b=2, still b"], "{protocol:?}");
        // Visitors may send several lines of cookies in HTTP/2; printers' software knows one.
        rig.get(protocol, "/", &[("cookie", "a=1"), ("cookie", "b=2; c=3")]).await;
        let cookies: Vec<_> = origin.last_seen().headers.get_all("cookie").iter().cloned().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"], "{protocol:?}");
    }
}

/// A printer's cookie belongs to its own host name and fits how the visitor came.
#[tokio::test]
async fn cookies_are_made_to_fit() {
    let rows = [
        ("a=1; Domain=localhost; Path=/", "a=1; Path=/"),
        ("a=1; domain=.LOCALHOST", "a=1"),
        ("a=1; DOMAIN = example.com ; HttpOnly", "a=1; HttpOnly"),
        ("a=1; Secure; SameSite=None", "a=1; SameSite=Lax"),
        ("a=1; secure;samesite=strict", "a=1; samesite=strict"),
        ("session_P5000=abc; Path=/; HttpOnly; SameSite=Lax", "session_P5000=abc; Path=/; HttpOnly; SameSite=Lax"),
        ("a=\"1;2\"", "a=\"1; 2\""),
        ("__spoolway_share=forged; Path=/", ""),
        ("a=1; Expires=Wed, 21 Oct 2037 07:28:00 GMT", "a=1; Expires=Wed, 21 Oct 2037 07:28:00 GMT"),
    ];
    let origin = Origin::start(move |request| async move {
        let mut response = Response::builder();
        if request.uri().path() == "/flood" {
            for n in 0..100 {
                response = response.header("set-cookie", format!("c{n}=1"));
            }
        } else {
            response = response.header("set-cookie", rows[request.uri().path()[1..].parse::<usize>().unwrap()].0);
        }
        response.body(full("")).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        for (n, (cookie, expected)) in rows.iter().enumerate() {
            let exchange = rig.get(protocol, &format!("/{n}"), &[]).await;
            assert_eq!(exchange.header("set-cookie"), *expected, "{cookie} in {protocol:?}");
        }
        // More would make the browser's next request too large for anybody.
        let flood = rig.get(protocol, "/flood", &[]).await;
        assert!(flood.headers.get_all("set-cookie").iter().count() <= 50, "{protocol:?}");
    }
}

#[tokio::test]
async fn locations_lead_back_to_the_visitors_host() {
    let origin = Origin::start(|request| async move {
        let to = request.headers()["x-to"].clone();
        Response::builder().status(302).header("location", &to).header("content-location", &to).body(full("")).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    let (host, local) = (&rig.app.host, origin.address());
    let name = host.split(':').next().unwrap();
    for (to, expected) in [
        ("/login/?next=%2F#top".to_owned(), "/login/?next=%2F#top"),
        ("relative?x".to_owned(), "relative?x"),
        (format!("http://{host}/login"), "/login"),
        (format!("https://{host}/login?a"), "/login?a"),
        (format!("http://{name}/login"), "/login"),
        (format!("HTTP://{}:5000/login", name.to_ascii_uppercase()), "/login"),
        (format!("//{host}/login"), "/login"),
        (format!("http://{host}"), "/"),
        (format!("http://{local}/local?b#c"), "/local?b#c"),
        (format!("http://{local}"), "/"),
        ("https://elsewhere.example/x".to_owned(), "https://elsewhere.example/x"),
        (format!("http://{name}.evil.example/x"), ""),
        (format!("http://{host}//evil.example/x"), ""),
        ("mailto:owner@example.com".to_owned(), "mailto:owner@example.com"),
    ] {
        // Left as it is.
        let expected = if expected.is_empty() { to.as_str() } else { expected };
        for protocol in Protocol::ALL {
            let exchange = rig.get(protocol, "/", &[("x-to", &to)]).await;
            assert_eq!(exchange.header("location"), expected, "{to} in {protocol:?}");
            assert_eq!(exchange.header("content-location"), expected, "{to} in {protocol:?}");
        }
    }
}

/// What would outlive or leave the printer's own host.
#[tokio::test]
async fn some_headers_of_a_printer_stay_with_it() {
    let origin = Origin::start(|_| async {
        Response::builder()
            .header("strict-transport-security", "max-age=99999999; includeSubDomains")
            .header("alt-svc", "h3=\":443\"")
            .header("service-worker-allowed", "/")
            .header("clear-site-data", "\"cookies\"")
            .header("x-spoolway-error", "604")
            .header("spoolway-agent-failure", "internal")
            .header("www-authenticate", "Basic realm=\"printer\"")
            .header("content-security-policy", "default-src 'self'")
            .body(full("hello"))
            .unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let exchange = rig.get(protocol, "/", &[]).await;
        assert_eq!((exchange.status.as_u16(), exchange.text().as_str()), (200, "hello"));
        for absent in [
            "strict-transport-security",
            "alt-svc",
            "service-worker-allowed",
            "clear-site-data",
            "x-spoolway-error",
            "spoolway-agent-failure",
        ] {
            assert!(!exchange.headers.contains_key(absent), "{absent} in {protocol:?}");
        }
        assert_eq!(exchange.header("www-authenticate"), "Basic realm=\"printer\"");
        assert_eq!(exchange.header("content-security-policy"), "default-src 'self'");
    }
}

/// A worker is looked for anew at every visit, so that a revocation finds it; scripts of pages may be kept.
#[tokio::test]
async fn a_workers_script_is_not_kept() {
    let origin = Origin::start(|_| async {
        Response::builder()
            .header("cache-control", "public, max-age=31536000, immutable")
            .header("expires", "Thu, 01 Jan 2099 00:00:00 GMT")
            .body(full("worker"))
            .unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    for protocol in Protocol::ALL {
        let worker = rig.get(protocol, "/worker.js", &[("service-worker", "script")]).await;
        assert_eq!((worker.text().as_str(), worker.header("cache-control")), ("worker", "no-cache"));
        assert!(!worker.headers.contains_key("expires"));
        let script = rig.get(protocol, "/worker.js", &[]).await;
        assert_eq!(script.header("cache-control"), "public, max-age=31536000, immutable");
        assert!(script.headers.contains_key("expires"));
    }
}

/// One visitor's headers never show in another's request, though both use one connection to the printer.
#[tokio::test]
async fn visitors_do_not_mix() {
    let origin = Origin::start(|request| async move {
        let own = request.headers().get("x-own").cloned().unwrap_or(HeaderValue::from_static("none"));
        let cookie = request.headers().get("cookie").cloned().unwrap_or(HeaderValue::from_static("none"));
        Response::builder().header("x-own", own).header("x-cookie", cookie).body(full("")).unwrap()
    })
    .await;
    let rig = Rig::start(origin.address()).await;
    let visit = async |n: usize| -> Exchange {
        let mut request = rig.request(Method::GET, "/");
        if n.is_multiple_of(2) {
            request = request.header("x-own", n.to_string()).header("cookie", format!("v={n}"));
        }
        let protocol = Protocol::ALL[n % 3 % 2];
        rig.client(protocol).exchange(request.body(Full::default()).unwrap()).await
    };
    let visits: Vec<Exchange> = futures_util::future::join_all((0..60).map(visit)).await;
    let name = HeaderName::from_static("x-own");
    for (n, exchange) in visits.iter().enumerate() {
        let (own, cookie) =
            if n % 2 == 0 { (n.to_string(), format!("v={n}")) } else { ("none".to_owned(), "none".to_owned()) };
        assert_eq!(exchange.headers[&name], own.as_str());
        assert_eq!(exchange.header("x-cookie"), cookie);
    }
}
