//! Who gets in at a printer's own host, `p-<label>`: a browser that the site has handed over.
//!
//! This host gives a browser a secret and sends it to the site, and the site sends it back with a ticket for that
//! browser. The ticket is turned into a cookie of this host, once. The cookie is bound to the session that the ticket
//! was issued to, and the store says at every turn whether that session, the account, its role and the printer still
//! stand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use model::{Label, RelayError, Secret};
use moka::sync::Cache;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use store::{OwnerVisitRecord, Role, StoreError};

use crate::body::RelayBody;
use crate::grant::{Grant, OwnerVisit};
use crate::headers::Visitor;
use crate::passage::Passage;
use crate::password_page::{field, is_same_origin, safe_target, see_other};
use crate::relay::Relay;
use crate::respond::{Failure, method_not_allowed, plain_response};
use crate::screening::is_navigation;
use crate::service::{Admission, Incident};

/// Where the site sends a browser with a ticket. The only path of these hosts that is not the printer's.
const ENTER_PATH: &str = "/.spoolway/enter";
/// Begins with [`crate::headers::COOKIE_PREFIX`], so that it never reaches the printer.
const COOKIE: &str = "__spoolway_owner";
/// Holds the browser's secret while it fetches a ticket. It begins with the same, and is sent nowhere else.
const BROWSER_COOKIE: &str = "__spoolway_arriving";
/// Where that cookie goes.
const OWN_PATHS: &str = "/.spoolway/";
/// Signing in with a second factor from another device takes minutes.
const BROWSER_COOKIE_SECONDS: u32 = 900;
/// A printer's page may have set any number of cookies of this name; a few are looked at.
const MAX_COOKIES: usize = 4;
/// The way back is kept up to here; servers refuse URLs not much longer.
const MAX_TARGET: usize = 2000;
/// Visits in the cache.
const MAX_CACHED: u64 = 10_000;
/// How long a change can go unnoticed where its announcement was lost.
const CACHE_TIME: Duration = Duration::from_secs(30);
/// A store that takes longer has not answered.
const STORE_LIMIT: Duration = Duration::from_secs(10);

/// Visits that the store has confirmed lately.
pub(crate) struct VisitCache {
    visits: Cache<[u8; 32], Arc<OwnerVisit>>,
    /// Counts invalidations, so that an answer from before one is not cached after it.
    invalidations: AtomicU64,
}

impl Default for VisitCache {
    fn default() -> Self {
        Self {
            visits: Cache::builder().max_capacity(MAX_CACHED).time_to_live(CACHE_TIME).build(),
            invalidations: AtomicU64::new(0),
        }
    }
}

impl VisitCache {
    /// Something in the store has changed.
    pub(crate) fn invalidate(&self) {
        self.invalidations.fetch_add(1, Ordering::AcqRel);
        self.visits.invalidate_all();
    }
}

impl Relay {
    /// Who gets in at a printer's own host.
    pub(crate) async fn admit_owner(
        &self,
        request: Request<Incoming>,
        incident: &Incident,
    ) -> Result<Admission, Failure> {
        let now = SystemTime::now();
        let cookies = cookies(request.headers(), COOKIE);
        let is_entering = request.uri().path() == ENTER_PATH;
        if is_entering && !matches!(*request.method(), Method::GET) {
            return Ok(Admission::Answered(method_not_allowed("GET")));
        }
        let query = request.uri().query().unwrap_or_default();
        let target = if is_entering {
            safe_target(field(query, "to").as_deref())
        } else {
            request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned()
        };
        let ticket = if is_entering { field(query, "ticket") } else { None };
        if let Some(ticket) = &ticket
            && let Some(cookie) = self.enter(&Secret::new(ticket.as_str()), &request, incident, now).await?
        {
            return Ok(Admission::Answered(entered(&target, &cookie, incident.visitor.is_https)));
        }
        if may_use_cookie(&request, &incident.visitor, incident.is_websocket) {
            for cookie in &cookies {
                let Some(visit) = self.visit(cookie, &incident.label, now).await? else { continue };
                if is_entering {
                    // A ticket that was used already, by going back in the browser.
                    return Ok(Admission::Answered(see_other(&target)));
                }
                let _ = incident.printer.set(visit.record.printer.clone());
                let passage = Passage { grant: Grant::Owner(visit), used_authorization: false, caller: None };
                return Ok(Admission::Admitted(request, passage));
            }
        }
        if ticket.is_some() && is_navigation(&request) && !request.headers().contains_key(header::COOKIE) {
            // Sent for another ticket, it would come back with it for ever.
            let text =
                "This page needs cookies, and your browser sent none. Allow them for this address, and try again.";
            return Ok(Admission::Answered(plain_response(StatusCode::BAD_REQUEST, text)));
        }
        self.refuse_stranger(&request, incident, &target, !cookies.is_empty()).await
    }

