//! A site with a store of its own, and a printer whose link is played by the test.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use cluster::{InProcess, Registration};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use model::printing::PrinterState;
use model::{AccountId, PrinterId, Secret};
use parking_lot::Mutex;
use relay::link::Link;
use relay::live::LivePrinters;
use relay::relay::LinkDirectory;
use serde_json::Value;
use store::{AgentSeen, AppIdentity, EmailAddress, NewAppConnection, NewSession, Store};
use web::outbound::{Outbound, OutboundOptions};
use web::{Readiness, ReadyCheck, SiteSettings, SiteState, router};

use crate::site::site_state;
use crate::world::PlayedAgent;

/// Everything that one test needs.
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) directory: LinkDirectory,
    pub(crate) account: AccountId,
    pub(crate) printer: PrinterId,
    pub(crate) email: EmailAddress,
    router: Router,
    session: Secret,
    _directory: tempfile::TempDir,
}

impl Site {
    /// With one account that has one printer.
    pub(crate) async fn new() -> Self {
        Self::with(SiteSettings::default(), OutboundOptions::default()).await
    }

    pub(crate) async fn with(settings: SiteSettings, outbound: OutboundOptions) -> Self {
        let data = tempfile::tempdir().expect("a directory can be made");
        let store = Store::open(&store::DatabaseUrl::in_data_directory(data.path())).await.expect("a new database");
        let directory: LinkDirectory = Arc::new(InProcess::<Arc<dyn Link>>::default());
        let live = LivePrinters::new(Arc::clone(&directory));
        let ready: ReadyCheck = Arc::new(|| Box::pin(async { Readiness::Ready }));
        let outbound = Outbound::new(outbound).expect("a client can be made");
        let state = SiteState { outbound, ..site_state(store.clone(), live, settings, ready) };
        let email: EmailAddress = "ann@example.org".parse().expect("an address");
        let account = store.add_account(&email, None, None, now()).await.expect("a new account");
        let printer = add_printer(&store, &email, "My printer").await;
        let session = NewSession { user_agent: String::new(), address: None, lifetime: Duration::from_secs(3600) };
        let (_, session) = store.create_session(&account, session, now()).await.expect("a session");
        Self { store, directory, account, printer, email, router: router(state), session, _directory: data }
    }

    pub(crate) async fn add_printer(&self, name: &str) -> PrinterId {
        add_printer(&self.store, &self.email, name).await
    }

    /// An app's connection to the printer.
    pub(crate) async fn connect(&self) -> NewAppConnection {
        let app = AppIdentity { app_id: Some("devtest".to_owned()), name: "An app".parse().expect("a name") };
        let connected = self.store.create_app_connection_of(&self.account, &self.printer, &app, None, now()).await;
        connected.expect("the printer is the account's")
    }

    /// Plays an agent that says this of its printer.
    pub(crate) fn link(&self, state: Option<PrinterState>) -> Registration {
        self.link_to(&self.printer, PlayedAgent { state: Mutex::new(state), ..PlayedAgent::default() })
    }

    pub(crate) fn link_to(&self, printer: &PrinterId, agent: PlayedAgent) -> Registration {
        self.directory.register(printer, Arc::new(agent)).0
    }

    pub(crate) async fn say_seen(&self, software: &str) {
        let seen = AgentSeen {
            agent_version: "1".to_owned(),
            software: software.to_owned(),
            software_version: "1".to_owned(),
            lan_ip: "192.168.1.20".to_owned(),
        };
        self.store.record_agent_connected(&self.printer, now(), &seen).await.expect("the printer exists");
    }

    /// Sends what a browser that is signed in would.
    pub(crate) fn signed_in(&self, request: http::request::Builder) -> http::request::Builder {
        request.header(header::COOKIE, format!("spoolway_session={}", self.session.expose()))
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = tower::ServiceExt::oneshot(self.router.clone(), request).await.expect("it is infallible");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("it is in memory").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request(Method::GET, path, headers, "")).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send(request(Method::POST, path, headers, body)).await
    }

    /// A page as its owner sees it.
    pub(crate) async fn page(&self, path: &str) -> Answer {
        let request = self.signed_in(Request::builder().uri(path)).body(Body::empty()).expect("a request");
        self.send(request).await
    }

    /// Sends a form of a page that its owner sees.
    pub(crate) async fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self
            .signed_in(Request::builder().method(Method::POST).uri(path))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ORIGIN, "http://localhost:8080")
            .header("sec-fetch-site", "same-origin");
        self.send(request.body(Body::from(body)).expect("a request")).await
    }
}

pub(crate) fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).expect("a request")
}

async fn add_printer(store: &Store, owner: &EmailAddress, name: &str) -> PrinterId {
    store.add_printer(owner, &name.parse().expect("a name"), now()).await.expect("a new printer").id
}

pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The failure's code, if it is whole: status, header and envelope say the same.
    #[track_caller]
    pub(crate) fn assert_code(&self, code: u16) {
        assert_eq!(self.status.as_u16(), code, "{}", self.text());
        let body = self.json();
        assert_eq!(body["Status"], code);
        assert!(body["Error"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(body["IsUserError"].is_boolean() && body["Result"].is_null() && body.get("Result").is_some());
        if code >= 600 {
            assert_eq!(self.header("x-spoolway-error"), code.to_string());
        }
        assert_eq!(self.header("access-control-allow-origin"), "*");
    }
}
