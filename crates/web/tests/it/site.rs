//! A site under test.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use roxmltree::{Document, ParsingOptions};
use tower::ServiceExt as _;
use web::{Readiness, ReadyCheck, SiteState, router};

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
    let response = router(SiteState { ready }).oneshot(request).await.expect("the router is infallible");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("the body is in memory").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("the site sends UTF-8");
    Answer { status: parts.status, headers: parts.headers, body }
}
