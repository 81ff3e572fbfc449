//! The printer's reports, for as long as it is connected.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::{self, sleep_until};
use tracing::debug;

use super::report::read_message;
use super::{Bambu, Report};
use crate::mqtt::{BrokerEvent, Message, Qos, Subscription};
use crate::platforms::{CommandFailure, Observed, Outcome};

/// Between asking for all of the state: light machines stumble over it.
const ALL_PERIOD: Duration = Duration::from_secs(300);
/// Between what is published; a printer may report more often.
const PERIOD: Duration = Duration::from_millis(250);
/// For the first report of a connection. The printer answers within a second or two.
const FIRST_REPORT: Duration = Duration::from_secs(20);

impl Bambu {
    /// Keeps connected and publishes what the printer reports, for as long as the future lives.
    pub(super) async fn follow(&self) {
        tokio::select! {
            () = self.broker.run() => {}
            () = self.hear() => {}
        }
    }

    async fn hear(&self) {
        let mut listener = self.broker.listen();
        let mut visit = Visit::default();
        loop {
            let (publish_at, silent_at) = (visit.published + PERIOD, visit.began + FIRST_REPORT);
            let is_due = self.all_is_due();
            tokio::select! {
                event = listener.next() => match event {
                    Some(BrokerEvent::Connected) => visit = self.greet().await,
                    Some(BrokerEvent::Disconnected(failure)) => {
                        visit = Visit::default();
                        self.tell_trouble(failure);
                    }
                    Some(BrokerEvent::Message(message)) => {
                        if let Some(is_about_state) = self.handle(&message) {
                            // The first word of a connection says that what was known before is there again.
                            visit.has_news |= is_about_state || !visit.has_heard;
                            visit.has_heard = true;
                        }
                    }
                    None => {
                        // Something is missing between what was heard and what comes.
                        listener = self.broker.listen();
                        self.forget();
                        self.broker.reconnect(not_connected("the printer reports more than can be followed"));
                    }
                },
                () = sleep_until(publish_at), if visit.has_news => {
                    visit.has_news = false;
                    visit.published = time::Instant::now();
                    self.publish();
                }
                () = sleep_until(silent_at), if visit.is_waiting() => {
                    let problem = "the printer accepts the connection and reports nothing: is `serial` its serial number?";
                    self.broker.reconnect(not_connected(problem));
                    visit = Visit::default();
                }
                () = sleep_until(is_due.unwrap_or(silent_at)), if visit.wants_all && is_due.is_some() => {
                    visit.wants_all = false;
                    self.ask_for_all().await;
                }
            }
        }
    }

    /// What there is to do at the beginning of a connection.
    async fn greet(&self) -> Visit {
        let begun = async {
            let subscription = self.broker.subscribe(&self.reports, Qos::AtMostOnce).await?;
            self.send(&json!({"info": {"sequence_id": "0", "command": "get_version"}})).await?;
            Outcome::Ok(subscription)
        };
        let subscription = match begun.await {
            Ok(subscription) => subscription,
            Err(failure @ CommandFailure::NotConnected(_)) => {
                debug!("the printer is gone again: {failure}");
                return Visit::default();
            }
            Err(failure) => {
                self.broker.reconnect(failure);
                return Visit::default();
            }
        };
        let is_known = self.known.lock().report.is_known();
        let is_due = self.all_is_due().is_none_or(|due| due <= time::Instant::now());
        // What is known goes on with what has changed since, until all of it may be asked for again.
        let asks = is_due || !is_known;
        if asks {
            self.ask_for_all().await;
        }
        let now = time::Instant::now();
        Visit { subscription: Some(subscription), began: now, wants_all: !asks, ..Visit::default() }
    }

    async fn ask_for_all(&self) {
        self.known.lock().asked_for_all = Some(Instant::now());
        let asked = self.send(&json!({"pushing": {"sequence_id": "0", "command": "pushall"}})).await;
        if let Err(failure) = asked {
            debug!("the printer cannot be asked for its state: {failure}");
        }
    }

    /// When the printer may be asked for all of its state again; `None` where it has not been asked.
    fn all_is_due(&self) -> Option<time::Instant> {
        let asked = self.known.lock().asked_for_all?;
        Some(time::Instant::from_std(asked) + ALL_PERIOD)
    }

    /// Takes over a message; returns whether it was about the state, and nothing if it was no message at all.
    fn handle(&self, message: &Message) -> Option<bool> {
        if message.topic != self.reports {
            return None;
        }
        let message = read_message(&message.payload)?;
        // Whoever answers knows the access code to be right: from now on it is this printer.
        self.certificate.keep();
        self.known.lock().is_connected = true;
        self.answers.handle(&message);
        let subject = |name: &str| message.get(name).and_then(serde_json::Value::as_object);
        if let Some(info) = subject("info").filter(|info| info.get("command").is_some_and(|name| name == "get_version"))
        {
            self.known.lock().about.handle(info);
        }
        let Some(print) = subject("print") else { return Some(false) };
        if print.get("command").is_none_or(|command| command != "push_status") {
            return Some(false);
        }
        self.known.lock().report.handle(print);
        Some(true)
    }

    fn tell_trouble(&self, failure: CommandFailure) {
        let failure = self.certificate.take_refusal().map_or(failure, CommandFailure::NotConnected);
        // Held until it is published, so that nobody publishes the state over it.
        let mut known = self.known.lock();
        known.is_connected = false;
        self.context.publisher.publish(Observed::trouble(failure));
    }

    fn forget(&self) {
        let mut known = self.known.lock();
        known.report = Report::default();
    }
}

/// One connection.
struct Visit {
    /// It ends with this.
    subscription: Option<Subscription>,
    began: time::Instant,
    has_heard: bool,
    /// Whether something has come that is not published yet.
    has_news: bool,
    published: time::Instant,
    /// Whether all of the state is still to be asked for.
    wants_all: bool,
}

impl Default for Visit {
    fn default() -> Self {
        let now = time::Instant::now();
        Self { subscription: None, began: now, has_heard: false, has_news: false, published: now, wants_all: false }
    }
}

impl Visit {
    /// Whether it is connected, and the printer has not said anything.
    fn is_waiting(&self) -> bool {
        self.subscription.is_some() && !self.has_heard
    }
}

fn not_connected(problem: &str) -> CommandFailure {
    CommandFailure::NotConnected(problem.to_owned())
}
