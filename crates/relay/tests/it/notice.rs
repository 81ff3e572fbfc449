//! The notice before an open Shared Connection: who sees it, what it says, and who never does.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use testkit::{Client, Exchange, Origin, Protocol, Rig, SharedAccess, TestAgent, TestService};

const PAGE: &str = "/.spoolway/notice";
const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
const NAVIGATION: [(&str, &str); 3] = [HTML, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];

#[tokio::test]
async fn a_browser_is_told_once_and_comes_to_where_it_was_going() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let shared = rig.service.shared_connection(&rig.printer.id, None).await;
    for protocol in Protocol::ALL {
        let client = rig.client(protocol);
        let sent = client.get(&shared.host, "/files?a=1&b=%20x", &NAVIGATION).await;
        assert_eq!((sent.status.as_u16(), sent.header("cache-control")), (303, "no-store"));
        let path = sent.header("location").to_owned();
        assert!(path.starts_with(&format!("{PAGE}?return-to=")), "{path}");

        let page = client.get(&shared.host, &path, &NAVIGATION).await;
        assert_eq!((page.status.as_u16(), page.header("x-frame-options")), (200, "DENY"));
        assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
        let text = page.text();
        assert!(text.contains("You are about to open “Printer”") && text.contains("and not from localhost"), "{text}");
        assert!(text.contains("value=\"/files?a=1&#38;b=%20x\""), "{text}");
        assert!(!text.contains(rig.printer.owner.as_str()), "it shows the owner's address: {text}");

        let went_on = send_form(&client, &shared, "return-to=%2Ffiles%3Fa%3D1", &[]).await;
        assert_eq!((went_on.status.as_u16(), went_on.header("location")), (303, "/files?a=1"));
        let cookie = went_on.header("set-cookie").to_owned();
        for attribute in ["; HttpOnly", "; SameSite=Lax", "; Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        assert!(!cookie.to_ascii_lowercase().contains("domain"), "{cookie}");
        let cookie = format!("theme=dark; {}", cookie.split(';').next().unwrap());
        let opened = client.get(&shared.host, "/files", &[&NAVIGATION[..], &[("cookie", &cookie)]].concat()).await;
        assert_eq!((opened.status.as_u16(), opened.text().as_str()), (200, "hello"));
        assert_eq!(origin.last_seen().headers["cookie"], "theme=dark");
    }
    assert!(origin.seen().iter().all(|seen| !seen.target.starts_with("/.spoolway")));
}

#[tokio::test]
async fn programs_frames_and_sockets_never_meet_it() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let shared = rig.service.shared_connection(&rig.printer.id, None).await;
    let locked = rig.service.shared_connection(&rig.printer.id, Some("password")).await;
    for (method, headers, expected) in [
        (Method::GET, &NAVIGATION[..], 303),
        (Method::GET, &[HTML], 303),
        (Method::HEAD, &[HTML], 200),
        (Method::POST, &NAVIGATION, 200),
        (Method::PUT, &[HTML], 200),
        (Method::DELETE, &[HTML], 200),
        (Method::GET, &[], 200),
        (Method::GET, &[("accept", "*/*")], 200),
        (Method::GET, &[("accept", "application/json")], 200),
        (Method::GET, &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")], 200),
        (Method::GET, &[HTML, ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")], 200),
        (Method::GET, &[HTML, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], 200),
        (Method::GET, &[HTML, ("cookie", "__spoolway_notice=seen")], 200),
        (Method::GET, &[HTML, ("cookie", "__spoolway_notice=")], 303),
        (Method::GET, &[HTML, ("cookie", "x__spoolway_notice=seen")], 303),
    ] {
        for protocol in Protocol::ALL {
            let exchange = send(&rig.client(protocol), method.clone(), &shared.host, headers).await;
            assert_eq!(exchange.status.as_u16(), expected, "{method} with {headers:?} in {protocol:?}");
        }
    }
    let client = rig.client(Protocol::Http1);
    // Whoever has a password was told by its page; an app's host is no place for people.
    let asked = client.get(&locked.host, "/", &NAVIGATION).await;
    assert!(asked.header("location").starts_with("/.spoolway/password"), "{asked:?}");
    let app = rig.get(Protocol::Http1, "/", &NAVIGATION).await;
    assert_eq!(app.status.as_u16(), 200);
    let no_method = send(&client, Method::DELETE, &shared.host, &[]).await;
    assert_eq!(no_method.status.as_u16(), 200, "any other path is the printer's");
}

#[tokio::test]
async fn only_its_own_form_puts_it_away_and_leads_nowhere_else() {
    let origin = Origin::saying("hello").await;
    let rig = Rig::start(origin.address()).await;
    let shared = rig.service.shared_connection(&rig.printer.id, None).await;
    let client = rig.client(Protocol::Http1);
    let own = format!("http://{}", shared.host);
    for (from, expected) in [(own.as_str(), 303), ("http://evil.example", 403), ("null", 403)] {
        let sent = send_form(&client, &shared, "return-to=%2F", &[("origin", from)]).await;
        assert_eq!(sent.status.as_u16(), expected, "{from}");
        assert_eq!(sent.headers.contains_key("set-cookie"), expected == 303, "{from}");
    }
    for target in ["https%3A%2F%2Fevil.example%2F", "%2F%2Fevil.example", "%2F.spoolway%2Fnotice", "javascript:1", ""] {
        let sent = send_form(&client, &shared, &format!("return-to={target}"), &[]).await;
        assert_eq!((sent.status.as_u16(), sent.header("location")), (303, "/"), "{target}");
    }
    let request = Request::put(PAGE).header("host", &shared.host).body(Full::default()).unwrap();
    let refused = client.exchange(request).await;
    assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, "GET, POST"));
}

#[tokio::test]
async fn the_operator_says_whom_to_tell_or_switches_it_off() {
    let origin = Origin::saying("hello").await;
    for is_on in [true, false] {
        let service = TestService::start_with(|config| {
            config.shared_notice = is_on;
            config.site.abuse_contact = Some("<abuse@example.org>".to_owned());
        })
        .await;
        let printer = service.add_printer().await;
        let shared = service.shared_connection(&printer.id, None).await;
        let _agent = TestAgent::start(&service, &printer, origin.address()).await;
        let client = Client::new(service.address());
        let first = client.get(&shared.host, "/", &NAVIGATION).await;
        assert_eq!(first.status.as_u16(), if is_on { 303 } else { 200 });
        let page = client.get(&shared.host, PAGE, &NAVIGATION).await;
        if is_on {
            assert!(page.text().contains("Tell &#60;abuse@example.org&#62;."), "{}", page.text());
        } else {
            assert_eq!((page.status.as_u16(), page.header("location")), (303, "/"));
        }
    }
}

async fn send(client: &Client, method: Method, host: &str, headers: &[(&str, &str)]) -> Exchange {
    let mut request = Request::builder().method(method).uri("/").header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.exchange(request.body(Full::default()).unwrap()).await
}

async fn send_form(client: &Client, shared: &SharedAccess, form: &str, headers: &[(&str, &str)]) -> Exchange {
    let mut request =
        Request::post(PAGE).header("host", &shared.host).header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.exchange(request.body(Full::new(Bytes::from(form.to_owned()))).unwrap()).await
}
