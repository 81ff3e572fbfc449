//! Agents at the door: who they are, and what becomes of their connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use cluster::Registration;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use model::link::{AgentEvent, Hello, MIN_PROTOCOL_VERSION, PROTOCOL_VERSION, Refusal, RefusalReason, Welcome};
use model::{PrinterId, RelayError, Secret};
use store::{AgentAuth, AgentSeen, AuditEvent, AuditKind, EnrolOutcome};
use tokio::io::{AsyncRead, AsyncWrite};
use tunnel::accept::{Arrival, refusal_response, unix_time_ms};
use tunnel::body::RecvBody;
use tunnel::service_side::{LAST_STREAM_ID, LinkClient, LinkEnd, LinkObserver};

use crate::agent_events::EventReader;
use crate::body::RelayBody;
use crate::edge::EdgeIo;
use crate::link::Link;
use crate::live::{ConnectionChange, LivePrinters};
use crate::native_link::{LinkState, NativeLink, open_events, send_linked};
use crate::relay::Relay;

/// An agent refused for a reason that may pass comes back after this long.
const BUSY_RETRY_SECONDS: u32 = 5;
/// When a link must be replaced because its stream ids run out, there is no hurry.
const EXHAUSTED_SPREAD: Duration = Duration::from_secs(1);

impl From<String> for RelayBody {
    fn from(text: String) -> Self {
        Self::Full(Bytes::from(text))
    }
}

impl Relay {
    /// Answers an agent's upgrade request, and serves the link after it.
    pub(crate) async fn handle_agent(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        address: IpAddr,
    ) -> Response<RelayBody> {
        let arrival = match Arrival::read(&request) {
            Ok(arrival) => arrival,
            Err(error) => return refuse(RefusalReason::Malformed, &error.to_string(), None),
        };
        let (printer, name) = match self.identify(&arrival, address).await {
            Ok(identified) => identified,
            Err(refusal) => {
                tracing::info!(reason = ?refusal.reason, printer = ?arrival.hello.printer_id, "refused an agent");
                metrics::counter!("spoolway_agent_refusals_total", "reason" => reason_label(refusal.reason))
                    .increment(1);
                return refusal_response(&refusal);
            }
        };
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            printer_id: printer.clone(),
            printer_name: name,
            service_version: env!("CARGO_PKG_VERSION").to_owned(),
            unix_time_ms: unix_time_ms(SystemTime::now()),
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let response = arrival.transport.accept_response(&welcome);
        let relay = Arc::clone(self);
        tokio::spawn(async move {
            match arrival.transport.take_over::<EdgeIo>(upgrade).await {
                Ok(io) => relay.serve_link(io, printer, arrival.hello).await,
                Err(error) => tracing::debug!(%error, "an agent left during its upgrade"),
            }
        });
        response
    }

