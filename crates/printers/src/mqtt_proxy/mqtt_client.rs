//! A client that speaks MQTT 3.1.1: to it we are the broker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt_protocol_core::mqtt::connection::role::Server;
use mqtt_protocol_core::mqtt::packet::v3_1_1::{
    Connack, Connect, Puback, Pubcomp, Publish, Pubrec, Pubrel, Suback, Subscribe, Unsuback,
};
use mqtt_protocol_core::mqtt::packet::{Packet, SubEntry};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError, SubackReturnCode};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use super::HELLO_LIMIT;
use super::clients::{Clients, MAX_NAME, Named};
use super::socket::{Ended, Said, Socket};
use crate::mqtt::{
    BrokerEvent, Engine, EngineError, Link, Listener, MAX_SUBSCRIPTIONS, Message, PrinterBroker, Qos, Subscription,
    topic,
};
use crate::platforms::CommandFailure;

/// For the printer to take a message or answer a subscription.
const LIMIT: Duration = Duration::from_secs(10);
/// Messages of QoS 1 and 2 that the client has not acknowledged. Then it gets no more before it does.
const MAX_UNACKNOWLEDGED: usize = 64;

/// Serves it until it goes, or the printer does.
pub(super) async fn serve(socket: &mut Socket, first: Said, broker: &PrinterBroker, clients: &Arc<Clients>) -> Ended {
    let mut client = MqttClient {
        socket,
        broker,
        clients,
        engine: Engine::new(false),
        named: None,
        will: None,
        subscriptions: HashMap::new(),
        n_unacknowledged: 0,
    };
    let ended = client.run(first).await;
    client.leave(&ended).await;
    ended
}

struct MqttClient<'a> {
    socket: &'a mut Socket,
    broker: &'a PrinterBroker,
    clients: &'a Arc<Clients>,
    engine: Engine<Server>,
    /// Present once it is connected.
    named: Option<Named>,
    /// To be published if it does not say goodbye.
    will: Option<Message>,
    subscriptions: HashMap<String, Subscription>,
    n_unacknowledged: usize,
}

