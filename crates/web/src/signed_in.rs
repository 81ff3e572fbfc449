//! Handlers ask for these, and are called for nobody else.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, Method};
use model::AccountId;
use store::SessionRecord;

use crate::browser::Browser;
use crate::failure::PageFailure;

/// Somebody who is signed in.
pub(crate) struct SignedIn {
    pub(crate) session: SessionRecord,
    pub(crate) browser: Browser,
}

impl SignedIn {
    pub(crate) fn account(&self) -> &AccountId {
        &self.session.account.id
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = PageFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageFailure> {
        let browser = Browser::from_request_parts(parts, state).await?;
        match browser.session() {
            Some(session) => Ok(Self { session: session.clone(), browser }),
            None => Err(PageFailure::SignInFirst(return_path(parts))),
        }
    }
}

/// Somebody who runs the service, and is signed in.
pub(crate) struct Administrator(pub(crate) SignedIn);

impl<S: Send + Sync> FromRequestParts<S> for Administrator {
    type Rejection = PageFailure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageFailure> {
        let signed_in = SignedIn::from_request_parts(parts, state).await?;
        // To everybody else there are no such pages.
        if signed_in.session.account.is_admin { Ok(Self(signed_in)) } else { Err(PageFailure::NotFound) }
    }
}

/// Where to come back to after signing in. Only pages: a form's content is gone by then.
fn return_path(parts: &Parts) -> String {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if parts.method == Method::GET && !is_partial(&parts.headers) { path.to_owned() } else { "/printers".to_owned() }
}

/// Whether a script asks for a part of a page.
pub(crate) fn is_partial(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request")
}

/// A path of this site that a stranger may have written, or the start page: never another host.
pub(crate) fn local_path(path: Option<&str>) -> &str {
    let is_local = |path: &&str| {
        let mut bytes = path.bytes();
        bytes.next() == Some(b'/')
            && !matches!(bytes.next(), Some(b'/' | b'\\'))
            && path.len() <= 2048
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    path.filter(is_local).unwrap_or("/printers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_host() {
        for good in ["/", "/printers", "/appportal/v1?appId=x&returnUrl=https%3A%2F%2Fa.example", "/a//b"] {
            assert_eq!(local_path(Some(good)), good);
        }
        for bad in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "evil",
            "/\tevil",
            "/a\r\nb",
            "/ä",
            "\\/x",
        ] {
            assert_eq!(local_path(Some(bad)), "/printers", "{bad:?}");
        }
        assert_eq!(local_path(None), "/printers");
    }
}
