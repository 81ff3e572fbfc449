//! One request from its head to its response.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cluster::Whereabouts;
use futures_util::FutureExt;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::{Label, RelayError, RequestId, wire};
use sha1::{Digest, Sha1};
use store::ConnectionKind;
use tunnel::accept::has_token;

use crate::access::{Admitted, Claim};
use crate::authority::{Authority, Host};
use crate::body::RelayBody;
use crate::edge::Peer;
use crate::exchange::{RelayedBody, WebcamCut};
use crate::headers::{self, Visitor};
use crate::link::{Link, LinkBody, LinkError, Upgrade};
use crate::metrics;
use crate::password_page;
use crate::relay::Relay;
use crate::respond::{Asker, Failure, failure_response, plain_response};
use crate::sessions::SessionGuard;
use crate::upload::UploadBody;
use crate::webcam;
use crate::websocket;

/// A WebSocket may be silent for as long as both its ends want.
const WEBSOCKET_IDLE_LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a link lost within the last two minutes takes to come back.
const LOST_RECENTLY_SECONDS: u32 = 15;
/// RFC 6455 §1.3.
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request to a connection, as far as it is understood before it is passed on.
struct Incident {
    started: Instant,
    kind: ConnectionKind,
    label: Label,
    asker: Asker,
    visitor: Visitor,
    is_websocket: bool,
}

