//! Forms, and the proof that this site made them for this browser.

use axum::extract::{Form, FromRequest, FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::state::SiteState;

/// The largest form of the site holds a few texts.
const MAX_FORM: usize = 64 * 1024;

/// A form that came from a page which was made for this browser.
pub(crate) struct OwnForm<T>(pub(crate) T);

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    form_token: String,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OwnForm<T> {
    type Rejection = PageFailure;

    async fn from_request(request: Request, state: &S) -> Result<Self, PageFailure> {
        let (mut parts, body) = request.into_parts();
        let browser = Browser::from_request_parts(&mut parts, state).await?;
        let body = axum::body::to_bytes(body, MAX_FORM)
            .await
            .map_err(|_| PageFailure::BadRequest("the form is too large or did not arrive whole".to_owned()))?;
        let is_form = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        if !is_form {
            return Err(PageFailure::ForeignForm);
        }
        let token: Token = read(&parts.headers, &body).await?;
        if !browser.owns_form(&token.form_token) {
            return Err(PageFailure::ForeignForm);
        }
        Ok(Self(read(&parts.headers, &body).await?))
    }
}

async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &bytes::Bytes) -> Result<T, PageFailure> {
    let mut request = Request::new(axum::body::Body::from(body.clone()));
    *request.method_mut() = Method::POST;
    if let Some(media_type) = headers.get(header::CONTENT_TYPE) {
        request.headers_mut().insert(header::CONTENT_TYPE, media_type.clone());
    }
    match Form::<T>::from_request(request, &()).await {
        Ok(Form(form)) => Ok(form),
        Err(error) => Err(PageFailure::BadRequest(format!("the form cannot be read: {}", error.body_text()))),
    }
}

/// Refuses requests that change something and come from a page of another origin. Printers' pages may be on the same
/// site as this one, so the browser's cookies prove nothing about the page.
///
/// Paths of programs are left out: they carry credentials of their own and no cookies count there.
pub(crate) async fn refuse_foreign_origins(State(state): State<SiteState>, request: Request, next: Next) -> Response {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_safe || is_of_programs(request.uri().path()) || is_own(request.headers(), &state.origin()) {
        return next.run(request).await;
    }
    PageFailure::ForeignForm.into_response()
}

fn is_of_programs(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ["/api/appconnection/", "/api/live/", "/api/gadget/", "/api/agent/"].iter().any(|prefix| path.starts_with(prefix))
}

fn is_own(headers: &HeaderMap, origin: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text("origin"), text("sec-fetch-site")) {
        (Some(said), site) => said == origin && site.is_none_or(|site| site == "same-origin"),
        // A browser that sends no `Origin` with a POST says at least where the page is from; a program says neither.
        (None, Some(site)) => site == "same-origin",
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("valid"))).collect()
    }

    #[test]
    fn only_the_sites_own_pages_change_something() {
        let origin = "https://example.org";
        for (lines, expected) in [
            (&[("origin", "https://example.org"), ("sec-fetch-site", "same-origin")][..], true),
            (&[("origin", "https://example.org")], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[], true),
            (&[("origin", "null")], false),
            (&[("origin", "https://p-x.example.org"), ("sec-fetch-site", "same-site")], false),
            (&[("origin", "https://example.org"), ("sec-fetch-site", "same-site")], false),
            (&[("origin", "http://example.org")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "cross-site")], false),
        ] {
            assert_eq!(is_own(&headers(lines), origin), expected, "{lines:?}");
        }
    }
}
