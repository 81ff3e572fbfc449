//! One session with a printer's broker, from connecting to the end of the connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt_protocol_core::mqtt::connection::role::Client;
use mqtt_protocol_core::mqtt::packet::v3_1_1::{Connect, Publish, Subscribe, Unsubscribe};
use mqtt_protocol_core::mqtt::packet::{Packet, Qos, SubEntry, SubOpts};
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, MqttError, SubackReturnCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::broker::{Command, Shared};
use super::engine::{Engine, EngineError};
use super::listener::BrokerEvent;
use super::subscriptions::Subscriptions;
use super::{MAX_PACKET, Message};
use crate::connector::PrinterIo;
use crate::platforms::{CommandFailure, Outcome};

/// For the printer to answer the login, and to its proof of life.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// For the printer to take what is written.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Read at once.
const CHUNK: usize = 16 * 1024;
/// Our messages of QoS 1 and 2 that the printer has not acknowledged; one that does not at all gets no more.
const MAX_UNACKNOWLEDGED: usize = 64;
/// What a packet has besides topic and payload, at the most.
const OVERHEAD: usize = 16;

/// Connects and stays connected for as long as it goes well. Returns why it ended.
pub(super) async fn run(
    shared: &Shared,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    number: u64,
) -> CommandFailure {
    let connection = match shared.connector.connect().await {
        Ok(connection) => connection,
        Err(error) => return CommandFailure::NotConnected(error.to_string()),
    };
    let mut engine = Engine::new(true);
    engine.set_answer_limit(ANSWER_LIMIT.as_millis() as u64);
    let session = Session {
        shared,
        number,
        io: connection.io,
        engine,
        is_up: false,
        has_heard: false,
        subscriptions: Subscriptions::default(),
        unacknowledged: HashMap::new(),
    };
    session.run(commands).await
}

struct Session<'a> {
    shared: &'a Shared,
    number: u64,
    io: Box<dyn PrinterIo>,
    engine: Engine<Client>,
    is_up: bool,
    /// Whether the printer has published anything, and so knows us.
    has_heard: bool,
    subscriptions: Subscriptions,
    unacknowledged: HashMap<u16, oneshot::Sender<Outcome<()>>>,
}

