//! Following a printer: registering, asking for its state, and taking in what it pushes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::debug;

use super::control::{method, request};
use super::{ElegooCc2, camera};
use crate::mqtt::{BrokerEvent, Message, Qos, Subscription};
use crate::platforms::{CommandFailure, Observed, Outcome};

/// For the printer to answer a subscription or the registration.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Between proofs of life.
const PING_PERIOD: Duration = Duration::from_secs(10);
/// A printer that has not answered for so long is not there, whatever its broker says.
const PONG_LIMIT: Duration = Duration::from_secs(65);
/// What the printer pushes by itself.
const PUSH: u64 = 6000;

/// Where the conversation with the printer stands.
#[derive(Default)]
struct Talk {
    /// They end with the conversation.
    subscriptions: Vec<Subscription>,
    /// Until when it has to answer the registration.
    register_until: Option<Instant>,
    /// When it was last heard; `None` before it has taken us on.
    heard: Option<Instant>,
}

/// Follows the printer for as long as the future lives.
pub(super) async fn follow(printer: &ElegooCc2) {
    loop {
        let mut events = printer.broker.listen();
        let mut talk = Talk::default();
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping_due = Instant::now() + PING_PERIOD;
        // Ends when it falls so far behind that events were lost.
        loop {
            let outcome = tokio::select! {
                event = events.next() => match event {
                    Some(event) => talk.handle_event(printer, event).await,
                    None => break,
                },
                _ = ticks.tick() => talk.handle_time(printer, &mut ping_due).await,
            };
            if let Err(failure) = outcome {
                talk = Talk::default();
                printer.publish(Observed::trouble(failure.clone()));
                printer.broker.reconnect(failure);
            }
        }
        printer.broker.reconnect(CommandFailure::NotConnected("the printer publishes too much".to_owned()));
    }
}

impl Talk {
    async fn handle_event(&mut self, printer: &ElegooCc2, event: BrokerEvent) -> Outcome<()> {
        match event {
            BrokerEvent::Connected => {
                *self = Self::default();
                self.register(printer).await
            }
            BrokerEvent::Disconnected(failure) => {
                *self = Self::default();
                printer.pending.clear();
                printer.known.lock().forget_state();
                printer.publish(Observed::trouble(failure));
                Ok(())
            }
            BrokerEvent::Message(message) => self.handle_message(printer, &message).await,
        }
    }

    async fn register(&mut self, printer: &ElegooCc2) -> Outcome<()> {
        let topics = &printer.topics;
        self.subscribe(printer, &topics.register_response).await?;
        let registration = json!({"client_id": topics.client_id, "request_id": format!("{}_req", topics.client_id)});
        printer.broker.publish(request(&topics.register, &registration)).await?;
        self.register_until = Some(Instant::now() + ANSWER_LIMIT);
        Ok(())
    }

    async fn subscribe(&mut self, printer: &ElegooCc2, topic: &str) -> Outcome<()> {
        let silent = || CommandFailure::NotConnected("the printer does not answer a subscription".to_owned());
        let subscribed = timeout(ANSWER_LIMIT, printer.broker.subscribe(topic, Qos::AtMostOnce)).await;
        self.subscriptions.push(subscribed.map_err(|_| silent())??);
        Ok(())
    }

    async fn handle_message(&mut self, printer: &ElegooCc2, message: &Message) -> Outcome<()> {
        let topics = &printer.topics;
        let is_registration = message.topic == topics.register_response;
        if !is_registration && message.topic != topics.response && message.topic != topics.status {
            return Ok(());
        }
        // What is no JSON object is none of ours; other firmwares may say more.
        let Ok(payload @ Value::Object(_)) = serde_json::from_slice::<Value>(&message.payload) else {
            debug!("the printer says something on {} that is no JSON object", message.topic);
            return Ok(());
        };
        if is_registration {
            return self.handle_registration(printer, &payload).await;
        }
        self.heard = self.heard.map(|_| Instant::now());
        let method = payload["method"].as_u64();
        if method == Some(PUSH) || method == Some(method::STATUS.into()) {
            let is_whole = method != Some(PUSH);
            let is_known = printer.known.lock().handle_status(&payload["result"], is_whole);
            if is_known {
                let cameras = camera::source(printer).into_iter().collect();
                let observed = printer.known.lock().observed();
                printer.publish(Observed { cameras, ..observed });
            }
        } else if method == Some(method::ATTRIBUTES.into()) {
            printer.known.lock().handle_attributes(&payload["result"]);
        }
        if message.topic == topics.response
            && let Some(id) = payload["id"].as_u64()
        {
            printer.pending.handle(id, payload);
        }
        Ok(())
    }

    async fn handle_registration(&mut self, printer: &ElegooCc2, answer: &Value) -> Outcome<()> {
        // It may be another program's that has drawn the same number.
        let is_ours = answer["client_id"].as_str().is_none_or(|id| id == printer.topics.client_id);
        if !is_ours || self.register_until.take().is_none() {
            return Ok(());
        }
        let error = answer["error"].as_str().unwrap_or("ok").to_ascii_lowercase();
        if error.contains("too many") {
            return Err(CommandFailure::TooManyClients(
                "the printer does not take another program; close others that use it".to_owned(),
            ));
        }
        if error.contains("auth") || error.contains("code") || error.contains("password") {
            return Err(CommandFailure::CredentialsRejected(
                "the printer does not accept the access code: compare `access_code` with what its screen shows"
                    .to_owned(),
            ));
        }
        if error != "ok" {
            let error: String = error.chars().filter(|letter| !letter.is_control()).take(100).collect();
            return Err(CommandFailure::NotConnected(format!("the printer does not take the agent on: {error}")));
        }
        self.heard = Some(Instant::now());
        self.subscribe(printer, &printer.topics.status).await?;
        self.subscribe(printer, &printer.topics.response).await?;
        for method in [method::ATTRIBUTES, method::STATUS] {
            printer.broker.publish(printer.question(printer.pending.number(), method, &json!({}))).await?;
        }
        Ok(())
    }

    async fn handle_time(&mut self, printer: &ElegooCc2, ping_due: &mut Instant) -> Outcome<()> {
        let now = Instant::now();
        if self.register_until.is_some_and(|until| until <= now) {
            return Err(CommandFailure::NotConnected(
                "the printer does not answer the registration; is `serial` its serial number?".to_owned(),
            ));
        }
        let Some(heard) = self.heard else { return Ok(()) };
        if now.duration_since(heard) > PONG_LIMIT {
            return Err(CommandFailure::NotConnected("the printer does not answer any more".to_owned()));
        }
        if *ping_due <= now {
            *ping_due = now + PING_PERIOD;
            printer.broker.publish(request(&printer.topics.request, &json!({"type": "PING"}))).await?;
        }
        Ok(())
    }
}
