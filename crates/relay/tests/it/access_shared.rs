//! The password of a Shared Connection: its page, its cookie, programs, and guessing.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use testkit::{
    Client, Exchange, Origin, Protocol, Rig, SharedAccess, TestAgent, TestService, basic_header, test_certificates,
};

const PASSWORD: &str = "correct horse & battery=staple";
const ENCODED_PASSWORD: &str = "correct+horse+%26+battery%3Dstaple";
const PAGE: &str = "/.spoolway/password";

#[tokio::test]
async fn a_browser_is_asked_once_and_comes_back_to_where_it_was_going() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let shared = rig.service.shared_connection(&rig.printer.id, Some(PASSWORD)).await;
    for protocol in Protocol::ALL {
        let client = rig.client(protocol);
        let sent = client.get(&shared.host, "/files?a=1&b=%20x", &[("sec-fetch-mode", "navigate")]).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER);
        assert_eq!(sent.header("cache-control"), "no-store");
        let page_path = sent.header("location").to_owned();
        assert!(page_path.starts_with(&format!("{PAGE}?return-to=")), "{page_path}");

        let page = client.get(&shared.host, &page_path, &[]).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
        assert!(page.text().contains("name=\"return-to\" value=\"/files?a=1&#38;b=%20x\""), "{}", page.text());
        assert!(!page.text().contains("role=\"alert\""));

        let wrong = send_form(&client, &shared, "return-to=%2Ffiles%3Fa%3D1&password=wrong", &[]).await;
        assert_eq!(wrong.status, 200);
        assert!(wrong.text().contains("This is not the password"), "{}", wrong.text());
        assert!(wrong.text().contains("value=\"/files?a=1\""), "{}", wrong.text());
        assert!(!wrong.headers.contains_key("set-cookie"));

        let form = format!("return-to=%2Ffiles%3Fa%3D1&password={ENCODED_PASSWORD}");
        let right = send_form(&client, &shared, &form, &[]).await;
        assert_eq!((right.status, right.header("location")), (StatusCode::SEE_OTHER, "/files?a=1"));
        let (cookie, attributes) = cookie_of(&right);
        assert_eq!(attributes, ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Lax"]);

        let cookies = format!("theme=dark; {cookie}; session=1");
        let opened = client.get(&shared.host, "/files?a=1", &[("cookie", &cookies)]).await;
        assert_eq!((opened.status.as_u16(), opened.text().as_str()), (200, "hello"));
        assert_eq!(origin.last_seen().headers["cookie"], "theme=dark; session=1");
        let only = client.get(&shared.host, "/", &[("cookie", &cookie)]).await;
        assert_eq!(only.status, 200);
        assert!(!origin.last_seen().headers.contains_key("cookie"));
    }
    assert!(origin.seen().iter().all(|seen| !format!("{seen:?}").contains("spoolway_share")));
}

#[tokio::test]
async fn only_a_navigating_browser_gets_the_page() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let shared = rig.service.shared_connection(&rig.printer.id, Some(PASSWORD)).await;
    let html = ("accept", "text/html,*/*;q=0.8");
    for (method, headers, expected) in [
        (Method::GET, &[html][..], 303),
        (Method::GET, &[("sec-fetch-mode", "navigate")], 303),
        (Method::POST, &[("sec-fetch-mode", "navigate")], 303),
        (Method::GET, &[html, ("sec-fetch-mode", "cors")], 606),
        (Method::GET, &[html, ("sec-fetch-mode", "no-cors")], 606),
        (Method::POST, &[html], 606),
        (Method::GET, &[("accept", "*/*")], 606),
        (Method::GET, &[("accept", "application/json")], 606),
        (Method::GET, &[], 606),
    ] {
        for protocol in Protocol::ALL {
            let mut request = Request::builder().method(method.clone()).uri("/").header("host", &shared.host);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let exchange = rig.client(protocol).exchange(request.body(Full::default()).unwrap()).await;
            assert_eq!(exchange.status.as_u16(), expected, "{method} with {headers:?} in {protocol:?}");
        }
    }
    // An app's host has no page for people to let themselves in on.
    let app = rig.client(Protocol::Http1).get(&rig.app.host, "/", &[html, ("sec-fetch-mode", "navigate")]).await;
    assert_eq!(app.status.as_u16(), 606);
    assert_eq!(app.header("content-type"), "text/html; charset=utf-8");
    let app = rig.client(Protocol::Http1).get(&rig.app.host, PAGE, &[]).await;
    assert_eq!(app.status.as_u16(), 606);
    assert!(origin.seen().is_empty());
}