impl Session<'_> {
    async fn run(mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> CommandFailure {
        let login_until = Instant::now() + ANSWER_LIMIT;
        if self.log_in().is_err() {
            return CommandFailure::Failed("user name or password cannot be sent in MQTT".to_owned());
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            if let Err(failure) = self.flush().await {
                return failure;
            }
            if self.engine.wants_to_close() {
                return not_connected("the printer ended the connection");
            }
            let due = self.engine.poll_due();
            let step = tokio::select! {
                read = self.io.read(&mut chunk) => match read {
                    Ok(0) => return self.hung_up("it closed the connection"),
                    Ok(length) => {
                        let handled = self.engine.handle_bytes(&chunk[..length], Instant::now());
                        // What came whole before the nonsense still counts: it may say why.
                        self.handle_received().and(handled.map_err(|error| failure(&error)))
                    }
                    Err(error) => return self.hung_up(&error.to_string()),
                },
                Some(command) = commands.recv() => self.handle_command(command),
                () = sleep_until(due.unwrap_or(login_until)), if due.is_some() => {
                    self.engine.handle_time(Instant::now()).map_err(|error| failure(&error))
                }
                () = sleep_until(login_until), if !self.is_up => {
                    return not_connected("the printer accepts connections and does not answer in MQTT");
                }
            };
            if let Err(failure) = step {
                return failure;
            }
        }
    }

    fn log_in(&mut self) -> Result<(), EngineError> {
        let options = &self.shared.options;
        let mut connect = Connect::builder()
            .client_id(options.client_id.as_str())?
            .clean_session(true)
            .keep_alive(u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX));
        if let Some(username) = &options.username {
            connect = connect.user_name(username.as_str())?;
        }
        if let Some(password) = &options.password {
            connect = connect.password(password.expose())?;
        }
        self.engine.send(connect.build()?, Instant::now())
    }

    async fn flush(&mut self) -> Outcome<()> {
        let bytes = self.engine.poll_bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        let write = async {
            self.io.write_all(&bytes).await?;
            self.io.flush().await
        };
        match timeout(WRITE_LIMIT, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.hung_up(&error.to_string())),
            Err(_) => Err(not_connected("the printer takes nothing any more")),
        }
    }

    fn hung_up(&self, how: &str) -> CommandFailure {
        if self.shared.options.hangs_up_on_strangers && !self.has_heard {
            return rejected();
        }
        not_connected(&format!("the connection to the printer broke off: {how}"))
    }

    fn handle_received(&mut self) -> Outcome<()> {
        while let Some(packet) = self.engine.poll_received() {
            self.handle_packet(packet)?;
        }
        for id in self.engine.poll_released() {
            if let Some(done) = self.unacknowledged.remove(&id) {
                // Whoever does not wait any more needs no answer.
                let _ = done.send(Ok(()));
            }
        }
        Ok(())
    }

    fn handle_packet(&mut self, packet: Packet) -> Outcome<()> {
        match packet {
            Packet::V3_1_1Connack(answer) => match answer.return_code() {
                ConnectReturnCode::Accepted => {
                    self.is_up = true;
                    self.shared.go_up(self.number);
                }
                ConnectReturnCode::BadUserNameOrPassword | ConnectReturnCode::NotAuthorized => return Err(rejected()),
                ConnectReturnCode::ServerUnavailable => {
                    return Err(CommandFailure::TooManyClients(
                        "the printer does not take another connection; close other programs that use it".to_owned(),
                    ));
                }
                other => return Err(CommandFailure::Failed(format!("the printer refuses the connection: {other}"))),
            },
            Packet::V3_1_1Publish(publish) => {
                self.has_heard = true;
                let message = Arc::new(Message {
                    topic: publish.topic_name().to_owned(),
                    payload: Bytes::copy_from_slice(publish.payload().as_slice()),
                    qos: publish.qos(),
                    retain: publish.retain(),
                });
                self.shared.retained.lock().handle_message(&message);
                self.shared.listeners.tell(&BrokerEvent::Message(message));
            }
            Packet::V3_1_1Suback(answer) => {
                let granted = answer.return_codes().first().and_then(|code| granted(*code));
                if let Some(unwanted) = self.subscriptions.handle_answer(answer.packet_id(), granted) {
                    self.unsubscribe(&unwanted)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_command(&mut self, command: Command) -> Outcome<()> {
        match command {
            // Before there is a session nobody can have meant it.
            Command::Publish(..) | Command::Subscribe(..) if !self.is_up => Ok(()),
            Command::Publish(message, done) => {
                self.publish(&message, done);
                Ok(())
            }
            Command::Subscribe(filter, qos, done) => match self.subscriptions.want(&filter, qos, done) {
                Some(qos) => self.subscribe(&filter, qos),
                None => Ok(()),
            },
            Command::Unsubscribe(filter, number) => {
                if number == self.number && self.subscriptions.release(&filter) {
                    self.unsubscribe(&filter)?;
                }
                Ok(())
            }
            Command::Reconnect(because) => Err(because),
        }
    }

    fn publish(&mut self, message: &Message, done: oneshot::Sender<Outcome<()>>) {
        let sent = self.send_publish(message);
        let outcome = match sent {
            Ok(Some(id)) => {
                self.unacknowledged.insert(id, done);
                return;
            }
            Ok(None) => Ok(()),
            Err(failure) => Err(failure),
        };
        // Whoever does not wait any more needs no answer.
        let _ = done.send(outcome);
    }

    fn send_publish(&mut self, message: &Message) -> Outcome<Option<u16>> {
        if message.topic.len() + message.payload.len() + OVERHEAD > MAX_PACKET as usize {
            return Err(CommandFailure::BadArguments("the message is too long".to_owned()));
        }
        let mut id = None;
        let bad = |error: MqttError| CommandFailure::BadArguments(format!("that cannot be published: {error}"));
        let mut publish = Publish::builder()
            .topic_name(message.topic.as_str())
            .map_err(bad)?
            .qos(message.qos)
            .retain(message.retain)
            .payload(&message.payload[..]);
        if message.qos != Qos::AtMostOnce {
            if self.unacknowledged.len() >= MAX_UNACKNOWLEDGED {
                return Err(CommandFailure::Failed("the printer does not acknowledge what it is sent".to_owned()));
            }
            let fresh = self.engine.packet_id().map_err(|error| failure(&error))?;
            publish = publish.packet_id(fresh);
            id = Some(fresh);
        }
        let publish = publish.build().map_err(bad)?;
        self.engine.send(publish, Instant::now()).map_err(|error| failure(&error))?;
        Ok(id)
    }

    fn subscribe(&mut self, filter: &str, qos: Qos) -> Outcome<()> {
        let mut send = || -> Result<u16, EngineError> {
            let id = self.engine.packet_id()?;
            let entry = SubEntry::new(filter, SubOpts::new().set_qos(qos))?;
            let subscribe = Subscribe::builder().packet_id(id).entries(vec![entry]).build()?;
            self.engine.send(subscribe, Instant::now())?;
            Ok(id)
        };
        let id = send().map_err(|error| failure(&error))?;
        self.subscriptions.handle_asked(id, filter);
        Ok(())
    }

    fn unsubscribe(&mut self, filter: &str) -> Outcome<()> {
        let mut send = || -> Result<(), EngineError> {
            let id = self.engine.packet_id()?;
            let unsubscribe = Unsubscribe::builder().packet_id(id).entries([filter])?.build()?;
            self.engine.send(unsubscribe, Instant::now())
        };
        send().map_err(|error| failure(&error))
    }
}

fn granted(code: SubackReturnCode) -> Option<Qos> {
    match code {
        SubackReturnCode::SuccessMaximumQos0 => Some(Qos::AtMostOnce),
        SubackReturnCode::SuccessMaximumQos1 => Some(Qos::AtLeastOnce),
        SubackReturnCode::SuccessMaximumQos2 => Some(Qos::ExactlyOnce),
        SubackReturnCode::Failure => None,
    }
}

fn rejected() -> CommandFailure {
    CommandFailure::CredentialsRejected(
        "the printer does not accept the access code: compare `access_code` and `serial` with what its screen shows"
            .to_owned(),
    )
}

fn not_connected(problem: &str) -> CommandFailure {
    CommandFailure::NotConnected(problem.to_owned())
}

fn failure(error: &EngineError) -> CommandFailure {
    CommandFailure::NotConnected(format!("the connection to the printer ended: {error}"))
}
