//! A site with people, their browsers and a printer whose agent the test plays.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use cluster::InProcess;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use model::link::PrinterStatus;
use model::printing::PrinterState;
use model::{AccountId, PrinterId, Secret, SessionId};
use parking_lot::Mutex;
use relay::link::{Link, LinkBody, LinkBodyError, LinkError, Upgrade};
use relay::live::LivePrinters;
use relay::relay::LinkDirectory;
use relay::upload::UploadBody;
use relay::{Authority, ClientAddress, PluginRegister, SiteNames};
use roxmltree::{Document, ParsingOptions};
use store::{EmailAddress, NewSession, PasswordHash, Store};
use tower::ServiceExt as _;
use web::{Readiness, ReadyCheck, SiteSettings, SiteState, router};

use crate::api::fixture::Answer;
use crate::site::site_state;

/// A site, with the store and the links that it looks at.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) live: LivePrinters,
    pub(crate) directory: LinkDirectory,
    pub(crate) state: SiteState,
    router: Router,
    data: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(SiteSettings::default(), "http").await
    }

    pub(crate) async fn with(settings: SiteSettings, scheme: &str) -> Self {
        let data = tempfile::tempdir().expect("a directory can be made");
        let store = Store::open(&store::DatabaseUrl::in_data_directory(data.path())).await.expect("a new database");
        let directory: LinkDirectory = Arc::new(InProcess::<Arc<dyn Link>>::default());
        let live = LivePrinters::new(Arc::clone(&directory));
        let ready: ReadyCheck = Arc::new(|| Box::pin(async { Readiness::Ready }));
        let mut state = site_state(store.clone(), live.clone(), settings, ready);
        state.plugins = PluginRegister::new(data.path().join("plugin-key.pem"));
        let domain: Authority = "localhost:8080".parse().expect("a domain");
        let names = SiteNames { scheme: scheme.to_owned(), domain: domain.clone(), printers_domain: domain };
        state.names = Arc::new(names);
        let router = router(state.clone());
        Self { store, live, directory, state, router, data }
    }

    /// One that plugins know by a key.
    pub(crate) async fn with_plugins(settings: SiteSettings, key: &[u8]) -> Self {
        let world = Self::with(settings, "http").await;
        std::fs::write(world.data.path().join("plugin-key.pem"), key).expect("the directory is there");
        world
    }

    /// An account, with a password if one is given.
    pub(crate) async fn account(&self, email: &str, password: Option<&str>) -> AccountId {
        let hash = password.map(|text| PasswordHash::create(&Secret::new(text)).expect("long enough"));
        self.store.add_account(&address(email), None, hash.as_ref(), now()).await.expect("a new account")
    }

    pub(crate) async fn printer(&self, owner: &str, name: &str) -> PrinterId {
        let name = name.parse().expect("a name");
        self.store.add_printer(&address(owner), &name, now()).await.expect("a new printer").id
    }

    /// A browser of somebody who is signed in.
    pub(crate) async fn signed_in(&self, account: &AccountId) -> (SessionId, Browser<'_>) {
        let lifetime = Duration::from_secs(3600);
        let session = NewSession { user_agent: "Test".to_owned(), address: None, lifetime };
        let (id, token) = self.store.create_session(account, session, now()).await.expect("a session");
        let mut browser = self.browser();
        browser.cookies.insert("spoolway_session".to_owned(), token.expose().to_owned());
        (id, browser)
    }

    /// A browser that nobody is signed in with.
    pub(crate) fn browser(&self) -> Browser<'_> {
        Browser {
            world: self,
            cookies: BTreeMap::new(),
            address: IpAddr::from([192, 0, 2, 1]),
            user_agent: "Test".to_owned(),
        }
    }

    /// An answer whose body is still to come.
    pub(crate) async fn open(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.expect("the router is infallible")
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.open(request).await;
        let (parts, mut body) = response.into_parts();
        let media_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_endless = media_type.is_some_and(|text| text.starts_with("text/event-stream"));
        let body = if is_endless {
            let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("something comes");
            frame.and_then(Result::ok).and_then(|frame| frame.into_data().ok()).unwrap_or_default()
        } else {
            body.collect().await.expect("it arrives whole").to_bytes()
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

/// One browser, with its cookies.
#[derive(Clone)]
pub(crate) struct Browser<'a> {
    pub(crate) world: &'a World,
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) address: IpAddr,
    pub(crate) user_agent: String,
}

