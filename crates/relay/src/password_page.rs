//! The page that asks a browser for the password of a Shared Connection.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use model::RelayError;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use store::{ConnectionCredentials, ConnectionRecord};

use crate::body::RelayBody;
use crate::headers::Visitor;
use crate::pages::{self, PasswordPage, PasswordProblem};
use crate::relay::Relay;
use crate::respond::{method_not_allowed, plain_response};

/// One of the two paths of a Shared Connection that are not the printer's.
pub const PATH: &str = "/.spoolway/password";
/// Paths that are not the printer's begin with it.
const OWN_PATHS: &str = "/.spoolway/";
/// A form with two fields.
pub(crate) const MAX_FORM: usize = 16 * 1024;

/// Sends a browser to the page, to come back to `uri` from it.
pub(crate) fn redirect_to(uri: &Uri) -> Response<RelayBody> {
    redirect_to_page(PATH, uri)
}

/// Sends a browser to the page at `path`, to come back to `uri` from it.
pub(crate) fn redirect_to_page(path: &str, uri: &Uri) -> Response<RelayBody> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = utf8_percent_encode(target, NON_ALPHANUMERIC);
    see_other(&format!("{path}?{}={target}", pages::RETURN_TO_FIELD))
}

impl Relay {
    /// Shows the page, or takes its form.
    pub(crate) async fn handle_password_page(
        &self,
        request: Request<Incoming>,
        connection: &ConnectionRecord,
        visitor: &Visitor,
    ) -> Response<RelayBody> {
        let return_to = request.uri().query().and_then(|query| field(query, pages::RETURN_TO_FIELD));
        let ConnectionCredentials::Password(hash) = &connection.credentials else {
            return see_other(&safe_target(return_to.as_deref()));
        };
        match *request.method() {
            Method::GET | Method::HEAD => page(&safe_target(return_to.as_deref()), None),
            Method::POST if !is_same_origin(request.headers(), visitor) => {
                plain_response(StatusCode::FORBIDDEN, "the form was sent from another site")
            }
            Method::POST => {
                let Ok(form) = Limited::new(request.into_body(), MAX_FORM).collect().await else {
                    return plain_response(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large");
                };
                let form = form.to_bytes();
                let form = String::from_utf8_lossy(&form);
                let target = safe_target(field(&form, pages::RETURN_TO_FIELD).as_deref());
                let password = field(&form, pages::PASSWORD_FIELD).unwrap_or_default();
                let passwords = self.access.passwords();
                match passwords.check(connection, hash, password, visitor.address, self.access.guesses()).await {
                    Ok(()) => {
                        let mut response = see_other(&target);
                        if let Some(cookie) = passwords.cookie(connection, hash, visitor.is_https, SystemTime::now()) {
                            response.headers_mut().append(header::SET_COOKIE, cookie);
                        }
                        response
                    }
                    Err(failure) if failure.error == RelayError::InvalidCredentials => {
                        page(&target, Some(PasswordProblem::Wrong))
                    }
                    Err(failure) => {
                        let retry_after_seconds = failure.retry_after.unwrap_or(5);
                        page(&target, Some(PasswordProblem::TooManyAttempts { retry_after_seconds }))
                    }
                }
            }
            _ => method_not_allowed("GET, POST"),
        }
    }
}

fn page(return_to: &str, problem: Option<PasswordProblem>) -> Response<RelayBody> {
    form_page(pages::password_page(&PasswordPage { action: PATH, return_to, problem }))
}

/// A page of ours with a form, at a printer's host.
pub(crate) fn form_page(page: String) -> Response<RelayBody> {
    let mut response = Response::new(RelayBody::Full(Bytes::from(page)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, pages::FORM_PAGE_POLICY.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

pub(crate) fn see_other(target: &str) -> Response<RelayBody> {
    let mut response = Response::new(RelayBody::Empty);
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    let target = HeaderValue::from_str(target).unwrap_or_else(|_| HeaderValue::from_static("/"));
    headers.insert(header::LOCATION, target);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A path on this host; whatever else stands in the field leads to `/`.
pub(crate) fn safe_target(target: Option<&str>) -> String {
    target
        .filter(|target| target.starts_with('/') && !target.starts_with("//") && !target.starts_with("/\\"))
        .filter(|target| target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'))
        .filter(|target| !target.starts_with(OWN_PATHS))
        .unwrap_or("/")
        .to_owned()
}

/// A form that another site's page sends would try passwords with this visitor's address.
pub(crate) fn is_same_origin(headers: &HeaderMap, visitor: &Visitor) -> bool {
    match headers.get(header::ORIGIN).map(|origin| origin.to_str()) {
        None => true,
        Some(Ok(origin)) => origin.split_once("://").is_some_and(|(scheme, authority)| {
            let is_web = scheme == "http" || scheme == "https";
            let authority = if is_web { authority } else { "" };
            authority
                .parse::<crate::authority::Authority>()
                .is_ok_and(|origin| origin.host() == visitor.authority.host())
        }),
        Some(Err(_)) => false,
    }
}

/// A field of a form, or of a query.
pub(crate) fn field(form: &str, name: &str) -> Option<String> {
    form.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_never_leaves_the_host() {
        for (target, expected) in [
            (Some("/a?b=c&d"), "/a?b=c&d"),
            (None, "/"),
            (Some(""), "/"),
            (Some("//evil.example/"), "/"),
            (Some("/\\evil.example/"), "/"),
            (Some("https://evil.example/"), "/"),
            (Some("javascript:alert(1)"), "/"),
            (Some("/a\r\nSet-Cookie: x"), "/"),
            (Some(PATH), "/"),
        ] {
            assert_eq!(safe_target(target), expected, "{target:?}");
        }
    }
}