    async fn identify(&self, arrival: &Arrival, address: IpAddr) -> Result<(PrinterId, String), Refusal> {
        let hello = &arrival.hello;
        if self.is_draining() {
            return Err(refusal(RefusalReason::Busy, "the service is restarting", Some(BUSY_RETRY_SECONDS)));
        }
        if hello.protocol < MIN_PROTOCOL_VERSION {
            let message = "this agent is too old for the service; update spoolway-agent";
            return Err(refusal(RefusalReason::AgentTooOld, message, None));
        }
        let wrong = |reason, message| match self.access.guesses().handle_wrong_secret(address, Instant::now()) {
            Ok(()) => refusal(reason, message, None),
            Err(seconds) => refusal(RefusalReason::Busy, "too many failed attempts from this address", Some(seconds)),
        };
        let unavailable = |error: store::StoreError| {
            tracing::error!(%error, "the store did not answer about an agent");
            refusal(RefusalReason::Unavailable, "the service cannot check the printer's key right now", None)
        };
        if let Some(printer) = &hello.printer_id {
            let message = match self.store.authenticate_agent(printer, &arrival.key).await.map_err(unavailable)? {
                AgentAuth::Accepted { name, .. } => return Ok((printer.clone(), name)),
                AgentAuth::WrongKey if hello.enrolment_token.is_none() => {
                    self.note_wrong_key(printer, address).await;
                    let message = "this printer was enrolled with another key; if that was not you, remove the printer, \
                                   else enrol this agent with a new token";
                    return Err(wrong(RefusalReason::WrongKey, message));
                }
                AgentAuth::Removed if hello.enrolment_token.is_none() => {
                    if self.access.unknown_name(SystemTime::now()) == RelayError::Unknown {
                        let message = "the service does not know this printer, perhaps because a backup was restored; \
                                       it may be added to it again";
                        return Err(refusal(RefusalReason::Unavailable, message, None));
                    }
                    let message = "this printer is not, or no longer, in an account; enrol it with a new token";
                    return Err(wrong(RefusalReason::PrinterRemoved, message));
                }
                AgentAuth::WrongKey | AgentAuth::Removed => "the enrolment token is not valid; make a new one",
            };
            tracing::debug!(%printer, "an enrolled agent brings a new token");
            return self.enrol(arrival, unavailable, |reason| wrong(reason, message)).await;
        }
        self.enrol(arrival, unavailable, |reason| {
            wrong(reason, "the enrolment token is unknown, used, or has expired; make a new one")
        })
        .await
    }

    /// Tells the owner that somebody else said to be the printer: perhaps a copy of its memory card.
    async fn note_wrong_key(&self, printer: &PrinterId, address: IpAddr) {
        self.live.handle_connection(printer, ConnectionChange::WrongKey(address));
        if !self.share_openings.is_news(&format!("wrong key {printer}"), address, Instant::now()) {
            return;
        }
        let event = AuditEvent {
            kind: AuditKind::AgentRefused,
            printer: Some(printer.clone()),
            subject: "an agent with another key said to be this printer; the real one is not disturbed".to_owned(),
            address: Some(address),
        };
        if let Err(error) = self.store.audit_owner(printer, event, SystemTime::now()).await {
            tracing::warn!(%printer, %error, "a refused agent was not noted in the owner's log");
        }
    }

    async fn enrol(
        &self,
        arrival: &Arrival,
        unavailable: impl Fn(store::StoreError) -> Refusal,
        wrong: impl Fn(RefusalReason) -> Refusal,
    ) -> Result<(PrinterId, String), Refusal> {
        let Some(token) = &arrival.hello.enrolment_token else { return Err(wrong(RefusalReason::InvalidToken)) };
        let token = Secret::new(token.as_str());
        let outcome = self.store.enrol_agent(&token, &arrival.key, SystemTime::now()).await.map_err(unavailable)?;
        match outcome {
            EnrolOutcome::Enrolled { printer, name } => Ok((printer, name)),
            EnrolOutcome::InvalidToken => Err(wrong(RefusalReason::InvalidToken)),
        }
    }

