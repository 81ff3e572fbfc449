//! A printer's own host: who gets in with the site's tickets, and what ends it.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use http_body_util::Full;
use model::{AccountId, Label, Limits, PrinterId, Secret, SecretHash, SessionId};
use store::{EmailAddress, NewSession, Role};
use testkit::{Client, Ending, Exchange, Origin, Protocol, Rig, TestAgent, TestPrinter, TestService, accept_websocket};
use tokio_tungstenite::tungstenite::Message;

/// The specification says one second; a busy machine gets some more.
const CUT_LIMIT: Duration = Duration::from_secs(8);
/// What the host gave to the browser of these tests.
const ARRIVING: &str = "__spoolway_arriving=Zm9yIHRoZXNlIHRlc3RzIG9ubHkgYWFh";
const NAVIGATION: (&str, &str) = ("sec-fetch-mode", "navigate");

#[tokio::test]
async fn an_owner_is_handed_over_once_and_gets_in() {
    let stage = Stage::set().await;
    let (session, _) = stage.sign_in(&stage.printer.account).await;
    for protocol in Protocol::ALL {
        let client = Client::speaking(protocol, stage.service.address());
        let sent = client.get(&stage.host, "/files?a=1", &[NAVIGATION]).await;
        let domain = stage.service.domain();
        let (arriving, attributes) = sent.header("set-cookie").split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/.spoolway/; Max-Age=900; HttpOnly; SameSite=Lax");
        let browser = SecretHash::of(arriving.split_once('=').unwrap().1);
        let expected = format!("http://{domain}/open/{}?browser={}&to=%2Ffiles%3Fa%3D1", stage.label, browser.to_hex());
        assert_eq!((sent.status.as_u16(), sent.header("location")), (303, expected.as_str()));
        let second_tab = client.get(&stage.host, "/.spoolway/enter?to=/", &[NAVIGATION, ("cookie", arriving)]).await;
        assert!(second_tab.header("location").contains(&browser.to_hex()), "{}", second_tab.header("location"));

        let ticket = stage.issue_to(browser, &session, &stage.printer.account, Instant::now());
        let enter = format!("/.spoolway/enter?ticket={}&to=%2Ffiles%3Fa%3D1", ticket.expose());
        let coming = [NAVIGATION, ("sec-fetch-site", "same-site"), ("cookie", arriving)];
        let entered = client.get(&stage.host, &enter, &coming).await;
        assert_eq!((entered.status.as_u16(), entered.header("location")), (303, "/files?a=1"));
        assert_eq!(entered.header("cache-control"), "no-store");
        assert_eq!(entered.header("referrer-policy"), "no-referrer");
        let (cookie, attributes) = entered.header("set-cookie").split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");

        let cookies = format!("theme=dark; {cookie}");
        let inside =
            client.get(&stage.host, "/files?a=1", &[("cookie", &cookies), ("authorization", "Basic eDp5")]).await;
        assert_eq!((inside.status.as_u16(), inside.text().as_str()), (200, "hello"));
        let seen = stage.origin.last_seen();
        assert_eq!(seen.headers["cookie"], "theme=dark");
        assert_eq!(seen.headers["authorization"], "Basic eDp5");

        // Going back in the browser.
        let again = client.get(&stage.host, &enter, &[NAVIGATION, ("cookie", cookie)]).await;
        assert_eq!((again.status.as_u16(), again.header("location")), (303, "/files?a=1"));
        assert!(!again.headers.contains_key("set-cookie"));
        let stranger = client.get(&stage.host, &enter, &[]).await;
        assert_eq!(stranger.status.as_u16(), 606, "a second use");
        let away = client.get(&stage.host, &format!("{enter}//evil"), &[NAVIGATION, ("cookie", arriving)]).await;
        assert!(away.header("location").starts_with(&format!("http://{domain}/open/")), "a second use");
    }
    assert!(stage.origin.seen().iter().all(|seen| !format!("{seen:?}").contains("spoolway_owner")));
}

