//! The way of a request that was let in: to the printer's link and back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::{Caller, RelayError, wire};

use crate::body::RelayBody;
use crate::commands::CommandPace;
use crate::exchange::{RelayedBody, WebcamCut};
use crate::grant::{Entrance, Grant};
use crate::headers;
use crate::link::{DownloadLimit, Link, LinkBody, LinkError, Upgrade};
use crate::live::{CameraFailure, Surface, open_camera};
use crate::relay::Relay;
use crate::respond::{Failure, plain_response};
use crate::screening::{accept_key, bad_handshake};
use crate::service::{Incident, LOST_RECENTLY_SECONDS};
use crate::sessions::SessionGuard;
use crate::upload::UploadBody;
use crate::webcam;
use crate::websocket;

/// A request that was let in.
#[derive(Debug)]
pub(crate) struct Passage {
    /// By what.
    pub(crate) grant: Grant,
    /// Whether `Authorization` opened the door and must not travel on.
    pub(crate) used_authorization: bool,
    /// Of a command: what the agent is told of who gives it.
    pub(crate) caller: Option<Caller>,
}

impl Passage {
    /// Whether the agent, which knows the printer's cameras, answers in place of the printer. The owner's view is the
    /// printer's own interface and nothing else.
    fn is_for_agents_camera<B>(&self, request: &Request<B>) -> bool {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        is_read && self.grant.entrance() != Entrance::Owner && webcam::is_agent_stream(request.uri())
    }
}

impl Relay {
    pub(crate) async fn relay_http(
        &self,
        request: Request<Incoming>,
        incident: &Incident,
        passage: &Passage,
        link: &dyn Link,
        guard: SessionGuard,
    ) -> Result<Response<RelayBody>, Failure> {
        let limits = passage.grant.limits();
        let (version, is_head) = (request.version(), request.method() == Method::HEAD);
        let is_for_worker = headers::asks_for_worker(request.headers());
        let response = if passage.is_for_agents_camera(&request) {
            camera_response(request.uri(), link, &guard).await?
        } else {
            let (parts, body) = request.into_parts();
            let head = prepare_head(parts, incident, passage);
            let activity = guard.session.activity().clone();
            let upload = UploadBody::new(body, limits.max_upload_bytes, self.timeouts.body, activity);
            match unless_cut(&guard, link.call(head.map(|()| upload))).await? {
                Ok(response) => response,
                // The request itself is at fault, which is for HTTP to say.
                Err(LinkError::VisitorGone(_)) => {
                    return Ok(plain_response(StatusCode::BAD_REQUEST, "the request's body is malformed or broke off"));
                }
                Err(LinkError::VisitorTooSlow) => {
                    return Ok(plain_response(StatusCode::REQUEST_TIMEOUT, "the request's body came too slowly"));
                }
                Err(error) => return Err(link_failure(error.relay_error())),
            }
        };
        guard.session.activity().touch();
        let (mut parts, body) = response.into_parts();

        let is_webcam = webcam::is_webcam_stream(&parts.headers);
        let mut webcam_cut = None;
        if is_webcam && !is_head {
            let meter = self.webcams.of(passage.grant.printer());
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
        if is_for_worker {
            headers::keep_worker_fresh(&mut parts.headers);
        }
        allow_any_origin(&mut parts.headers, passage.grant.entrance());
        parts.version = version;
        let body = if has_body {
            RelayBody::Relayed(RelayedBody::new(guard, body, limit, webcam_cut))
        } else {
            RelayBody::Empty
        };
        Ok(Response::from_parts(parts, body))
    }

    pub(crate) async fn relay_websocket(
        &self,
        mut request: Request<Incoming>,
        incident: &Incident,
        passage: &Passage,
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
        let head = prepare_head(parts, incident, passage);
        let (mut head, frames) = match unless_cut(&guard, link.open_websocket(head))
            .await?
            .map_err(|error| link_failure(error.relay_error()))?
        {
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
                    let error = websocket::relay(visitor, frames, session, has_extensions, going_down).await;
                    if let Some(error) = error {
                        guard.note_error(error, Surface::WebSocket);
                    }
                }
                Err(error) => tracing::debug!(%request_id, %error, "a visitor left during the handshake"),
            }
            drop(guard);
        });
        Ok(response)
    }
}

/// A camera's stream as if the printer had answered with it.
async fn camera_response(uri: &Uri, link: &dyn Link, guard: &SessionGuard) -> Result<Response<LinkBody>, Failure> {
    let camera = webcam::camera_of(uri).ok_or(CameraFailure::NoCamera.relay_error())?;
    guard.session.activity().wait_for_answer();
    let opened = unless_cut(guard, open_camera(link, camera)).await?;
    let stream = opened.map_err(|failure| link_failure(failure.relay_error()))?;
    let mut response = Response::new(stream.body.into_link_body());
    response.headers_mut().insert(header::CONTENT_TYPE, stream.content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn link_failure(error: RelayError) -> Failure {
    match error {
        // It was there a moment ago.
        RelayError::PrinterOffline => Failure::retry_after(RelayError::PrinterOffline, LOST_RECENTLY_SECONDS),
        error => error.into(),
    }
}

/// Waits for the link, but not beyond the end of what let the request in.
async fn unless_cut<T, E: std::fmt::Display>(
    guard: &SessionGuard,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<Result<T, E>, Failure> {
    let cut = std::future::poll_fn(|cx| guard.session.poll_cut(cx));
    tokio::select! {
        biased;
        error = cut => Err(error.into()),
        answer = answer => Ok(answer.inspect_err(|error| tracing::debug!(%error, "the link gave no response"))),
    }
}

/// An app's host opens by `Authorization` only, never by a cookie, so a page of any origin may read what its own
/// credentials have opened.
pub(crate) fn allow_any_origin(headers: &mut HeaderMap, entrance: Entrance) {
    if entrance == Entrance::App && !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
}

/// The head as the link gets it.
fn prepare_head(mut parts: Parts, incident: &Incident, passage: &Passage) -> Request<()> {
    headers::remove_own_arguments(&mut parts.uri);
    headers::prepare_request(&mut parts.headers, &incident.visitor, &incident.asker.request_id);
    if passage.used_authorization {
        parts.headers.remove(header::AUTHORIZATION);
    }
    let caller = passage.caller.and_then(|caller| HeaderValue::from_str(&caller.to_string()).ok());
    let pace = caller.as_ref().map(|_| CommandPace::of(parts.uri.path()));
    if let Some(caller) = caller {
        parts.headers.insert(wire::CALLER_HEADER, caller);
    }
    if incident.is_websocket {
        parts.headers.remove(header::SEC_WEBSOCKET_KEY);
        parts.headers.remove(header::SEC_WEBSOCKET_VERSION);
    }
    let mut head = Request::new(());
    *head.method_mut() = parts.method;
    *head.uri_mut() = parts.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    *head.headers_mut() = parts.headers;
    if let Some(pace) = pace {
        head.extensions_mut().insert(pace);
    }
    if let Some(limit) = passage.grant.limits().max_download_bytes {
        head.extensions_mut().insert(DownloadLimit(limit));
    }
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

pub(crate) fn webcam_limit(wait: Duration) -> Failure {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1);
    Failure::retry_after(RelayError::WebcamLimit, seconds)
}