    async fn serve_link<T>(self: Arc<Self>, io: T, printer: PrinterId, hello: Hello)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let state = Arc::new(LinkState::new(&hello, SystemTime::now()));
        let observer = Observer { relay: Arc::clone(&self), printer: printer.clone(), state: Arc::clone(&state) };
        let (client, driver) = match LinkClient::start(io, LAST_STREAM_ID, observer).await {
            Ok(started) => started,
            Err(error) => return tracing::debug!(%printer, %error, "an agent left before the tunnel stood"),
        };
        let mut driving = tokio::spawn(driver.run());
        // The first answer shows that the agent speaks the protocol; before it, nothing is sent its way.
        let events = tokio::select! {
            events = tokio::time::timeout(self.timeouts.first_answer, open_events(&client)) => events,
            _ = &mut driving => return tracing::warn!(%printer, "an agent ended the tunnel before its first answer"),
        };
        let Ok(Ok((events, events_guard))) = events else {
            tracing::warn!(%printer, "an agent did not speak the tunnel's protocol; disconnected");
            client.close();
            return;
        };
        // Events flow for as long as the link is there: they must not keep a replaced one from ending.
        drop(events_guard);
        let link: Arc<dyn Link> = Arc::new(NativeLink::new(client.clone(), Arc::clone(&state), self.timeouts.answer));
        let (registration, replaced) = self.directory.register(&printer, Arc::clone(&link));
        let before = if let Some(replaced) = &replaced {
            replaced.close_when_idle();
            "connected"
        } else {
            "away"
        };
        metrics::counter!("spoolway_agent_connects_total", "before" => before).increment(1);
        metrics::gauge!("spoolway_agents").increment(1.0);
        let change = if replaced.is_some() { ConnectionChange::Reconnected } else { ConnectionChange::Connected };
        self.live.handle_connection(&printer, change);
        self.live.handle_change(&printer);
        tracing::info!(%printer, agent_version = hello.agent_version, software = hello.printer.software, "agent connected");
        if let Err(error) = send_linked(&client).await {
            tracing::debug!(%printer, %error, "an agent was not told that it is linked");
        }
        self.note_connected(&printer, &hello).await;
        if self.is_draining() {
            link.drain(Duration::ZERO);
        }
        // Removed while it was connecting: the change that says so may have been looked at before it was registered.
        if !self.still_enrolled(&printer).await {
            link.close();
        }
        let end = tokio::select! {
            end = &mut driving => end.unwrap_or(LinkEnd::Closed),
            () = read_events(events, &state, &printer, &self.live) => {
                // An agent that ends its events is leaving; its link may last until the last request.
                driving.await.unwrap_or(LinkEnd::Closed)
            }
        };
        self.handle_link_end(&printer, registration, end).await;
    }

    async fn still_enrolled(&self, printer: &PrinterId) -> bool {
        // A store that does not answer proves nothing.
        !matches!(self.store.authenticate_agent(printer, &Secret::new("")).await, Ok(AgentAuth::Removed))
    }

    async fn note_connected(&self, printer: &PrinterId, hello: &Hello) {
        let seen = AgentSeen {
            agent_version: hello.agent_version.clone(),
            software: hello.printer.software.clone(),
            software_version: hello.printer.software_version.clone(),
            lan_ip: hello.printer.lan_ip.clone(),
        };
        if let Err(error) = self.store.record_agent_connected(printer, SystemTime::now(), &seen).await {
            tracing::warn!(%printer, %error, "the agent's connection was not noted");
        }
    }

    async fn handle_link_end(&self, printer: &PrinterId, registration: Registration, end: LinkEnd) {
        self.directory.remove(printer, registration);
        self.live.handle_connection(printer, ConnectionChange::Disconnected(end.into()));
        self.live.handle_change(printer);
        metrics::gauge!("spoolway_agents").decrement(1.0);
        tracing::info!(%printer, ?end, "agent disconnected");
        if let Err(error) = self.store.record_agent_disconnected(printer, SystemTime::now()).await {
            tracing::warn!(%printer, %error, "the agent's disconnection was not noted");
        }
    }
}

