//! One request from its head to its response.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use cluster::Whereabouts;
use futures_util::FutureExt;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use model::{Label, PrinterId, RelayError, RequestId, wire};
use store::{AuditEvent, AuditKind, ConnectionKind, ConnectionRecord};

use crate::access::{Admitted, Claim};
use crate::authority::{Authority, Host};
use crate::body::RelayBody;
use crate::commands::{self, Judgement};
use crate::edge::Peer;
use crate::grant::{Entrance, Grant};
use crate::headers::Visitor;
use crate::live::Surface;
use crate::metrics;
use crate::notice_page;
use crate::passage::{Passage, allow_any_origin, webcam_limit};
use crate::password_page;
use crate::plugin::is_plugin_call;
use crate::relay::Relay;
use crate::respond::{Asker, Failure, failure_response, plain_response};
use crate::screening::{is_navigation, preflight, screen};
use crate::webcam;

/// A WebSocket may be silent for as long as both its ends want.
const WEBSOCKET_IDLE_LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a link lost within the last two minutes takes to come back.
pub(crate) const LOST_RECENTLY_SECONDS: u32 = 15;

/// In the extensions of a request to the site: the visitor's address, as far as trusted proxies tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// In the extensions of a request to the site: whether the visitor's own connection is encrypted, by us or by a
/// trusted proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsHttps(pub bool);

/// A request to a printer's host, as far as it is understood before it is passed on.
pub(crate) struct Incident {
    started: Instant,
    pub(crate) entrance: Entrance,
    pub(crate) label: Label,
    pub(crate) asker: Asker,
    pub(crate) visitor: Visitor,
    pub(crate) is_websocket: bool,
    /// The printer that the host leads to, once it is known.
    pub(crate) printer: OnceLock<PrinterId>,
}

