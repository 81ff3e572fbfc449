//! A client that speaks the JSON protocol.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::json_protocol::{Request, Wish, ack, done, message, read};
use super::socket::{Ended, Said, Socket};
use crate::mqtt::{BrokerEvent, Link, MAX_SUBSCRIPTIONS, Message, PrinterBroker, Qos, Subscription, topic};

/// For the printer to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// A subscription that the printer refuses (MQTT 3.1.1 §3.9.3).
const REFUSED: u8 = 0x80;

struct JsonClient<'a> {
    socket: &'a mut Socket,
    broker: &'a PrinterBroker,
    subscriptions: HashMap<String, Subscription>,
    n_messages: u64,
}

/// Serves it until it goes, or the printer does.
pub(super) async fn serve(socket: &mut Socket, first: Said, broker: &PrinterBroker) -> Ended {
    let mut events = broker.listen();
    if let Link::Down(failure) = &*broker.link().borrow() {
        return Ended::failed(failure);
    }
    let mut client = JsonClient { socket, broker, subscriptions: HashMap::new(), n_messages: 0 };
    let mut step = client.handle_request(&first).await;
    while step.is_ok() {
        step = tokio::select! {
            said = client.socket.next() => match said {
                Ok(said) => client.handle_request(&said).await,
                Err(ended) => Err(ended),
            },
            event = events.next() => match event {
                Some(BrokerEvent::Message(published)) => client.handle_message(&published).await,
                Some(BrokerEvent::Connected) => Ok(()),
                Some(BrokerEvent::Disconnected(failure)) => Err(Ended::failed(&failure)),
                None => Err(Ended::with(CloseCode::Again, "messages are not taken fast enough")),
            },
        };
    }
    step.err().unwrap_or(Ended::GONE)
}

impl JsonClient<'_> {
    async fn handle_request(&mut self, said: &Said) -> Result<(), Ended> {
        let request = match read(said.bytes()) {
            Ok(request) => request,
            Err(error) => return Err(Ended::with(CloseCode::Policy, &error.to_string())),
        };
        match &request.wish {
            Wish::Subscribe => self.subscribe(&request).await,
            Wish::Unsubscribe => {
                let was_there = self.subscriptions.remove(&request.topic).is_some();
                self.ack(&request, was_there).await?;
                let number = self.n_messages;
                self.say(&done(&request, 0, number)).await
            }
            Wish::Publish(payload) => {
                let message = Message {
                    topic: request.topic.clone(),
                    payload: payload.clone(),
                    qos: Qos::AtMostOnce,
                    retain: false,
                };
                let published = timeout(LIMIT, self.broker.publish(message)).await.is_ok_and(|told| told.is_ok());
                self.ack(&request, published).await
            }
        }
    }

    async fn subscribe(&mut self, request: &Request) -> Result<(), Ended> {
        let has_room = self.subscriptions.len() < MAX_SUBSCRIPTIONS || self.subscriptions.contains_key(&request.topic);
        let subscription = if has_room {
            let asked = timeout(LIMIT, self.broker.subscribe(&request.topic, Qos::AtMostOnce)).await;
            asked.ok().and_then(Result::ok)
        } else {
            None
        };
        self.ack(request, subscription.is_some()).await?;
        let number = self.n_messages;
        let Some(subscription) = subscription else { return self.say(&done(request, REFUSED, number)).await };
        let kept = if subscription.is_fresh { Vec::new() } else { self.broker.retained(&request.topic) };
        self.subscriptions.insert(request.topic.clone(), subscription);
        self.say(&done(request, 0, number)).await?;
        for kept in kept {
            self.pass_on(&kept).await?;
        }
        Ok(())
    }

    async fn handle_message(&mut self, published: &Message) -> Result<(), Ended> {
        let is_wanted = self.subscriptions.keys().any(|filter| topic::matches(filter, &published.topic));
        if is_wanted { self.pass_on(published).await } else { Ok(()) }
    }

    async fn pass_on(&mut self, published: &Message) -> Result<(), Ended> {
        self.n_messages += 1;
        let number = self.n_messages;
        self.say(&message(published, number)).await
    }

    async fn ack(&mut self, request: &Request, succeeded: bool) -> Result<(), Ended> {
        self.n_messages += 1;
        let number = self.n_messages;
        if request.no_ack { Ok(()) } else { self.say(&ack(request, succeeded, number)).await }
    }

    async fn say(&mut self, value: &Value) -> Result<(), Ended> {
        self.socket.send(Frame::text(value.to_string())).await
    }
}
