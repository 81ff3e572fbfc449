//! Commands at the service's door: what the agent is told of their caller, and what never reaches it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::Full;
use model::Limits;
use relay::Timeouts;
use relay::timeouts::AnswerTimeouts;
use store::{AuditKind, ConnectionLookup};
use testkit::{
    AppAccess, Client, Exchange, Protocol, RawAgent, Rig, SharedAccess, TestService, wait_for_answer, wait_until,
};
use tokio_util::sync::CancellationToken;
use tunnel::agent_side::{Answer, PrinterHandler, serve};
use tunnel::body::RecvBody;

const PREFIX: &str = "/octoeverywhere-command-api/";

/// An agent that answers with what it was told of the caller.
#[derive(Default)]
struct Teller {
    asked: AtomicUsize,
}

impl PrinterHandler for Teller {
    type Body = Full<Bytes>;

    fn call(&self, request: Request<RecvBody>) -> BoxFuture<'static, Answer<Full<Bytes>>> {
        let is_slow = request.uri().path().ends_with("/home") || request.uri().path() == "/slow";
        if request.uri().authority().is_some_and(|authority| authority == model::wire::PRINTER_AUTHORITY) {
            self.asked.fetch_add(1, Ordering::SeqCst);
        }
        let told: Vec<String> = request
            .headers()
            .iter()
            .filter(|(name, _)| name.as_str().contains("caller"))
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        async move {
            if is_slow {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Answer::Response(Response::new(Full::from(told.join(","))))
        }
        .boxed()
    }
}

struct Stage {
    service: TestService,
    teller: Arc<Teller>,
    app: AppAccess,
    shared: SharedAccess,
    stop: CancellationToken,
}

impl Stage {
    async fn set() -> Self {
        let short = Duration::from_millis(500);
        let answer = AnswerTimeouts { without_body: short, after_body: short, ..Timeouts::DEFAULT.answer };
        let service =
            TestService::start_with(|config| config.timeouts = Timeouts { answer, ..Timeouts::DEFAULT }).await;
        let (printer, app) = Rig::printer_on(&service, Limits::default()).await;
        let shared = service.shared_connection(&printer.id, None).await;
        let stream = RawAgent::new(&printer).link(&service).await;
        let (teller, stop) = (Arc::new(Teller::default()), CancellationToken::new());
        tokio::spawn(serve(stream, Arc::clone(&teller), stop.clone()));
        let (relay, id) = (service.relay().clone(), printer.id.clone());
        wait_until("the agent is linked", || relay.printers_here().contains(&id)).await;
        Self { service, teller, app, shared, stop }
    }

    async fn app(&self, protocol: Protocol, method: Method, path: &str, headers: &[(&str, &str)]) -> Exchange {
        let mut request = self.app.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client = Client::speaking(protocol, self.service.address());
        client.exchange(request.body(Full::default()).unwrap()).await
    }