/// What becomes of a request at the door.
pub(crate) enum Admission {
    /// It goes on.
    Admitted(Request<Incoming>, Passage),
    /// It has its answer.
    Answered(Response<RelayBody>),
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
        let (entrance, label) = match &host {
            Host::App(label) => (Entrance::App, label.clone()),
            Host::Shared(label) => (Entrance::Shared, label.clone()),
            Host::Site | Host::Foreign => {
                return self.route_own(Request::from_parts(parts, body), &host, &visitor).await;
            }
            Host::Owner(label) => (Entrance::Owner, label.clone()),
        };
        // Pages of other hosts have nothing to ask an owner's view for.
        if entrance != Entrance::Owner
            && let Some(response) = preflight(&parts)
        {
            return response;
        }
        let asker = Asker::new(&parts, &host, RequestId::generate(), !body.is_end_stream());
        let printer = OnceLock::new();
        let incident = Incident { started, entrance, label, asker, visitor, is_websocket, printer };
        let method = parts.method.clone();
        let relayed = AssertUnwindSafe(self.relay(Request::from_parts(parts, body), &incident)).catch_unwind().await;
        let relayed = relayed.unwrap_or_else(|_| {
            // On these hosts an ordinary status would be taken for the printer's.
            metrics::panicked();
            Err(RelayError::Unknown.into())
        });
        let kind = entrance.as_str();
        let (response, error) = match relayed {
            Ok(response) => (response, None),
            Err(failure) => {
                let request_id = &incident.asker.request_id;
                tracing::info!(%request_id, %method, code = failure.error.code(), kind, "request failed");
                if let Some(printer) = incident.printer.get() {
                    let surface = if is_websocket { Surface::WebSocketOpening } else { Surface::Request };
                    self.live.handle_error(printer, failure.error, entrance, surface);
                }
                (failure_response(failure, &incident.asker, &self.names), Some(failure.error))
            }
        };
        metrics::answered(kind, error, response.status().as_u16(), incident.started.elapsed());
        response
    }

    /// Requests to the service itself.
    async fn route_own(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        host: &Host,
        visitor: &Visitor,
    ) -> Response<RelayBody> {
        request.extensions_mut().insert(ClientAddress(visitor.address));
        request.extensions_mut().insert(IsHttps(visitor.is_https));
        match request.uri().path() {
            // Agents may know the service by another name, or by its address.
            wire::TUNNEL_PATH => self.handle_agent(request, visitor.address).await,
            crate::plugin::PATH => self.handle_plugin(request, visitor.address),
            // Plugins call by names of their own, which the operator has made lead here.
            path if is_plugin_call(path) => (self.site)(request).await,
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
        let admission = match incident.entrance {
            Entrance::App => self.admit(request, incident, ConnectionKind::App).await?,
            Entrance::Shared => self.admit(request, incident, ConnectionKind::Shared).await?,
            Entrance::Owner => self.admit_owner(request, incident).await?,
        };
        match admission {
            Admission::Admitted(request, passage) => self.pass(request, incident, passage).await,
            Admission::Answered(response) => Ok(response),
        }
    }

    /// Who gets in at a connection.
    async fn admit(
        &self,
        request: Request<Incoming>,
        incident: &Incident,
        kind: ConnectionKind,
    ) -> Result<Admission, Failure> {
        let now = SystemTime::now();
        let address = incident.visitor.address;
        let connection = self.access.find(kind, &incident.label, address, now).await?;
        let _ = incident.printer.set(connection.printer.clone());
        if kind == ConnectionKind::Shared && request.uri().path() == password_page::PATH {
            let page = self.handle_password_page(request, &connection, &incident.visitor).await;
            return Ok(Admission::Answered(page));
        }
        if kind == ConnectionKind::Shared && request.uri().path() == notice_page::PATH {
            let page = self.handle_notice_page(request, &connection, &incident.visitor).await;
            return Ok(Admission::Answered(page));
        }
        let claim = Claim {
            headers: request.headers(),
            uri: request.uri(),
            is_websocket: incident.is_websocket,
            is_own_page: password_page::is_same_origin(request.headers(), &incident.visitor),
            address,
        };
        match self.access.admit(connection, claim, now).await {
            Ok(Admitted { connection, .. }) if self.must_show_notice(&connection, &request, incident.is_websocket) => {
                Ok(Admission::Answered(notice_page::redirect_to(request.uri())))
            }
            Ok(Admitted { connection, used_authorization }) => {
                if kind == ConnectionKind::Shared {
                    self.note_in_log(&connection, AuditKind::ShareOpened, "Shared Connection", address);
                }
                let grant = Grant::Connection(connection);
                Ok(Admission::Admitted(request, Passage { grant, used_authorization, caller: None }))
            }
            Err(failure)
                if failure.error == RelayError::InvalidCredentials
                    && kind == ConnectionKind::Shared
                    && is_navigation(&request) =>
            {
                Ok(Admission::Answered(password_page::redirect_to(request.uri())))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Notes in the owner's log what a connection was used for, once for each visitor and day. It is written beside the
    /// request: nobody waits for it.
    fn note_in_log(&self, connection: &ConnectionRecord, kind: AuditKind, subject: &str, address: IpAddr) {
        if !self.share_openings.is_news(connection.id.as_str(), address, Instant::now()) {
            return;
        }
        let (store, printer) = (self.store.clone(), connection.printer.clone());
        let event =
            AuditEvent { kind, printer: Some(printer.clone()), subject: subject.to_owned(), address: Some(address) };
        tokio::spawn(async move {
            if let Err(error) = store.audit_owner(&printer, event, SystemTime::now()).await {
                tracing::warn!(%printer, %error, "the use of a connection was not noted in the owner's log");
            }
        });
    }

    /// Limits, and the way to the link.
    async fn pass(
        &self,
        request: Request<Incoming>,
        incident: &Incident,
        mut passage: Passage,
    ) -> Result<Response<RelayBody>, Failure> {
        let (parts, body) = request.into_parts();
        let asker = commands::Asker {
            parts: &parts,
            caller: commands::caller_of(&passage.grant),
            is_websocket: incident.is_websocket,
            is_own_page: password_page::is_same_origin(&parts.headers, &incident.visitor),
        };
        match commands::judge(&asker) {
            Judgement::NoCommand => {}
            Judgement::Passes(caller) => {
                if let Grant::Connection(connection) = &passage.grant
                    && commands::is_native(parts.uri.path())
                {
                    let app = connection.app_name.as_deref().unwrap_or_default();
                    self.note_in_log(connection, AuditKind::NativeMessageSent, app, incident.visitor.address);
                }
                passage.caller = Some(caller);
            }
            Judgement::Refused(mut response) => {
                allow_any_origin(response.headers_mut(), passage.grant.entrance());
                return Ok(*response);
            }
        }
        let (request, passage) = (Request::from_parts(parts, body), &passage);
        let limits = passage.grant.limits();
        if let (Some(limit), Some(length)) = (limits.max_upload_bytes, request.body().size_hint().exact())
            && length > limit
        {
            return Err(RelayError::UploadTooLarge.into());
        }
        let link = match self.directory.find(passage.grant.printer()).await {
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
            let meter = self.webcams.of(passage.grant.printer());
            meter.check(window, Instant::now()).map_err(webcam_limit)?;
        }
        let idle_limit = if incident.is_websocket { WEBSOCKET_IDLE_LIMIT } else { self.timeouts.idle };
        let guard = self.sessions.open(passage.grant.clone(), idle_limit);
        if incident.is_websocket {
            self.relay_websocket(request, incident, passage, link.as_ref(), guard).await
        } else {
            self.relay_http(request, incident, passage, link.as_ref(), guard).await
        }
    }
}