impl Browser<'_> {
    pub(crate) fn coming_from(mut self, address: [u8; 4]) -> Self {
        self.address = IpAddr::from(address);
        self
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .extension(ClientAddress(self.address))
            .header(header::USER_AGENT, &self.user_agent);
        if cookies.is_empty() { request } else { request.header(header::COOKIE, cookies.join("; ")) }
    }

    /// Sends a request and keeps the cookies of its answer.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Answer {
        let answer = self.world.send(request).await;
        for cookie in answer.headers.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().expect("cookies are ASCII");
            let (pair, attributes) = cookie.split_once(';').expect("cookies have attributes");
            let (name, value) = pair.split_once('=').expect("cookies have values");
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = self.request(Method::GET, path).body(Body::empty()).expect("a request");
        self.send(request).await
    }

    /// The token that the site puts into this browser's forms.
    pub(crate) async fn form_token(&mut self) -> String {
        // A page that has a form for everybody.
        let page = self.get("/developers").await.text();
        let token = page.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        token.expect("a form").to_owned()
    }

    /// Sends a form as a page of the site does.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.form_token().await;
        let request = self.form(path, Some(&token), fields);
        self.send(request).await
    }

    pub(crate) fn form(&self, path: &str, token: Option<&str>, fields: &[(&str, &str)]) -> Request<Body> {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        if let Some(token) = token {
            body.append_pair("form_token", token);
        }
        let request = self.request(Method::POST, path);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(Body::from(body.finish())).expect("a request")
    }

    /// Whether the site knows who this is.
    pub(crate) async fn is_signed_in(&mut self) -> bool {
        self.get("/settings").await.status == StatusCode::OK
    }
}

/// An agent that says and shows what the test wants.
#[derive(Default)]
pub(crate) struct PlayedAgent {
    pub(crate) state: Mutex<Option<PrinterState>>,
    pub(crate) status: Mutex<PrinterStatus>,
    pub(crate) snapshot: Mutex<Option<Bytes>>,
    /// Whether its camera goes on after the first picture, as cameras do.
    pub(crate) is_endless: AtomicBool,
    /// What it answers when it is asked for a key of OctoPrint; it cannot reach it if there is none.
    pub(crate) octoprint_key: Mutex<Option<&'static str>>,
    /// What it was asked for.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl PlayedAgent {
    pub(crate) fn connect(world: &World, printer: &PrinterId, state: PrinterState) -> Arc<Self> {
        let agent = Arc::new(Self { state: Mutex::new(Some(state.bounded())), ..Self::default() });
        agent.status.lock().reachable = true;
        world.directory.register(printer, agent.clone());
        agent
    }
}

impl Link for PlayedAgent {
    fn call(&self, _: Request<UploadBody>) -> BoxFuture<'_, Result<Response<LinkBody>, LinkError>> {
        async { Err(LinkError::Lost) }.boxed()
    }

    fn open_websocket(&self, _: Request<()>) -> BoxFuture<'_, Result<Upgrade, LinkError>> {
        async { Err(LinkError::Lost) }.boxed()
    }

    fn call_agent(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<LinkBody>, LinkError>> {
        let path = request.uri().path().to_owned();
        self.asked.lock().push(format!("{} {path}", request.method()));
        let (mut status, mut media_type, mut bytes) = (StatusCode::NOT_FOUND, "text/plain", Bytes::new());
        if path == "/octoprint-key" {
            let Some(key) = *self.octoprint_key.lock() else {
                return async { Err(LinkError::TargetUnreachable("it is off".to_owned())) }.boxed();
            };
            status = StatusCode::OK;
            bytes = format!("{{\"apiKey\": \"{key}\"}}").into();
            media_type = "application/json";
        } else if path.starts_with("/command/") {
            status = StatusCode::NO_CONTENT;
        } else if let Some(picture) = self.snapshot.lock().clone() {
            status = StatusCode::OK;
            bytes = picture;
            media_type =
                if path.ends_with("/stream") { "multipart/x-mixed-replace; boundary=frame" } else { "image/jpeg" };
        }
        let is_endless = path.ends_with("/stream") && self.is_endless.load(Ordering::Relaxed);
        async move {
            let body: LinkBody = if is_endless {
                let first = stream::once(async { Ok::<_, LinkBodyError>(Frame::data(bytes)) });
                Box::pin(StreamBody::new(first.chain(stream::pending())))
            } else {
                Box::pin(Full::new(bytes).map_err(|never| -> LinkBodyError { match never {} }))
            };
            let mut response = Response::new(body);
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, media_type.parse().expect("a media type"));
            Ok(response)
        }
        .boxed()
    }

    fn printer_status(&self) -> PrinterStatus {
        self.status.lock().clone()
    }

    fn printer_state(&self) -> Option<PrinterState> {
        self.state.lock().clone()
    }

    fn agent_version(&self) -> String {
        "1".to_owned()
    }

    fn has_capability(&self, _: &str) -> bool {
        true
    }

    fn connected_at(&self) -> SystemTime {
        now()
    }

    fn round_trip(&self) -> Option<Duration> {
        None
    }

    fn drain(&self, _: Duration) {}

    fn close_when_idle(&self) {}

    fn close(&self) {}

    fn open_streams(&self) -> usize {
        0
    }
}

pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

pub(crate) fn address(text: &str) -> EmailAddress {
    text.parse().expect("an address")
}

/// The page, read by a strict parser. Characters that HTML takes and XML does not are left out.
pub(crate) fn with_document<T>(page: &str, look: impl FnOnce(&Document<'_>) -> T) -> T {
    let page: String = page.chars().filter(|c| !matches!(c, '\u{fffe}' | '\u{ffff}')).collect();
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&page, options).unwrap_or_else(|error| panic!("{error} in\n{page}"));
    look(&document)
}