    /// Sends people to the site to sign in; tells programs.
    async fn refuse_stranger(
        &self,
        request: &Request<Incoming>,
        incident: &Incident,
        target: &str,
        has_guessed: bool,
    ) -> Result<Admission, Failure> {
        let address = incident.visitor.address;
        let Some(printer) = self.ask_store(self.store.printer_by_owner_label(&incident.label)).await? else {
            let error = self.access.unknown_name(SystemTime::now());
            return Err(self.access.after_wrong_guess(error, address));
        };
        let _ = incident.printer.set(printer);
        if !incident.is_websocket && is_navigation(request) {
            return Ok(Admission::Answered(self.send_to_site(request, incident, target)));
        }
        let error = RelayError::InvalidCredentials;
        Err(if has_guessed { self.access.after_wrong_guess(error, address) } else { error.into() })
    }

    /// Sends a browser to the page of the site that asks who it is and issues a ticket. It names no printer: whoever
    /// guessed a label learns nothing from it.
    fn send_to_site(&self, request: &Request<Incoming>, incident: &Incident, target: &str) -> Response<RelayBody> {
        // Several tabs are on their way at once with one secret.
        let known = cookies(request.headers(), BROWSER_COOKIE).into_iter().find(is_secret);
        let secret = known.unwrap_or_else(Secret::generate);
        let target = if target.len() <= MAX_TARGET { target } else { "/" };
        let target = utf8_percent_encode(target, NON_ALPHANUMERIC);
        let (names, label, browser) = (&self.names, &incident.label, secret.hash().to_hex());
        let url = format!("{}://{}/open/{label}?browser={browser}&to={target}", names.scheme, names.domain);
        let mut response = see_other(&url);
        let attributes = format!("Path={OWN_PATHS}; Max-Age={BROWSER_COOKIE_SECONDS}");
        set_cookie(&mut response, BROWSER_COOKIE, &secret, &attributes, incident.visitor.is_https);
        response
    }

