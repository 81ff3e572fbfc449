//! A site under test.

use std::sync::Arc;

use axum::body::Body;
use cluster::InProcess;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use relay::link::Link;
use relay::live::LivePrinters;
use relay::relay::LinkDirectory;
use relay::{Authority, SiteNames};
use roxmltree::{Document, ParsingOptions};
use store::Store;
use tower::ServiceExt as _;
use web::outbound::{Outbound, OutboundOptions};
use web::passkeys::Passkeys;
use web::{Readiness, ReadyCheck, SiteSettings, SiteState, router};

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The page. Templates keep to the part of HTML that is XML too, so that a strict parser can vouch for them.
    pub(crate) fn document(&self) -> Document<'_> {
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        Document::parse_with_options(&self.body, options).unwrap_or_else(|error| panic!("{error} in\n{}", self.body))
    }
}

pub(crate) async fn get(path: &str) -> Answer {
    ask(Method::GET, path, Arc::new(|| Box::pin(async { Readiness::Ready }))).await
}

pub(crate) async fn ask(method: Method, path: &str, ready: ReadyCheck) -> Answer {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a valid request");
    let data = tempfile::tempdir().expect("a directory can be made");
    let store = Store::open(&store::DatabaseUrl::in_data_directory(data.path())).await.expect("a new database");
    let directory: LinkDirectory = Arc::new(InProcess::<Arc<dyn Link>>::default());
    let state = site_state(store, LivePrinters::new(directory), SiteSettings::default(), ready);
    let response = router(state).oneshot(request).await.expect("the router is infallible");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("the body is in memory").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("the site sends UTF-8");
    Answer { status: parts.status, headers: parts.headers, body }
}

/// The state of a site at `http://localhost:8080`.
pub(crate) fn site_state(store: Store, live: LivePrinters, settings: SiteSettings, ready: ReadyCheck) -> SiteState {
    let domain: Authority = "localhost:8080".parse().expect("a domain");
    let names = SiteNames { scheme: "http".to_owned(), domain: domain.clone(), printers_domain: domain };
    SiteState {
        store,
        live,
        plugins: relay::PluginRegister::new("/nowhere/plugin-key.pem".into()),
        owner_views: relay::owner_views::OwnerViews::default(),
        names: Arc::new(names),
        settings: Arc::new(settings),
        mailer: None,
        oidc: None,
        outbound: Outbound::new(OutboundOptions::default()).expect("a client can be made"),
        passkeys: Passkeys::new("http://localhost:8080").map(Arc::new),
        ready,
        attempts: Arc::default(),
        viewers: Default::default(),
        stopping: Default::default(),
        second_factors: Arc::default(),
    }
}
