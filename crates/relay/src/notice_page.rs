//! The page that a browser is shown before the first page of an open Shared Connection.
//!
//! Behind such a link a printer can show any page, a copied sign-in page as well, on a host name of the service's.
//! Whoever was lured there reads here whose page it is before it can be mistaken for the service's own. Programs never
//! see it: they have nobody to be fooled.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use store::{ConnectionCredentials, ConnectionKind, ConnectionRecord};

use crate::body::RelayBody;
use crate::headers::Visitor;
use crate::pages::{self, NoticePage};
use crate::password_page::{MAX_FORM, field, form_page, is_same_origin, redirect_to_page, safe_target, see_other};
use crate::relay::Relay;
use crate::respond::{method_not_allowed, plain_response};
use crate::screening::is_page_in_a_window;

/// One of the two paths of a Shared Connection that are not the printer's.
pub(crate) const PATH: &str = "/.spoolway/notice";
/// Begins with [`crate::headers::COOKIE_PREFIX`], so that it never reaches the printer.
///
/// It is not signed. A page of another printer can set it for a browser beforehand, but only in a browser that it is
/// already open in, where it can deceive as well without this printer.
const COOKIE: &str = "__spoolway_notice";
const COOKIE_VALUE: &str = "seen";
/// As long as the password of a Shared Connection is remembered: 30 days.
const COOKIE_SECONDS: u32 = 30 * 24 * 3600;

/// What the page says besides the printer's name.
#[derive(Clone, Debug, Default)]
pub struct Notice {
    /// Where to report abuse: an address or a URL.
    pub abuse_contact: Option<String>,
}

/// Sends a browser to the page, to come back to `uri` from it.
pub(crate) fn redirect_to(uri: &Uri) -> Response<RelayBody> {
    redirect_to_page(PATH, uri)
}

impl Relay {
    /// Whether a person is about to see a page of a stranger's printer for the first time.
    pub(crate) fn must_show_notice<B>(
        &self,
        connection: &ConnectionRecord,
        request: &Request<B>,
        is_websocket: bool,
    ) -> bool {
        self.notice.is_some()
            && connection.kind == ConnectionKind::Shared
            && matches!(connection.credentials, ConnectionCredentials::Open)
            && !is_websocket
            && is_page_in_a_window(request)
            && !has_seen(request.headers())
    }

    /// Shows the page, or takes its form.
    pub(crate) async fn handle_notice_page(
        &self,
        request: Request<Incoming>,
        connection: &ConnectionRecord,
        visitor: &Visitor,
    ) -> Response<RelayBody> {
        let return_to = request.uri().query().and_then(|query| field(query, pages::RETURN_TO_FIELD));
        let target = safe_target(return_to.as_deref());
        let Some(notice) = &self.notice else { return see_other(&target) };
        match *request.method() {
            Method::GET | Method::HEAD => form_page(pages::notice_page(&NoticePage {
                action: PATH,
                return_to: &target,
                printer_name: &connection.printer_name,
                domain: self.names.domain.host(),
                abuse_contact: notice.abuse_contact.as_deref(),
            })),
            Method::POST if !is_same_origin(request.headers(), visitor) => {
                plain_response(StatusCode::FORBIDDEN, "the form was sent from another site")
            }
            Method::POST => {
                let Ok(form) = Limited::new(request.into_body(), MAX_FORM).collect().await else {
                    return plain_response(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large");
                };
                let form = form.to_bytes();
                let target = safe_target(field(&String::from_utf8_lossy(&form), pages::RETURN_TO_FIELD).as_deref());
                let mut response = see_other(&target);
                response.headers_mut().append(header::SET_COOKIE, cookie(visitor.is_https));
                response
            }
            _ => method_not_allowed("GET, POST"),
        }
    }
}

fn cookie(is_https: bool) -> HeaderValue {
    let secure = if is_https { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={COOKIE_VALUE}; Path=/; HttpOnly; SameSite=Lax; Max-Age={COOKIE_SECONDS}{secure}");
    HeaderValue::try_from(cookie).expect("it is made of constants, all visible ASCII")
}

fn has_seen(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .any(|cookie| cookie.trim().split_once('=') == Some((COOKIE, COOKIE_VALUE)))
}