    /// Turns a ticket into a cookie.
    async fn enter(
        &self,
        ticket: &Secret,
        request: &Request<Incoming>,
        incident: &Incident,
        now: SystemTime,
    ) -> Result<Option<Secret>, RelayError> {
        let label = &incident.label;
        let browser = cookies(request.headers(), BROWSER_COOKIE);
        let Some(ticket) = self.owner_views.redeem(ticket, label, &browser, Instant::now()) else { return Ok(None) };
        let made = async {
            match self.store.create_owner_visit(&ticket.session, &ticket.printer, now).await {
                Ok(cookie) => Ok(Some(cookie)),
                // The session or the printer has ended since.
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let Some(cookie) = self.ask_store(made).await? else { return Ok(None) };
        let is_good = self
            .visit(&cookie, label, now)
            .await?
            .is_some_and(|visit| visit.record.account == ticket.account && visit.record.printer == ticket.printer);
        Ok(is_good.then_some(cookie))
    }

    /// What a cookie opens at the host with `label`.
    async fn visit(
        &self,
        cookie: &Secret,
        label: &Label,
        now: SystemTime,
    ) -> Result<Option<Arc<OwnerVisit>>, RelayError> {
        let hash = cookie.hash();
        let cached = self.visits.visits.get(hash.as_bytes());
        if let Some(visit) = cached.filter(|visit| lets_in(&visit.record, label)) {
            return Ok(Some(visit));
        }
        let invalidations = self.visits.invalidations.load(Ordering::Acquire);
        let record = self.ask_store(self.store.owner_visit(cookie, now)).await?;
        let Some(record) = record.filter(|record| lets_in(record, label)) else { return Ok(None) };
        let key = *hash.as_bytes();
        let visit = Arc::new(OwnerVisit { hash, cookie: cookie.clone(), record });
        self.visits.visits.insert(key, Arc::clone(&visit));
        // An invalidation since the question was asked may have come before the insertion and missed it.
        if self.visits.invalidations.load(Ordering::Acquire) != invalidations {
            self.visits.visits.invalidate(&key);
        }
        Ok(Some(visit))
    }

    /// Whether what was opened with a cookie may go on.
    pub(crate) async fn still_lets_in(&self, visit: &OwnerVisit, now: SystemTime) -> Result<bool, StoreError> {
        let record = self.store.owner_visit(&visit.cookie, now).await?;
        Ok(record.is_some_and(|record| lets_in(&record, &visit.record.label)))
    }

    async fn ask_store<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, RelayError> {
        match tokio::time::timeout(STORE_LIMIT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::error!(%error, "the store did not answer about an owner");
                Err(RelayError::Unknown)
            }
            Err(_) => {
                tracing::error!("the store did not answer about an owner in time");
                Err(RelayError::Unknown)
            }
        }
    }
}

/// Whether a visit is one of the host with `label`, by somebody who may do everything there: the printer's own
/// interface knows no lesser way.
fn lets_in(record: &OwnerVisitRecord, label: &Label) -> bool {
    record.label == *label && record.role >= Role::Operator
}

/// Whether the cookie counts: never for a page of another host. Hosts of one domain are one site to a browser, which
/// sends their cookies along, and a WebSocket's opening is read by no rule of the browser's but ours.
fn may_use_cookie<B>(request: &Request<B>, visitor: &Visitor, is_websocket: bool) -> bool {
    if !is_same_origin(request.headers(), visitor) {
        return false;
    }
    if is_websocket {
        return request.headers().contains_key(header::ORIGIN);
    }
    let fetch = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
    match fetch("sec-fetch-site") {
        None | Some(b"same-origin" | b"none") => true,
        // A link that is followed, the site's redirect among them; not a frame, in which clicks can be stolen.
        Some(_) => {
            *request.method() == Method::GET
                && fetch("sec-fetch-mode") == Some(b"navigate")
                && fetch("sec-fetch-dest").is_none_or(|destination| destination == b"document")
        }
    }
}

/// The values of the cookies with a name.
fn cookies(headers: &HeaderMap, name: &str) -> Vec<Secret> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(name)?.strip_prefix('='))
        .filter(|value| !value.is_empty())
        .take(MAX_COOKIES)
        .map(Secret::new)
        .collect()
}

/// Whether it looks like one that we made: a page may have set any.
fn is_secret(secret: &Secret) -> bool {
    secret.expose().len() == Secret::generate().expose().len()
        && secret.expose().bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn entered(target: &str, cookie: &Secret, is_https: bool) -> Response<RelayBody> {
    let mut response = see_other(target);
    set_cookie(&mut response, COOKIE, cookie, "Path=/", is_https);
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn set_cookie(response: &mut Response<RelayBody>, name: &str, value: &Secret, attributes: &str, is_https: bool) {
    let secure = if is_https { "; Secure" } else { "" };
    let cookie = format!("{name}={}; {attributes}; HttpOnly; SameSite=Lax{secure}", value.expose());
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
