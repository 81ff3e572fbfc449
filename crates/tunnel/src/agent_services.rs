//! What an agent can do for the service besides passing requests on, and the events that it sends.

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use model::link::{AgentEvent, PrinterStatus};
use model::printing::PrinterState;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::agent_side::BoxError;
use crate::body::RecvBody;

/// Printers report their temperatures many times a second; nobody looks at them more often than this.
const STATE_PERIOD: Duration = Duration::from_secs(1);

/// Body of what the agent itself answers.
pub type ServiceBody = UnsyncBoxBody<Bytes, BoxError>;

/// Answers what the service asks of the agent about its printer.
///
/// Only the service can ask: visitors do not choose the authority that leads here.
pub trait AgentServices: Send + Sync + 'static {
    /// What the printer does. The service is told at once, and again when it changes.
    fn state(&self) -> watch::Receiver<PrinterState>;

    /// Answers a request whose path is none of the link's own; 404 where it is not known.
    fn call(&self, request: Request<RecvBody>) -> BoxFuture<'static, Response<ServiceBody>>;
}

struct Events {
    status: watch::Receiver<PrinterStatus>,
    status_is_due: bool,
    state: Option<watch::Receiver<PrinterState>>,
    state_is_due: bool,
    /// The next state goes out then, at the earliest.
    state_from: Instant,
}

/// Status and state at once, and again whenever they change, each as one line of JSON.
pub(crate) fn events(
    status: watch::Receiver<PrinterStatus>,
    state: Option<watch::Receiver<PrinterState>>,
) -> impl Stream<Item = Bytes> + Send {
    let events =
        Events { status, status_is_due: true, state_is_due: state.is_some(), state, state_from: Instant::now() };
    futures_util::stream::unfold(events, |mut events| async move {
        let mut line = serde_json::to_vec(&events.next().await?).ok()?;
        line.push(b'\n');
        Some((Bytes::from(line), events))
    })
}

impl Events {
    async fn next(&mut self) -> Option<AgentEvent> {
        loop {
            if self.status_is_due {
                self.status_is_due = false;
                return Some(AgentEvent::PrinterStatus(self.status.borrow_and_update().clone()));
            }
            let state_is_due = self.state_is_due;
            tokio::select! {
                changed = self.status.changed() => {
                    changed.ok()?;
                    self.status_is_due = true;
                }
                alive = changed(&mut self.state), if !state_is_due => {
                    self.state_is_due = alive;
                }
                () = sleep_until(self.state_from), if state_is_due => {
                    self.state_is_due = false;
                    self.state_from = Instant::now() + STATE_PERIOD;
                    if let Some(state) = &mut self.state {
                        return Some(AgentEvent::PrinterState(state.borrow_and_update().clone()));
                    }
                }
            }
        }
    }
}

/// Waits for a change; `false` if there will be none any more.
async fn changed(state: &mut Option<watch::Receiver<PrinterState>>) -> bool {
    match state {
        Some(receiver) => {
            let alive = receiver.changed().await.is_ok();
            if !alive {
                *state = None;
            }
            alive
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use futures_util::StreamExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_state_comes_at_once_and_then_at_most_once_a_second() {
        let (_status, status) = watch::channel(PrinterStatus::default());
        let (states, state) = watch::channel(PrinterState { layer: Some(0), ..PrinterState::default() });
        let mut events = std::pin::pin!(events(status, Some(state)));
        let mut next = async || {
            let line = events.next().await.unwrap();
            assert!(line.ends_with(b"\n"));
            serde_json::from_slice::<AgentEvent>(&line).unwrap()
        };
        let began = Instant::now();
        assert!(matches!(next().await, AgentEvent::PrinterStatus(_)));
        assert!(matches!(next().await, AgentEvent::PrinterState(state) if state.layer == Some(0)));
        assert_eq!(began.elapsed(), Duration::ZERO);
        for layer in 1..=100 {
            states.send_modify(|state| state.layer = Some(layer));
        }
        assert!(matches!(next().await, AgentEvent::PrinterState(state) if state.layer == Some(100)));
        assert_eq!(began.elapsed(), STATE_PERIOD);
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_goes_on_without_a_state() {
        let (statuses, status) = watch::channel(PrinterStatus::default());
        let (states, state) = watch::channel(PrinterState::default());
        let mut events = std::pin::pin!(events(status, Some(state)));
        events.next().await.unwrap();
        events.next().await.unwrap();
        drop(states);
        statuses.send_modify(|status| status.reachable = true);
        assert!(events.next().await.unwrap().starts_with(br#"{"event":"printer_status""#));
        drop(statuses);
        assert_eq!(events.next().await, None);
    }
}