#[tokio::test]
async fn a_cookie_opens_one_host_and_survives_a_restart() {
    let mut service = TestService::start().await;
    let origin = Origin::saying("hello").await;
    let printer = service.add_printer().await;
    let shared = service.shared_connection(&printer.id, Some(PASSWORD)).await;
    let twin = service.shared_connection(&printer.id, Some(PASSWORD)).await;
    let _agent = TestAgent::start(&service, &printer, origin.address()).await;
    let cookie = log_in(&Client::new(service.address()), &shared).await;

    service.restart().await;
    testkit::wait_until("the agent is back", || !service.relay().printers_here().is_empty()).await;
    let client = Client::new(service.address());
    let status = async |host: &str, cookie: &str| client.get(host, "/", &[("cookie", cookie)]).await.status.as_u16();
    assert_eq!(status(&shared.host, &cookie).await, 200);
    assert_eq!(status(&twin.host, &cookie).await, 606);
    let (name, value) = cookie.split_once('=').unwrap();
    let (expires, signature) = value.split_once('.').unwrap();
    let later = expires.parse::<u64>().unwrap() + 1;
    for forged in [
        format!("{name}={later}.{signature}"),
        format!("{name}={expires}."),
        format!("{name}={expires}"),
        format!("{name}=.{signature}"),
        format!(
            "{name}={expires}.{}",
            signature.replace(&signature[..1], if &signature[..1] == "A" { "B" } else { "A" })
        ),
        format!("{name}x={value}"),
    ] {
        assert_eq!(status(&shared.host, &forged).await, 606, "{forged}");
    }
    // A page of the printer may have set others of the name.
    assert_eq!(status(&shared.host, &format!("{name}=1.A; {name}=x; {cookie}")).await, 200);
    service.revoke(store::ConnectionKind::Shared, &shared.id).await;
    testkit::wait_for_answer("the revocation", async || (status(&shared.host, &cookie).await == 604).then_some(()))
        .await;
}

/// Printers' hosts are one site to a browser: it sends the cookie along when another printer's page asks.
#[tokio::test]
async fn a_page_of_another_host_cannot_use_the_cookie() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let shared = rig.service.shared_connection(&rig.printer.id, Some(PASSWORD)).await;
    let hostile = rig.service.shared_connection(&rig.printer.id, None).await;
    let cookie = log_in(&rig.client(Protocol::Http1), &shared).await;
    let own = format!("http://{}", shared.host);
    for (origin_of_page, expected) in [
        (None, 200),
        (Some(own), 200),
        (Some(format!("http://{}", hostile.host)), 606),
        (Some(format!("http://{}", rig.service.domain())), 606),
        (Some("https://evil.example".to_owned()), 606),
        (Some("null".to_owned()), 606),
    ] {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend(origin_of_page.as_deref().map(|origin| ("origin", origin)));
        for protocol in Protocol::ALL {
            let exchange = rig.client(protocol).get(&shared.host, "/", &headers).await;
            assert_eq!(exchange.status.as_u16(), expected, "{origin_of_page:?} in {protocol:?}");
        }
        let opened = rig.client(Protocol::Http1).websocket(&shared.host, "/", &headers).await;
        assert_eq!(opened.err().unwrap().status.as_u16(), expected, "a handshake from {origin_of_page:?}");
        let form = format!("password={ENCODED_PASSWORD}");
        let form = send_form(&rig.client(Protocol::Http1), &shared, &form, &headers).await;
        assert_eq!(form.status.as_u16(), if expected == 200 { 303 } else { 403 }, "a form from {origin_of_page:?}");
    }
}

#[tokio::test]
async fn over_tls_the_cookie_is_for_tls_only() {
    let certificates = test_certificates();
    let service = TestService::start_with_tls(&certificates).await;
    let printer = service.add_printer().await;
    let shared = service.shared_connection(&printer.id, Some(PASSWORD)).await;
    for protocol in Protocol::ALL {
        let client = Client::speaking(protocol, service.address()).over_tls(&certificates);
        let right = send_form(&client, &shared, &format!("password={ENCODED_PASSWORD}"), &[]).await;
        assert_eq!((right.status, right.header("location")), (StatusCode::SEE_OTHER, "/"));
        let (_, attributes) = cookie_of(&right);
        assert_eq!(attributes, ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Lax", "Secure"]);
    }
}

#[tokio::test]
async fn programs_send_the_password_as_basic() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let shared = rig.service.shared_connection(&rig.printer.id, Some(PASSWORD)).await;
    for (authorization, expected) in [
        (basic_header("", PASSWORD), 200),
        (basic_header("anybody", PASSWORD), 200),
        (basic_header("anybody", "wrong"), 606),
        (basic_header(PASSWORD, ""), 606),
        (format!("Bearer {PASSWORD}"), 606),
        ("Basic !".to_owned(), 606),
    ] {
        for protocol in Protocol::ALL {
            let headers = [("authorization", authorization.as_str())];
            let exchange = rig.client(protocol).get(&shared.host, "/", &headers).await;
            assert_eq!(exchange.status.as_u16(), expected, "{authorization} in {protocol:?}");
            assert!(!exchange.headers.contains_key("www-authenticate"));
        }
    }
    let key = basic_header("x", PASSWORD)["Basic ".len()..].replace('=', "%3D");
    let opened = rig.client(Protocol::Http1).websocket(&shared.host, &format!("/ws?oe_api_key={key}"), &[]).await;
    assert_eq!(opened.err().unwrap().status, 200);
    for seen in origin.seen() {
        assert!(!seen.headers.contains_key("authorization") && !seen.target.contains("oe_api_key"), "{seen:?}");
    }
}