impl MqttClient<'_> {
    async fn run(&mut self, first: Said) -> Ended {
        let mut events = self.broker.listen();
        let hello_until = Instant::now() + HELLO_LIMIT;
        let mut step = self.handle_said(first).await;
        while step.is_ok() {
            step = self.step(&mut events, hello_until).await;
        }
        step.err().unwrap_or(Ended::GONE)
    }

    async fn step(&mut self, events: &mut Listener, hello_until: Instant) -> Result<(), Ended> {
        let due = self.engine.poll_due();
        let displaced = self.named.as_ref().map_or_else(CancellationToken::new, |named| named.displaced.clone());
        let has_room = self.n_unacknowledged < MAX_UNACKNOWLEDGED;
        // Every branch can be given up: half-read messages stay in the socket, events in their channel.
        tokio::select! {
            said = self.socket.next() => self.handle_said(said?).await,
            event = events.next(), if has_room => match event {
                Some(BrokerEvent::Message(message)) => self.handle_message(&message).await,
                Some(BrokerEvent::Connected) => Ok(()),
                Some(BrokerEvent::Disconnected(failure)) => Err(Ended::failed(&failure)),
                None => Err(Ended::with(CloseCode::Again, "messages are not taken fast enough")),
            },
            () = displaced.cancelled() => Err(Ended::with(CloseCode::Policy, "another client has the same name")),
            () = sleep_until(due.unwrap_or(hello_until)), if due.is_some() => {
                self.engine.handle_time(Instant::now()).map_err(bad)
            }
            () = sleep_until(hello_until), if self.named.is_none() => {
                Err(Ended::with(CloseCode::Policy, "there was no login"))
            }
        }
    }

    async fn handle_said(&mut self, said: Said) -> Result<(), Ended> {
        let Said::Binary(bytes) = said else {
            return Err(Ended::with(CloseCode::Unsupported, "MQTT travels in binary messages"));
        };
        let handled = self.engine.handle_bytes(&bytes, Instant::now());
        while let Some(packet) = self.engine.poll_received() {
            self.handle_packet(packet).await?;
        }
        let n_released = self.engine.poll_released().len();
        self.n_unacknowledged = self.n_unacknowledged.saturating_sub(n_released);
        match handled {
            // What is refused before there is a session is so by its version.
            Err(error) if self.named.is_none() && error != EngineError::TooLarge => {
                self.engine.poll_bytes();
                self.send_raw(&refusal(ConnectReturnCode::UnacceptableProtocolVersion)?).await?;
                Err(bad(error))
            }
            Err(error) => Err(bad(error)),
            Ok(()) => self.flush().await,
        }
    }

    async fn handle_packet(&mut self, packet: Packet) -> Result<(), Ended> {
        if let Packet::V3_1_1Connect(connect) = &packet {
            return self.handle_connect(connect).await;
        }
        if self.named.is_none() {
            return Err(Ended::with(CloseCode::Protocol, "the first packet must be CONNECT"));
        }
        match packet {
            Packet::V3_1_1Publish(publish) => self.handle_publish(&publish).await,
            Packet::V3_1_1Subscribe(subscribe) => self.handle_subscribe(&subscribe).await,
            Packet::V3_1_1Unsubscribe(unsubscribe) => {
                for filter in unsubscribe.entries() {
                    self.subscriptions.remove(filter.as_str());
                }
                self.send(Unsuback::builder().packet_id(unsubscribe.packet_id()).build()).await
            }
            Packet::V3_1_1Pubrel(release) => self.send(Pubcomp::builder().packet_id(release.packet_id()).build()).await,
            Packet::V3_1_1Pubrec(received) => {
                self.send(Pubrel::builder().packet_id(received.packet_id()).build()).await
            }
            Packet::V3_1_1Disconnect(_) => {
                self.will = None;
                Err(Ended::with(CloseCode::Normal, ""))
            }
            // The engine has dealt with the others.
            _ => Ok(()),
        }
    }

    async fn handle_connect(&mut self, connect: &Connect) -> Result<(), Ended> {
        if self.named.is_some() {
            return Err(Ended::with(CloseCode::Protocol, "there is a session already"));
        }
        let link = self.broker.link().borrow().clone();
        let refused = match (&link, connect.clean_session()) {
            (_, false) if connect.client_id().is_empty() => Some(ConnectReturnCode::IdentifierRejected),
            _ if connect.client_id().len() > MAX_NAME => Some(ConnectReturnCode::IdentifierRejected),
            // Sessions end with their connection here.
            (Link::Down(_), _) | (_, false) => Some(ConnectReturnCode::ServerUnavailable),
            (Link::Up(_), true) => None,
        };
        if let Some(code) = refused {
            self.send(connack(code)).await?;
            return Err(match (&link, connect.clean_session()) {
                (Link::Down(failure), true) => Ended::failed(failure),
                _ => Ended::with(CloseCode::Policy, "sessions are not kept: connect with `clean_session`, and a name"),
            });
        }
        if let Some(topic) = connect.will_topic() {
            if !topic::is_topic(topic) {
                return Err(Ended::with(CloseCode::Protocol, "the will has no topic that can be published"));
            }
            self.will = Some(Message {
                topic: topic.to_owned(),
                payload: Bytes::copy_from_slice(connect.will_payload().unwrap_or_default()),
                qos: connect.will_qos(),
                retain: connect.will_retain(),
            });
        }
        // A client without a name displaces nobody.
        let name = if connect.client_id().is_empty() {
            format!("\0{}", model::RequestId::generate())
        } else {
            connect.client_id().to_owned()
        };
        self.named = Some(self.clients.take(&name));
        self.send(connack(ConnectReturnCode::Accepted)).await
    }

    async fn handle_publish(&mut self, publish: &Publish) -> Result<(), Ended> {
        if !topic::is_topic(publish.topic_name()) {
            return Err(Ended::with(CloseCode::Protocol, "that is no topic to publish under"));
        }
        let message = Message {
            topic: publish.topic_name().to_owned(),
            payload: Bytes::copy_from_slice(publish.payload().as_slice()),
            qos: publish.qos(),
            retain: publish.retain(),
        };
        self.tell_printer(message).await?;
        match (publish.qos(), publish.packet_id()) {
            (Qos::AtLeastOnce, Some(id)) => self.send(Puback::builder().packet_id(id).build()).await,
            (Qos::ExactlyOnce, Some(id)) => self.send(Pubrec::builder().packet_id(id).build()).await,
            _ => Ok(()),
        }
    }

    async fn tell_printer(&self, message: Message) -> Result<(), Ended> {
        let silent = || CommandFailure::Failed("the printer does not acknowledge what it is sent".to_owned());
        let told = timeout(LIMIT, self.broker.publish(message)).await.unwrap_or_else(|_| Err(silent()));
        told.map_err(|failure| Ended::failed(&failure))
    }

    async fn handle_subscribe(&mut self, subscribe: &Subscribe) -> Result<(), Ended> {
        let mut codes = Vec::new();
        let mut kept = Vec::new();
        for entry in subscribe.entries() {
            codes.push(self.subscribe(entry, &mut kept).await);
        }
        self.send(Suback::builder().packet_id(subscribe.packet_id()).return_codes(codes).build()).await?;
        for (message, qos) in kept {
            self.deliver(&message, qos, true).await?;
        }
        Ok(())
    }

    async fn subscribe(&mut self, entry: &SubEntry, kept: &mut Vec<(Arc<Message>, Qos)>) -> SubackReturnCode {
        let (filter, qos) = (entry.topic_filter(), entry.sub_opts().qos());
        let has_room = self.subscriptions.len() < MAX_SUBSCRIPTIONS || self.subscriptions.contains_key(filter);
        if !has_room || !topic::is_filter(filter) {
            return SubackReturnCode::Failure;
        }
        let Ok(Ok(mut subscription)) = timeout(LIMIT, self.broker.subscribe(filter, qos)).await else {
            return SubackReturnCode::Failure;
        };
        let granted = subscription.granted.min(qos);
        if !subscription.is_fresh {
            kept.extend(self.broker.retained(filter).into_iter().map(|message| (message, granted)));
        }
        subscription.granted = granted;
        self.subscriptions.insert(filter.to_owned(), subscription);
        match granted {
            Qos::AtMostOnce => SubackReturnCode::SuccessMaximumQos0,
            Qos::AtLeastOnce => SubackReturnCode::SuccessMaximumQos1,
            Qos::ExactlyOnce => SubackReturnCode::SuccessMaximumQos2,
        }
    }

    async fn handle_message(&mut self, message: &Message) -> Result<(), Ended> {
        let wanting = self.subscriptions.iter().filter(|(filter, _)| topic::matches(filter, &message.topic));
        // Once, also where several subscriptions match, with the best of what they were granted.
        match wanting.map(|(_, subscription)| subscription.granted).max() {
            Some(qos) => self.deliver(message, qos, message.retain).await,
            None => Ok(()),
        }
    }

    async fn deliver(&mut self, message: &Message, qos: Qos, retain: bool) -> Result<(), Ended> {
        let qos = qos.min(message.qos);
        let mut publish = || -> Result<Publish, EngineError> {
            let mut publish = Publish::builder()
                .topic_name(message.topic.as_str())?
                .qos(qos)
                .retain(retain)
                .payload(&message.payload[..]);
            if qos != Qos::AtMostOnce {
                publish = publish.packet_id(self.engine.packet_id()?);
            }
            Ok(publish.build()?)
        };
        let publish = publish().map_err(bad)?;
        if qos != Qos::AtMostOnce {
            self.n_unacknowledged += 1;
        }
        self.send(Ok(publish)).await
    }

    async fn send(&mut self, packet: Result<impl Into<Packet>, MqttError>) -> Result<(), Ended> {
        let sent = packet.map_err(EngineError::from).and_then(|packet| self.engine.send(packet, Instant::now()));
        sent.map_err(bad)?;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        let bytes = self.engine.poll_bytes();
        if bytes.is_empty() { Ok(()) } else { self.send_raw(&bytes).await }
    }

    async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.socket.send(Frame::binary(Bytes::copy_from_slice(bytes))).await
    }

    /// Publishes what the client wanted to be known if it went without a word.
    async fn leave(&mut self, ended: &Ended) {
        self.subscriptions.clear();
        self.named = None;
        if let Some(will) = self.will.take()
            && let Err(failed) = self.tell_printer(will).await
        {
            tracing::debug!("the will of an MQTT client that has gone ({ended}) was not published: {failed}");
        }
    }
}

fn connack(code: ConnectReturnCode) -> Result<Connack, MqttError> {
    Connack::builder().session_present(false).return_code(code).build()
}

fn refusal(code: ConnectReturnCode) -> Result<Vec<u8>, Ended> {
    connack(code).map(|packet| packet.to_continuous_buffer()).map_err(|error| bad(error.into()))
}

fn bad(error: EngineError) -> Ended {
    let code = match error {
        EngineError::TooLarge => CloseCode::Size,
        EngineError::Silent => CloseCode::Policy,
        EngineError::Version | EngineError::Protocol(_) => CloseCode::Protocol,
    };
    Ended::with(code, &error.to_string())
}