/// A ticket that was read on its way, or that somebody gives to another person to have them use a foreign account.
#[tokio::test]
async fn a_ticket_is_good_only_in_the_browser_that_asked_for_it() {
    let stage = Stage::set().await;
    let (session, _) = stage.sign_in(&stage.printer.account).await;
    let enter = async |cookie: Option<&str>| {
        let ticket = stage.issue(&session, &stage.printer.account, Instant::now());
        let mut headers = vec![NAVIGATION];
        headers.extend(cookie.map(|cookie| ("cookie", cookie)));
        stage.client().get(&stage.host, &format!("/.spoolway/enter?ticket={}", ticket.expose()), &headers).await
    };
    for cookie in ["a=b", "__spoolway_arriving=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "__spoolway_arriving="] {
        let sent = enter(Some(cookie)).await;
        assert_eq!(sent.status.as_u16(), 303, "{cookie}");
        assert!(sent.header("location").contains("/open/"), "{cookie} lets nobody in");
        assert!(!sent.header("set-cookie").contains("__spoolway_owner"), "{cookie}");
    }
    let without = enter(None).await;
    assert_eq!(without.status.as_u16(), 400, "it would be sent round for ever");
    assert!(without.text().contains("cookies"));
    assert!(enter(Some(ARRIVING)).await.header("set-cookie").starts_with("__spoolway_owner="));
}