impl Relay {
    /// Answers a visitor's request. A panic costs this request only.
    pub(crate) async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<RelayBody> {
        match AssertUnwindSafe(self.route(request, peer)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => {
                metrics::panicked();
                plain_response(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
            }
        }
    }

    async fn route(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<RelayBody> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let is_websocket = match screen(&parts) {
            Ok(is_websocket) => is_websocket,
            Err(response) => return response,
        };
        let authority = match Authority::of_request(&parts) {
            Ok(authority) => authority,
            Err(error) => return plain_response(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let visitor = self.visitor(&parts, peer, authority);
        let host = self.names.classify(&visitor.authority);
        let (kind, label) = match &host {
            Host::App(label) => (ConnectionKind::App, label.clone()),
            Host::Shared(label) => (ConnectionKind::Shared, label.clone()),
            Host::Site | Host::Foreign => {
                return self.route_own(Request::from_parts(parts, body), &host, visitor.address).await;
            }
            Host::Owner(_) => {
                // No owner's view has been made yet, so no label of one exists.
                let asker = Asker::new(&parts, &host, RequestId::generate(), !body.is_end_stream());
                return failure_response(RelayError::ConnectionNotFound.into(), &asker, &self.names);
            }
        };
        if let Some(response) = preflight(&parts) {
            return response;
        }
        let asker = Asker::new(&parts, &host, RequestId::generate(), !body.is_end_stream());
        let incident = Incident { started, kind, label, asker, visitor, is_websocket };
        let method = parts.method.clone();
        let kind_label = match kind {
            ConnectionKind::App => "app",
            ConnectionKind::Shared => "shared",
        };
        let relayed = AssertUnwindSafe(self.relay(Request::from_parts(parts, body), &incident)).catch_unwind().await;
        let relayed = relayed.unwrap_or_else(|_| {
            // On these hosts an ordinary status would be taken for the printer's.
            metrics::panicked();
            Err(RelayError::Unknown.into())
        });
        let (response, error) = match relayed {
            Ok(response) => (response, None),
            Err(failure) => {
                let request_id = &incident.asker.request_id;
                tracing::info!(%request_id, %method, code = failure.error.code(), kind = kind_label, "request failed");
                (failure_response(failure, &incident.asker, &self.names), Some(failure.error))
            }
        };
        metrics::answered(kind_label, error, response.status().as_u16(), incident.started.elapsed());
        response
    }

    /// Requests to the service itself.
    async fn route_own(
        self: Arc<Self>,
        request: Request<Incoming>,
        host: &Host,
        address: IpAddr,
    ) -> Response<RelayBody> {
        match request.uri().path() {
            // Agents may know the service by another name, or by its address.
            wire::TUNNEL_PATH => self.handle_agent(request, address).await,
            // Probes come by address.
            "/healthz" | "/readyz" => (self.site)(request).await,
            _ if *host == Host::Site => (self.site)(request).await,
            _ => plain_response(StatusCode::MISDIRECTED_REQUEST, "this host is not served here"),
        }
    }

    /// Who makes the request: the peer itself, or whom a trusted proxy names.
    fn visitor(&self, parts: &Parts, peer: Peer, authority: Authority) -> Visitor {
        let is_trusted = |address: IpAddr| self.trusted_proxies.iter().any(|network| network.contains(&address));
        let peer_address = peer.address.ip().to_canonical();
        if !is_trusted(peer_address) {
            return Visitor { address: peer_address, is_https: peer.is_tls, authority };
        }
        let forwarded: Vec<IpAddr> = parts
            .headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map_while(|address| address.trim().parse().ok())
            .collect();
        // Each proxy appends whom it saw; what stands before the last untrusted one, anybody may have written.
        let address = forwarded.into_iter().rfind(|address| !is_trusted(*address)).unwrap_or(peer_address);
        let is_https = match parts.headers.get("x-forwarded-proto") {
            Some(scheme) => scheme == "https",
            None => peer.is_tls,
        };
        Visitor { address, is_https, authority }
    }

    async fn relay(
        self: &Arc<Self>,
        request: Request<Incoming>,
        incident: &Incident,
    ) -> Result<Response<RelayBody>, Failure> {
        let now = SystemTime::now();
        let address = incident.visitor.address;
        let connection = self.access.find(incident.kind, &incident.label, address, now).await?;
        if incident.kind == ConnectionKind::Shared && request.uri().path() == password_page::PATH {
            return Ok(self.handle_password_page(request, &connection, &incident.visitor).await);
        }
        let claim = Claim {
            headers: request.headers(),
            uri: request.uri(),
            is_websocket: incident.is_websocket,
            is_own_page: password_page::is_same_origin(&request, &incident.visitor),
            address,
        };
        let admitted = match self.access.admit(Arc::clone(&connection), claim, now).await {
            Ok(admitted) => admitted,
            Err(failure)
                if failure.error == RelayError::InvalidCredentials
                    && incident.kind == ConnectionKind::Shared
                    && is_navigation(&request) =>
            {
                return Ok(password_page::redirect_to(request.uri()));
            }
            Err(failure) => return Err(failure),
        };
        let limits = admitted.connection.plan.limits;
        if let (Some(limit), Some(length)) = (limits.max_upload_bytes, request.body().size_hint().exact())
            && length > limit
        {
            return Err(RelayError::UploadTooLarge.into());
        }
        let link = match self.directory.find(&admitted.connection.printer).await {
            Ok(Whereabouts::Here(link)) => link,
            Ok(Whereabouts::Nowhere { lost_recently: true }) => {
                return Err(Failure::retry_after(RelayError::PrinterOffline, LOST_RECENTLY_SECONDS));
            }
            Ok(Whereabouts::Nowhere { lost_recently: false }) => return Err(RelayError::PrinterOffline.into()),
            Err(_) => return Err(RelayError::Unknown.into()),
        };
        if let Some(window) = limits.webcam_window
            && webcam::asks_for_webcam_stream(request.uri())
        {
            let meter = self.webcams.of(&admitted.connection.printer);
            meter.check(window, Instant::now()).map_err(webcam_limit)?;
        }
        let idle_limit = if incident.is_websocket { WEBSOCKET_IDLE_LIMIT } else { self.timeouts.idle };
        let guard = self.sessions.open(Arc::clone(&admitted.connection), idle_limit);
        if incident.is_websocket {
            self.relay_websocket(request, incident, &admitted, link.as_ref(), guard).await
        } else {
            self.relay_http(request, incident, &admitted, link.as_ref(), guard).await
        }
    }

    async fn relay_http(
        &self,
        request: Request<Incoming>,
        incident: &Incident,
        admitted: &Admitted,
        link: &dyn Link,
        guard: SessionGuard,
    ) -> Result<Response<RelayBody>, Failure> {
        let limits = admitted.connection.plan.limits;
        let (parts, body) = request.into_parts();
        let (version, is_head) = (parts.version, parts.method == Method::HEAD);
        let head = prepare_head(parts, incident, admitted);
        let activity = guard.session.activity().clone();
        let upload = UploadBody::new(body, limits.max_upload_bytes, self.timeouts.body, activity);
        let response = match unless_cut(&guard, link.call(head.map(|()| upload))).await? {
            Ok(response) => response,
            // The request itself is at fault, which is for HTTP to say.
            Err(LinkError::VisitorGone(_)) => {
                return Ok(plain_response(StatusCode::BAD_REQUEST, "the request's body is malformed or broke off"));
            }
            Err(LinkError::VisitorTooSlow) => {
                return Ok(plain_response(StatusCode::REQUEST_TIMEOUT, "the request's body came too slowly"));
            }
            Err(error) => return Err(link_failure(&error)),
        };
        guard.session.activity().touch();
        let (mut parts, body) = response.into_parts();

        let is_webcam = webcam::is_webcam_stream(&parts.headers);
        let mut webcam_cut = None;
        if is_webcam && !is_head {
            let meter = self.webcams.of(&admitted.connection.printer);
            let running = meter.start(limits.webcam_window, Instant::now()).map_err(webcam_limit)?;
            webcam_cut = Some(WebcamCut::new(running, limits.webcam_stream, &parts.headers));
        }
        if is_webcam || webcam::is_event_stream(&parts.headers) {
            guard.session.set_idle_limit(self.timeouts.quiet_idle);
        }
        let has_body = !is_head && !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let limit = limits.max_download_bytes.filter(|_| has_body && !is_webcam);
        if let (Some(limit), Some(length)) = (limit, body.size_hint().exact())
            && length > limit
        {
            return Err(RelayError::DownloadTooLarge.into());
        }
        headers::prepare_response(&mut parts.headers, &incident.visitor, version);
        allow_any_origin(&mut parts.headers, incident.kind);
        parts.version = version;
        let body = if has_body {
            RelayBody::Relayed(RelayedBody::new(guard, body, limit, webcam_cut))
        } else {
            RelayBody::Empty
        };
        Ok(Response::from_parts(parts, body))
    }

    async fn relay_websocket(
        &self,
        mut request: Request<Incoming>,
        incident: &Incident,
        admitted: &Admitted,
        link: &dyn Link,
        guard: SessionGuard,
    ) -> Result<Response<RelayBody>, Failure> {
        let version = request.version();
        let accept = if version == Version::HTTP_2 {
            None
        } else {
            match accept_key(request.headers()) {
                Some(accept) => Some(accept),
                None => return Ok(bad_handshake()),
            }
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, _) = request.into_parts();
        let head = prepare_head(parts, incident, admitted);
        let (mut head, frames) =
            match unless_cut(&guard, link.open_websocket(head)).await?.map_err(|error| link_failure(&error))? {
                Upgrade::Accepted(head, frames) => (head, frames),
                // In HTTP/2 a success would accept the WebSocket (RFC 8441 §5), so a refusal cannot be passed on as one.
                Upgrade::Refused(response) if accept.is_none() && response.status().is_success() => {
                    return Err(RelayError::PluginError.into());
                }
                Upgrade::Refused(response) => {
                    guard.session.set_idle_limit(self.timeouts.idle);
                    guard.session.activity().touch();
                    return Ok(refused_upgrade(response, incident, guard, version));
                }
            };
        headers::prepare_response(head.headers_mut(), &incident.visitor, version);
        let has_extensions = head.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS);
        let mut response = head.map(|()| RelayBody::Empty);
        *response.version_mut() = version;
        if let Some(accept) = accept {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        } else {
            *response.status_mut() = StatusCode::OK;
        }
        let request_id = incident.asker.request_id.clone();
        let going_down = self.going_down.clone();
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => {
                    let visitor = TokioIo::new(upgraded);
                    let session = Arc::clone(&guard.session);
                    websocket::relay(visitor, frames, session, has_extensions, going_down).await;
                }
                Err(error) => tracing::debug!(%request_id, %error, "a visitor left during the handshake"),
            }
            drop(guard);
        });
        Ok(response)
    }
}