/// Who guesses is stopped, with an answer that no app takes for a verdict; the owner elsewhere comes in as ever.
#[tokio::test]
async fn guessing_a_password_is_stopped_for_the_guesser_only() {
    let proxy = "127.0.0.1/32".parse().unwrap();
    let service = TestService::start_with(|config| config.trusted_proxies = vec![proxy]).await;
    let origin = Origin::saying("hello").await;
    let printer = service.add_printer().await;
    let shared = service.shared_connection(&printer.id, Some(PASSWORD)).await;
    let _agent = TestAgent::start(&service, &printer, origin.address()).await;
    let client = Client::new(service.address());
    let attempt = async |address: &str, password: &str| {
        let authorization = basic_header("x", password);
        client.get(&shared.host, "/", &[("authorization", &authorization), ("x-forwarded-for", address)]).await
    };

    let mut n_wrong = 0;
    for n in 0..40 {
        let exchange = attempt("192.0.2.1", &format!("guess {n}")).await;
        match exchange.status.as_u16() {
            606 => n_wrong += 1,
            600 => assert!(exchange.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1)),
            code => panic!("{code} to guess {n}"),
        }
    }
    // Ten at once, and two more a minute.
    assert!((10..=15).contains(&n_wrong), "{n_wrong}");
    // Also the right one waits where guesses came from; it is not called wrong.
    assert_eq!(attempt("192.0.2.1", PASSWORD).await.status.as_u16(), 600);
    let form = format!("password={ENCODED_PASSWORD}");
    let page = send_form(&client, &shared, &form, &[("x-forwarded-for", "192.0.2.1")]).await;
    assert!(page.text().contains("Too many passwords were tried"), "{}", page.text());
    assert!(!page.headers.contains_key("set-cookie"));

    // An IPv6 network is one guesser.
    for n in 0..20 {
        attempt(&format!("2001:db8::{n:x}"), "wrong").await;
    }
    assert_eq!(attempt("2001:db8::ffff", PASSWORD).await.status.as_u16(), 600);

    assert_eq!(attempt("2001:db8:0:1::1", PASSWORD).await.status, 200);
    assert_eq!(attempt("198.51.100.1", PASSWORD).await.status, 200);
    // Since then it is known to be right, and no guess from anywhere.
    assert_eq!(attempt("192.0.2.1", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn the_page_never_leads_to_another_host() {
    let service = TestService::start().await;
    let printer = service.add_printer().await;
    let closed = service.shared_connection(&printer.id, Some(PASSWORD)).await;
    let open = service.shared_connection(&printer.id, None).await;
    let client = Client::new(service.address());
    for target in
        ["%2F%2Fevil.example", "https%3A%2F%2Fevil.example", "%2F%5Cevil.example", "%2F%09%2Fevil.example", "x"]
    {
        let form = format!("return-to={target}&password={ENCODED_PASSWORD}");
        let right = send_form(&client, &closed, &form, &[]).await;
        assert_eq!((right.status.as_u16(), right.header("location")), (303, "/"), "{target}");
        // Where there is no password, the page has nothing to ask.
        let passed = client.get(&open.host, &format!("{PAGE}?return-to={target}"), &[]).await;
        assert_eq!((passed.status.as_u16(), passed.header("location")), (303, "/"), "{target}");
    }
}

async fn send_form(client: &Client, shared: &SharedAccess, form: &str, headers: &[(&str, &str)]) -> Exchange {
    let mut request =
        Request::post(PAGE).header("host", &shared.host).header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.exchange(request.body(Full::new(Bytes::from(form.to_owned()))).unwrap()).await
}

/// The cookie, as a browser sends it, and its attributes in order of the alphabet.
fn cookie_of(exchange: &Exchange) -> (String, Vec<String>) {
    let mut parts = exchange.header("set-cookie").split("; ").map(str::to_owned);
    let cookie = parts.next().unwrap();
    let mut attributes: Vec<String> = parts.collect();
    attributes.sort();
    (cookie, attributes)
}

async fn log_in(client: &Client, shared: &SharedAccess) -> String {
    let right = send_form(client, shared, &format!("password={ENCODED_PASSWORD}"), &[]).await;
    assert_eq!(right.status, StatusCode::SEE_OTHER);
    cookie_of(&right).0
}