#[tokio::test]
async fn everybody_else_stays_outside() {
    let stage = Stage::set().await;
    let owner = stage.printer.account.clone();
    let (operator, viewer) = (stage.member(Role::Operator).await, stage.member(Role::Viewer).await);
    let other = stage.service.add_printer().await;
    let other_host = stage.host_of(&other).await.0;
    let (session, _) = stage.sign_in(&owner).await;
    let now = Instant::now();

    // Who was given a ticket, though the site would not have.
    for (who, account, expected) in [
        ("the owner", &owner, true),
        ("an operator", &operator, true),
        ("a viewer", &viewer, false),
        ("another tenant", &other.account, false),
    ] {
        let (session, _) = stage.sign_in(account).await;
        let ticket = stage.issue(&session, account, now);
        assert_eq!(stage.enter(&stage.host, &ticket).await.is_some(), expected, "{who}");
    }
    let late = now.checked_sub(Duration::from_secs(61)).unwrap();
    assert_eq!(stage.enter(&stage.host, &stage.issue(&session, &owner, late)).await, None, "after 61 s");
    let ticket = stage.issue(&session, &owner, now);
    assert_eq!(stage.enter(&other_host, &ticket).await, None, "at another printer's host");
    assert_eq!(stage.enter(&stage.host, &ticket).await, None, "after it was shown there");
    let ended = stage.issue(&session, &owner, now);
    stage.service.store().end_session(&owner, &session, SystemTime::now()).await.unwrap();
    assert_eq!(stage.enter(&stage.host, &ended).await, None, "after the session");
    assert_eq!(stage.enter(&stage.host, &Secret::generate()).await, None, "never issued");

    let (session, _) = stage.sign_in(&owner).await;
    let cookie = stage.enter(&stage.host, &stage.issue(&session, &owner, now)).await.unwrap();
    let unknown = format!("p-{}.{}", Label::generate(), stage.service.relay().names().printers_domain);
    for (host, cookie, expected) in [
        (&stage.host, cookie.as_str(), 200),
        (&stage.host, "", 606),
        (&stage.host, "__spoolway_owner=", 606),
        (&stage.host, "__spoolway_owner=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 606),
        (&other_host, cookie.as_str(), 606),
        (&unknown, cookie.as_str(), 603),
        (&unknown, "", 603),
    ] {
        assert_eq!(stage.get(host, &[("cookie", cookie)]).await.status.as_u16(), expected, "{host} {cookie}");
    }
    let navigation = stage.get(&unknown, &[NAVIGATION]).await;
    assert_eq!(navigation.status.as_u16(), 603, "people are not sent to sign in for nothing");
    let posted = Request::builder().method(Method::POST).uri("/.spoolway/enter").header("host", &stage.host);
    let posted = stage.client().exchange(posted.body(Full::default()).unwrap()).await;
    assert_eq!(posted.status.as_u16(), 405);
}

/// Printers' hosts are one site to a browser: it sends the cookie along when another printer's page asks.
#[tokio::test]
async fn a_page_of_another_host_cannot_use_the_cookie() {
    let stage = Stage::set().await;
    let cookie = stage.owner_cookie().await;
    let own = format!("http://{}", stage.host);
    let foreign = format!("http://shared-{}.localhost", Label::generate());
    let document = [NAVIGATION, ("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")];
    let frame = [NAVIGATION, ("sec-fetch-site", "same-site"), ("sec-fetch-dest", "iframe")];
    let image = [("sec-fetch-mode", "no-cors"), ("sec-fetch-site", "same-site"), ("sec-fetch-dest", "image")];
    for (headers, expected) in [
        (&[][..], 200),
        (&[("origin", own.as_str())], 200),
        (&[("origin", foreign.as_str())], 606),
        (&[("origin", "null")], 606),
        (&[("sec-fetch-site", "same-origin")], 200),
        (&document, 200),
        (&frame, 303),
        (&image, 606),
    ] {
        let headers = [&[("cookie", cookie.as_str())], headers].concat();
        assert_eq!(stage.get(&stage.host, &headers).await.status.as_u16(), expected, "{headers:?}");
    }
    for (origin, expected) in
        [(Some(own.as_str()), None), (Some(foreign.as_str()), Some(606)), (Some("null"), Some(606)), (None, Some(606))]
    {
        for protocol in Protocol::ALL {
            let mut headers = vec![("cookie", cookie.as_str())];
            headers.extend(origin.map(|origin| ("origin", origin)));
            let client = Client::speaking(protocol, stage.service.address());
            let opened = client.websocket(&stage.host, "/ws", &headers).await;
            let refused = opened.err().map(|refused| refused.status.as_u16());
            assert_eq!(refused, expected, "{origin:?} in {protocol:?}");
        }
    }
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/")
        .header("host", &stage.host)
        .header("origin", &foreign)
        .header("access-control-request-method", "DELETE");
    let preflight = stage.client().exchange(preflight.body(Full::default()).unwrap()).await;
    assert!(!preflight.headers.contains_key("access-control-allow-origin"));
}

#[derive(Clone, Copy, Debug)]
enum Cause {
    SignedOut,
    PasswordChanged,
    RoleTaken,
    AccountDeleted,
    OwnerDeleted,
    PrinterRemoved,
}

#[tokio::test]
async fn what_ends_it_cuts_what_is_open() {
    for cause in [
        Cause::SignedOut,
        Cause::PasswordChanged,
        Cause::RoleTaken,
        Cause::AccountDeleted,
        Cause::OwnerDeleted,
        Cause::PrinterRemoved,
    ] {
        let stage = Stage::set().await;
        let account = stage.member(Role::Operator).await;
        let (session, _) = stage.sign_in(&account).await;
        let ticket = stage.issue(&session, &account, Instant::now());
        let cookie = stage.enter(&stage.host, &ticket).await.unwrap();
        let kept = stage.owner_cookie().await;
        let own = format!("http://{}", stage.host);
        let open = async |cookie: &str| {
            let mut socket = stage
                .client()
                .websocket(&stage.host, "/ws", &[("cookie", cookie), ("origin", &own)])
                .await
                .ok()
                .unwrap();
            assert_eq!(socket.next_message().await, Message::text("hello"));
            socket
        };
        let (mut cut, mut going_on) = (open(&cookie).await, open(&kept).await);
        let (store, now, printer) = (stage.service.store(), SystemTime::now(), &stage.printer);
        match cause {
            Cause::SignedOut => store.end_session(&account, &session, now).await.unwrap(),
            Cause::PasswordChanged => {
                let hash = store::PasswordHash::create(&Secret::new("correct horse battery")).unwrap();
                store.set_password(&account, &hash, None, now).await.unwrap();
            }
            Cause::RoleTaken => store.remove_member(&printer.account, &printer.id, &account, now).await.unwrap(),
            Cause::AccountDeleted => store.delete_account_by_id(&account, now).await.unwrap(),
            Cause::OwnerDeleted => store.delete_account_by_id(&printer.account, now).await.unwrap(),
            Cause::PrinterRemoved => store.unlink_printer(&printer.account, &printer.id, now).await.unwrap(),
        }
        let ending = cut.ending_within(CUT_LIMIT).await;
        assert_eq!(ending, Ending::closed(4604, "connection_revoked"), "{cause:?}");
        let (after, is_gone) = match cause {
            Cause::OwnerDeleted | Cause::PrinterRemoved => (603, true),
            _ => (606, false),
        };
        assert_eq!(stage.get(&stage.host, &[("cookie", &cookie)]).await.status.as_u16(), after, "{cause:?}");
        if is_gone {
            assert_eq!(going_on.ending_within(CUT_LIMIT).await, ending, "{cause:?}");
        } else {
            going_on.messages.send(Message::text("still here")).await.unwrap();
            assert_eq!(going_on.next_message().await, Message::text("still here"), "{cause:?}");
        }
    }
}

#[tokio::test]
async fn files_are_limited_and_cameras_are_not() {
    let limits = Limits { max_download_bytes: Some(3), ..Limits::default() };
    let stage = Stage::set_with(limits).await;
    let cookie = stage.owner_cookie().await;
    assert_eq!(stage.get(&stage.host, &[("cookie", &cookie)]).await.status.as_u16(), 607);
    let request = Request::get("/webcam?action=stream").header("host", &stage.host).header("cookie", &cookie);
    let watched = stage.client().exchange(request.body(Full::default()).unwrap()).await;
    assert_eq!((watched.status.as_u16(), watched.text().as_str()), (200, "--frame\r\n\r\npicture"));
}

/// A printer behind an agent, and its own host.
struct Stage {
    service: TestService,
    printer: TestPrinter,
    label: Label,
    host: String,
    origin: Origin,
    _agent: TestAgent,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(Limits::default()).await
    }

    async fn set_with(limits: Limits) -> Self {
        let origin = Origin::start(|mut request| async move {
            match request.uri().path() {
                "/ws" => accept_websocket(&mut request, |mut socket| async move {
                    socket.send(Message::text("hello")).await.unwrap();
                    while let Some(Ok(message)) = socket.next().await {
                        if message.is_text() && socket.send(message).await.is_err() {
                            return;
                        }
                    }
                }),
                "/webcam" => http::Response::builder()
                    .header("content-type", "multipart/x-mixed-replace; boundary=frame")
                    .body(testkit::full("--frame\r\n\r\npicture"))
                    .unwrap(),
                _ => http::Response::new(testkit::full("hello")),
            }
        })
        .await;
        let service = TestService::start().await;
        let (printer, _) = Rig::printer_on(&service, limits).await;
        let agent = TestAgent::start(&service, &printer, origin.address()).await;
        let own = service.store().printer_of(&printer.account, &printer.id).await.unwrap();
        let host = format!("p-{}.{}", own.owner_label, service.relay().names().printers_domain);
        Self { service, printer, label: own.owner_label, host, origin, _agent: agent }
    }

    async fn host_of(&self, printer: &TestPrinter) -> (String, PrinterId) {
        let own = self.service.store().printer_of(&printer.account, &printer.id).await.unwrap();
        (format!("p-{}.{}", own.owner_label, self.service.relay().names().printers_domain), own.summary.id)
    }

    fn client(&self) -> Client {
        Client::new(self.service.address())
    }

    async fn get(&self, host: &str, headers: &[(&str, &str)]) -> Exchange {
        self.client().get(host, "/", headers).await
    }

    /// Another account with a role on the printer.
    async fn member(&self, role: Role) -> AccountId {
        let now = SystemTime::now();
        let email: EmailAddress = format!("{}@example.invalid", AccountId::generate()).parse().unwrap();
        let store = self.service.store();
        let account = store.add_account(&email, None, None, now).await.unwrap();
        let invitation = store.invite_member(&self.printer.account, &self.printer.id, &email, role, now).await.unwrap();
        store.accept_printer_invitation(&account, &invitation, now).await.unwrap();
        account
    }

    async fn sign_in(&self, account: &AccountId) -> (SessionId, Secret) {
        let new = NewSession {
            user_agent: "test".to_owned(),
            address: Some(IpAddr::from([127, 0, 0, 1])),
            lifetime: Duration::from_secs(3600),
        };
        self.service.store().create_session(account, new, SystemTime::now()).await.unwrap()
    }

    /// A ticket as the site issues it to the browser of these tests.
    fn issue(&self, session: &SessionId, account: &AccountId, now: Instant) -> Secret {
        self.issue_to(SecretHash::of(ARRIVING.split_once('=').unwrap().1), session, account, now)
    }

    fn issue_to(&self, browser: SecretHash, session: &SessionId, account: &AccountId, now: Instant) -> Secret {
        let views = self.service.owner_views();
        views.issue_at(session.clone(), account.clone(), self.printer.id.clone(), self.label.clone(), browser, now)
    }

    /// Shows a ticket; the cookie, if it is taken.
    async fn enter(&self, host: &str, ticket: &Secret) -> Option<String> {
        let path = format!("/.spoolway/enter?ticket={}", ticket.expose());
        let entered = self.client().get(host, &path, &[("cookie", ARRIVING)]).await;
        let cookie = entered.headers.get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
        assert_eq!(entered.status.as_u16(), if cookie.is_some() { 303 } else { 606 });
        cookie.map(|cookie| cookie.split(';').next().unwrap().to_owned())
    }

    async fn owner_cookie(&self) -> String {
        let (session, _) = self.sign_in(&self.printer.account).await;
        let ticket = self.issue(&session, &self.printer.account, Instant::now());
        self.enter(&self.host, &ticket).await.unwrap()
    }
}