fn link_failure(error: &LinkError) -> Failure {
    match error.relay_error() {
        // It was there a moment ago.
        RelayError::PrinterOffline => Failure::retry_after(RelayError::PrinterOffline, LOST_RECENTLY_SECONDS),
        error => error.into(),
    }
}

/// Waits for the link, but not beyond the end of what let the request in.
async fn unless_cut<T>(
    guard: &SessionGuard,
    answer: impl Future<Output = Result<T, LinkError>>,
) -> Result<Result<T, LinkError>, Failure> {
    let cut = std::future::poll_fn(|cx| guard.session.poll_cut(cx));
    tokio::select! {
        biased;
        error = cut => Err(error.into()),
        answer = answer => Ok(answer.inspect_err(|error| tracing::debug!(%error, "the link gave no response"))),
    }
}

/// Whether the request opens a WebSocket; refuses what no relay should pass on.
#[expect(clippy::result_large_err, reason = "the response is on its way out already")]
pub(crate) fn screen(parts: &Parts) -> Result<bool, Response<RelayBody>> {
    let bad = |text| Err(plain_response(StatusCode::BAD_REQUEST, text));
    let is_http2 = parts.version == Version::HTTP_2;
    match parts.method {
        Method::CONNECT => match parts.extensions.get::<hyper::ext::Protocol>() {
            Some(protocol) if protocol.as_str() == "websocket" && begins_with_slash(&parts.uri) => Ok(true),
            _ => bad("this is no forward proxy"),
        },
        Method::TRACE => Err(plain_response(StatusCode::METHOD_NOT_ALLOWED, "TRACE is not allowed")),
        Method::OPTIONS if parts.uri.path() == "*" => {
            let mut response = Response::new(RelayBody::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            Err(response)
        }
        _ if !begins_with_slash(&parts.uri) => bad("the request's target must begin with `/`"),
        _ if parts.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") => {
            bad("the request's target has an unknown scheme")
        }
        Method::GET if !is_http2 && is_websocket_upgrade(&parts.headers) => Ok(true),
        _ => Ok(false),
    }
}