    async fn shared(&self, path: &str, headers: &[(&str, &str)]) -> Exchange {
        Client::new(self.service.address()).get(&self.shared.host, path, headers).await
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn the_agent_is_told_who_calls_and_visitors_cannot_say_it() {
    let stage = Stage::set().await;
    let said = [
        ("spoolway-caller", "owner control full"),
        ("Spoolway_Caller", "owner control full"),
        ("x-spoolway-caller", "owner control full"),
    ];
    for protocol in Protocol::ALL {
        let pause = stage.app(protocol, Method::POST, &format!("{PREFIX}pause"), &said).await;
        assert_eq!((pause.status.as_u16(), pause.text().as_str()), (200, "spoolway-caller=app control"));
        let other = stage.app(protocol, Method::GET, "/api/version", &said).await;
        assert_eq!((other.status.as_u16(), other.text().as_str()), (200, ""), "it is no command");
    }
    let status = format!("{PREFIX}status");
    assert_eq!(stage.shared(&status, &said).await.text(), "spoolway-caller=shared");
    let foreign = [("sec-fetch-site", "cross-site"), ("origin", "https://elsewhere.example")];
    assert_eq!(stage.shared(&status, &foreign).await.text(), "spoolway-caller=shared");
}

#[tokio::test]
async fn the_owner_lets_an_app_speak_the_printers_language_and_reads_of_it() {
    let stage = Stage::set().await;
    let store = stage.service.store();
    let native = format!("{PREFIX}send-command");
    let owner = {
        let lookup = store.connection_by_id(&stage.app.id).await.unwrap();
        let ConnectionLookup::Alive(connection) = lookup else { panic!("{lookup:?}") };
        connection.account
    };
    for (allow, told) in [(true, "spoolway-caller=app control full"), (false, "\"Status\":403")] {
        store.set_full_control_of(&owner, &stage.app.id, allow, SystemTime::now()).await.unwrap();
        wait_for_answer("the change to take effect", async || {
            stage.app(Protocol::Http1, Method::POST, &native, &[]).await.text().contains(told).then_some(())
        })
        .await;
    }
    // Never what tells the printer's passwords.
    let secrets = stage.app(Protocol::Http1, Method::POST, &format!("{PREFIX}get-connection-info"), &[]).await;
    assert!(secrets.text().contains("403"), "{}", secrets.text());
    let noted = wait_for_answer("the owner's log", async || {
        let log = store.audit_log(&owner, None, 10).await.unwrap();
        log.into_iter().find(|entry| entry.kind == AuditKind::NativeMessageSent)
    })
    .await;
    assert!(noted.address.is_some() && !noted.subject.is_empty(), "{noted:?}");
}

#[tokio::test]
async fn what_is_not_allowed_is_answered_here_as_the_agent_would() {
    let stage = Stage::set().await;
    let before = stage.teller.asked.load(Ordering::SeqCst);
    for protocol in Protocol::ALL {
        for path in
            ["rekey", "REKEYx", "%72ekey", "get-connection-info", "get-connection-info%20", "send-command", "/pause"]
        {
            let refused = stage.app(protocol, Method::POST, &format!("{PREFIX}{path}"), &[]).await;
            assert_eq!((refused.status.as_u16(), refused.header("content-type")), (200, "text/json"), "{path}");
            assert!(refused.text().starts_with("{\"Status\":403,"), "{path}: {}", refused.text());
            assert_eq!((refused.header("x-spoolway-error"), refused.header("access-control-allow-origin")), ("", "*"));
        }
        let foreign = [("sec-fetch-site", "cross-site")];
        let linked = stage.app(protocol, Method::GET, &format!("{PREFIX}cancel"), &foreign).await;
        assert!(linked.text().starts_with("{\"Status\":403,"), "{}", linked.text());
    }
    // A link gives the printer's own pages, and its login is not gone round by commands.
    for command in ["get-plugin-logs", "pause", "files/list", "files/download?path=gcode/a.gcode"] {
        assert!(stage.shared(&format!("{PREFIX}{command}"), &[]).await.text().contains("403"), "{command}");
    }
    let authorization = stage.app.bearer_header();
    let headers = [("authorization", authorization.as_str())];
    for protocol in Protocol::ALL {
        let client = Client::speaking(protocol, stage.service.address());
        let refused = client.websocket(&stage.app.host, &format!("{PREFIX}status"), &headers).await.err().unwrap();
        assert_eq!(refused.status.as_u16(), 403, "a success would open it");
    }
    assert_eq!(stage.teller.asked.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn a_command_may_take_longer_than_a_page() {
    let stage = Stage::set().await;
    let homed = stage.app(Protocol::Http1, Method::POST, &format!("{PREFIX}home"), &[]).await;
    assert_eq!(homed.status.as_u16(), 200);
    let slow = stage.app(Protocol::Http1, Method::GET, "/slow", &[]).await;
    assert_eq!(slow.status.as_u16(), 602);
}