/// Takes in what an agent reports, until it stops.
async fn read_events(mut events: RecvBody, state: &LinkState, printer: &PrinterId, live: &LivePrinters) {
    let mut reader = EventReader::default();
    let mut pace = EventPace::new(Instant::now());
    while let Some(Ok(frame)) = events.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let mut count = 0;
        let read = reader.handle_bytes(&data, |event| {
            count += 1;
            match event {
                Ok(AgentEvent::PrinterStatus(status)) => {
                    tracing::debug!(%printer, reachable = status.reachable, problem = status.problem, "printer status");
                    state.set_status(status);
                    live.handle_change(printer);
                }
                Ok(AgentEvent::PrinterState(reported)) => {
                    let reported = reported.bounded();
                    tracing::trace!(%printer, phase = %reported.phase, "printer state");
                    live.handle_temperatures(printer, &reported.temperatures, SystemTime::now());
                    state.set_printer_state(reported);
                    live.handle_change(printer);
                }
                Ok(AgentEvent::Unknown) => {}
                Err(error) => tracing::debug!(%printer, %error, "an agent sent an event that cannot be read"),
            }
        });
        if let Err(error) = read {
            return tracing::warn!(%printer, %error, "an agent's events are ignored from here on");
        }
        if let Some(rest) = pace.handle_events(count, Instant::now()) {
            tokio::time::sleep(rest).await;
        }
    }
}

/// Makes an agent wait that sends more events than there is anything to say: each is told to everybody who watches
/// any printer. What it sends meanwhile stays in the link's window.
struct EventPace {
    second: Instant,
    count: u32,
}

/// Twice what a well-behaved agent sends in its first second, and ten times what it may send later.
const EVENTS_A_SECOND: u32 = 10;

impl EventPace {
    fn new(now: Instant) -> Self {
        Self { second: now, count: 0 }
    }

    /// How long nothing more is read.
    fn handle_events(&mut self, count: u32, now: Instant) -> Option<Duration> {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.count += count;
        if self.count <= EVENTS_A_SECOND {
            return None;
        }
        let rest = Duration::from_secs(1) * (self.count / EVENTS_A_SECOND);
        *self = Self::new(now + rest);
        Some(rest)
    }
}

struct Observer {
    relay: Arc<Relay>,
    printer: PrinterId,
    state: Arc<LinkState>,
}

impl LinkObserver for Observer {
    fn round_trip(&mut self, round_trip: Duration) {
        self.state.set_round_trip(round_trip);
        metrics::histogram!("spoolway_tunnel_round_trip_seconds").record(round_trip.as_secs_f64());
    }

    fn exhausted(&mut self) {
        let (relay, printer) = (Arc::clone(&self.relay), self.printer.clone());
        tokio::spawn(async move {
            if let Ok(cluster::Whereabouts::Here(link)) = relay.directory.find(&printer).await {
                link.drain(EXHAUSTED_SPREAD);
            }
        });
    }
}

fn refusal(reason: RefusalReason, message: &str, retry_after_seconds: Option<u32>) -> Refusal {
    Refusal { reason, message: message.to_owned(), retry_after_seconds }
}

fn refuse(reason: RefusalReason, message: &str, retry_after_seconds: Option<u32>) -> Response<RelayBody> {
    metrics::counter!("spoolway_agent_refusals_total", "reason" => reason_label(reason)).increment(1);
    refusal_response(&refusal(reason, message, retry_after_seconds))
}

const fn reason_label(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::InvalidToken => "invalid_token",
        RefusalReason::WrongKey => "wrong_key",
        RefusalReason::PrinterRemoved => "printer_removed",
        RefusalReason::AgentTooOld => "agent_too_old",
        RefusalReason::ServiceTooOld => "service_too_old",
        RefusalReason::Malformed => "malformed",
        RefusalReason::Busy => "busy",
        RefusalReason::Unavailable => "unavailable",
        RefusalReason::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_says_too_much_has_to_wait() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut pace = EventPace::new(start);
        assert_eq!(pace.handle_events(EVENTS_A_SECOND, start), None);
        assert_eq!(pace.handle_events(1, start), Some(second));
        assert_eq!(pace.handle_events(EVENTS_A_SECOND, start + second), None);
        assert_eq!(pace.handle_events(2, start + 2 * second), None, "the second is over");
        let flood = pace.handle_events(10 * EVENTS_A_SECOND, start + 3 * second);
        assert_eq!(flood, Some(10 * second), "in the long run no more than allowed");
    }
}