/// Looks at the target as it will be sent: where it is a query alone, `path()` says `/`.
fn begins_with_slash(uri: &Uri) -> bool {
    uri.path_and_query().is_some_and(|target| target.as_str().starts_with('/'))
}

fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::UPGRADE, "websocket") && has_token(headers, header::CONNECTION, "upgrade")
}

/// Answers a CORS preflight. It carries no credentials by specification, so nothing is looked up for it.
fn preflight(parts: &Parts) -> Option<Response<RelayBody>> {
    let is_preflight = parts.method == Method::OPTIONS
        && parts.headers.contains_key(header::ORIGIN)
        && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return None;
    }
    let mut response = Response::new(RelayBody::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let asked = |name| parts.headers.get(name).cloned();
    if let Some(method) = asked(header::ACCESS_CONTROL_REQUEST_METHOD) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
    }
    // `*` would not cover `Authorization`.
    if let Some(names) = asked(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    headers.insert(
        header::VARY,
        HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"),
    );
    Some(response)
}

/// An app's host opens by `Authorization` only, never by a cookie, so a page of any origin may read what its own
/// credentials have opened.
fn allow_any_origin(headers: &mut HeaderMap, kind: ConnectionKind) {
    if kind == ConnectionKind::App && !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
}

/// Whether a person's browser asks for a page.
fn is_navigation<B>(request: &Request<B>) -> bool {
    match request.headers().get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => *request.method() == Method::GET && names_html(request.headers()),
    }
}

fn names_html(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter();
    values.any(|accept| accept.to_str().is_ok_and(|accept| accept.to_ascii_lowercase().contains("text/html")))
}

/// The head as the link gets it.
fn prepare_head(mut parts: Parts, incident: &Incident, admitted: &Admitted) -> Request<()> {
    headers::remove_own_arguments(&mut parts.uri);
    headers::prepare_request(&mut parts.headers, &incident.visitor, &incident.asker.request_id);
    if admitted.used_authorization {
        parts.headers.remove(header::AUTHORIZATION);
    }
    if incident.is_websocket {
        parts.headers.remove(header::SEC_WEBSOCKET_KEY);
        parts.headers.remove(header::SEC_WEBSOCKET_VERSION);
    }
    let mut head = Request::new(());
    *head.method_mut() = parts.method;
    *head.uri_mut() = parts.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    *head.headers_mut() = parts.headers;
    head
}

fn refused_upgrade(
    response: Response<LinkBody>,
    incident: &Incident,
    guard: SessionGuard,
    version: Version,
) -> Response<RelayBody> {
    let (mut parts, body) = response.into_parts();
    headers::prepare_response(&mut parts.headers, &incident.visitor, version);
    if version < Version::HTTP_2 {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    parts.version = version;
    Response::from_parts(parts, RelayBody::Relayed(RelayedBody::new(guard, body, None, None)))
}

/// `Sec-WebSocket-Accept`, if the handshake is one (RFC 6455 §4.2.1).
fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let is_version_13 = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let is_key = STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16);
    if !is_version_13 || !is_key {
        return None;
    }
    let accept = Sha1::new().chain_update(key.as_bytes()).chain_update(WEBSOCKET_GUID).finalize();
    HeaderValue::from_str(&STANDARD.encode(accept)).ok()
}

fn bad_handshake() -> Response<RelayBody> {
    let mut response = plain_response(StatusCode::BAD_REQUEST, "the WebSocket handshake is malformed");
    response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

fn webcam_limit(wait: Duration) -> Failure {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1);
    Failure::retry_after(RelayError::WebcamLimit, seconds)
}
