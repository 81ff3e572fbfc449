//! A printer's MQTT broker, and a client for it: both on the protocol library itself, so that a test can make either do
//! what no real one does.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::connection::role::{RoleType, Server};
use mqtt_protocol_core::mqtt::packet::v3_1_1::{Connack, Publish, Suback, Unsuback};
use mqtt_protocol_core::mqtt::packet::{Packet, Qos};
use mqtt_protocol_core::mqtt::prelude::GenericPacketTrait;
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, SubackReturnCode};
use mqtt_protocol_core::mqtt::{Connection, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::client::LONG;

/// One side of a connection.
pub(crate) struct Peer<R: RoleType> {
    connection: Connection<R>,
    pub(crate) packets: VecDeque<Packet>,
    pub(crate) out: Vec<u8>,
    pub(crate) is_over: bool,
}

impl<R: RoleType> Peer<R> {
    pub(crate) fn new() -> Self {
        let mut connection = Connection::new(Version::V3_1_1);
        connection.set_auto_pub_response(true);
        connection.set_auto_ping_response(true);
        Self { connection, packets: VecDeque::new(), out: Vec::new(), is_over: false }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        while cursor.position() < bytes.len() as u64 {
            let events = self.connection.recv(&mut cursor);
            self.handle(events);
        }
    }

    pub(crate) fn send(&mut self, packet: impl Into<Packet>) {
        let events = self.connection.send(packet.into());
        self.handle(events);
    }

    pub(crate) fn packet_id(&mut self) -> u16 {
        self.connection.acquire_packet_id().unwrap()
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: Qos, retain: bool) {
        let mut publish = Publish::builder().topic_name(topic).unwrap().qos(qos).retain(retain).payload(payload);
        if qos != Qos::AtMostOnce {
            publish = publish.packet_id(self.packet_id());
        }
        self.send(publish.build().unwrap());
    }

    fn handle(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::NotifyPacketReceived(packet) => self.packets.push_back(packet),
                Event::RequestSendPacket { packet, .. } => self.out.extend(packet.to_continuous_buffer()),
                Event::RequestClose => self.is_over = true,
                Event::NotifyError(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
}

/// What the broker's owner says to a message: topics and payloads to publish.
pub(crate) type Respond = dyn Fn(&str, &[u8]) -> Vec<(String, Vec<u8>)> + Send + Sync;

/// A broker with one address.
pub(crate) struct FakeBroker {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    password: Option<String>,
    respond: Box<Respond>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    log: Vec<String>,
    clients: Vec<mpsc::Sender<ToClient>>,
    retained: BTreeMap<String, Vec<u8>>,
    refusal: Option<ConnectReturnCode>,
    denies: Option<String>,
    n_connections: usize,
}

#[derive(Clone)]
enum ToClient {
    Publish { topic: String, payload: Vec<u8>, qos: Qos, retain: bool },
    Raw(Vec<u8>),
    HangUp,
}

impl FakeBroker {
    /// One that lets those in who know `password`, if there is one.
    pub(crate) async fn start(
        password: Option<&str>,
        respond: impl Fn(&str, &[u8]) -> Vec<(String, Vec<u8>)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            password: password.map(str::to_owned),
            respond: Box::new(respond),
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&serving), stream));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn refuse(&self, code: Option<ConnectReturnCode>) {
        self.shared.state.lock().unwrap().refusal = code;
    }

    /// Refuses subscriptions to this.
    pub(crate) fn deny(&self, filter: &str) {
        self.shared.state.lock().unwrap().denies = Some(filter.to_owned());
    }

    pub(crate) fn publish(&self, topic: &str, payload: &[u8], qos: Qos) {
        self.shared.tell(&ToClient::Publish { topic: topic.to_owned(), payload: payload.to_vec(), qos, retain: false });
    }

    pub(crate) fn retain(&self, topic: &str, payload: &[u8]) {
        self.shared.state.lock().unwrap().retained.insert(topic.to_owned(), payload.to_vec());
    }

    /// Bytes that are no packet, or half of one.
    pub(crate) fn babble(&self, bytes: &[u8]) {
        self.shared.tell(&ToClient::Raw(bytes.to_vec()));
    }

    pub(crate) fn hang_up(&self) {
        self.shared.tell(&ToClient::HangUp);
    }

    pub(crate) fn n_connections(&self) -> usize {
        self.shared.state.lock().unwrap().n_connections
    }

    /// What it was told so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().log.clone()
    }

    /// Waits until it was told this; a line that begins so is enough.
    pub(crate) async fn until(&self, line: &str) {
        self.until_times(line, 1).await;
    }

    pub(crate) async fn until_times(&self, line: &str, times: usize) {
        self.until_log(line, |log| log.iter().filter(|known| known.starts_with(line)).count() >= times).await;
    }

    pub(crate) async fn until_log(&self, what: &str, wanted: impl Fn(&[String]) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        let waiting = async {
            while !wanted(&self.log()) {
                changes.changed().await.unwrap();
            }
        };
        assert!(timeout(LONG, waiting).await.is_ok(), "never: {what}; {:#?}", self.log());
    }
}

impl Shared {
    fn note(&self, line: String) {
        self.state.lock().unwrap().log.push(line);
        self.changes.send_modify(|count| *count += 1);
    }

    fn tell(&self, what: &ToClient) {
        self.state.lock().unwrap().clients.retain(|client| client.try_send(what.clone()).is_ok());
    }
}

async fn serve(shared: Arc<Shared>, mut stream: TcpStream) {
    let (sender, mut orders) = mpsc::channel(512);
    let mut peer = Peer::<Server>::new();
    let mut subscriptions: Vec<(String, Qos)> = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        if stream.write_all(&peer.out).await.is_err() || peer.is_over {
            break;
        }
        peer.out.clear();
        tokio::select! {
            read = stream.read(&mut chunk) => match read {
                Ok(0) | Err(_) => break,
                Ok(length) => peer.feed(&chunk[..length]),
            },
            Some(order) = orders.recv() => match order {
                ToClient::Publish { topic, payload, qos, retain } => {
                    let wanted = subscriptions.iter().find(|(filter, _)| matches(filter, &topic));
                    if let Some((_, granted)) = wanted {
                        peer.publish(&topic, &payload, qos.min(*granted), retain);
                    }
                }
                ToClient::Raw(bytes) => peer.out.extend(bytes),
                ToClient::HangUp => break,
            },
        }
        while let Some(packet) = peer.packets.pop_front() {
            handle(&shared, &sender, &mut peer, &mut subscriptions, packet);
        }
    }
    shared.note("GONE".to_owned());
}

fn handle(
    shared: &Arc<Shared>,
    sender: &mpsc::Sender<ToClient>,
    peer: &mut Peer<Server>,
    subscriptions: &mut Vec<(String, Qos)>,
    packet: Packet,
) {
    match packet {
        Packet::V3_1_1Connect(connect) => {
            let is_known =
                shared.password.as_deref().is_none_or(|password| connect.password() == Some(password.as_bytes()));
            let mut code = if is_known { ConnectReturnCode::Accepted } else { ConnectReturnCode::NotAuthorized };
            {
                let mut state = shared.state.lock().unwrap();
                state.n_connections += 1;
                code = state.refusal.unwrap_or(code);
                if code == ConnectReturnCode::Accepted {
                    state.clients.push(sender.clone());
                }
            }
            shared.note(format!("CONNECT {}", connect.user_name().unwrap_or_default()));
            peer.send(Connack::builder().session_present(false).return_code(code).build().unwrap());
        }
        Packet::V3_1_1Subscribe(subscribe) => {
            let mut codes = Vec::new();
            let mut kept = Vec::new();
            for entry in subscribe.entries() {
                let (filter, qos) = (entry.topic_filter().to_owned(), entry.sub_opts().qos());
                let state = shared.state.lock().unwrap();
                if state.denies.as_ref() == Some(&filter) {
                    codes.push(SubackReturnCode::Failure);
                    continue;
                }
                codes.push(
                    [
                        SubackReturnCode::SuccessMaximumQos0,
                        SubackReturnCode::SuccessMaximumQos1,
                        SubackReturnCode::SuccessMaximumQos2,
                    ][qos as usize],
                );
                kept.extend(state.retained.clone().into_iter().filter(|(topic, _)| matches(&filter, topic)));
                subscriptions.retain(|(known, _)| *known != filter);
                subscriptions.push((filter, qos));
            }
            peer.send(Suback::builder().packet_id(subscribe.packet_id()).return_codes(codes).build().unwrap());
            for (topic, payload) in kept {
                peer.publish(&topic, &payload, Qos::AtMostOnce, true);
            }
            for entry in subscribe.entries() {
                shared.note(format!("SUBSCRIBE {} {}", entry.topic_filter(), entry.sub_opts().qos() as u8));
            }
        }
        Packet::V3_1_1Unsubscribe(unsubscribe) => {
            peer.send(Unsuback::builder().packet_id(unsubscribe.packet_id()).build().unwrap());
            for filter in unsubscribe.entries() {
                subscriptions.retain(|(known, _)| known != filter.as_str());
                shared.note(format!("UNSUBSCRIBE {}", filter.as_str()));
            }
        }
        Packet::V3_1_1Publish(publish) => {
            let (topic, payload) = (publish.topic_name().to_owned(), publish.payload().as_slice().to_vec());
            let text = String::from_utf8_lossy(&payload).into_owned();
            shared.note(format!("PUBLISH {topic} {} {text:.400}", publish.qos() as u8));
            let answers = (shared.respond)(&topic, &payload);
            let qos = publish.qos();
            shared.tell(&ToClient::Publish { topic, payload, qos, retain: false });
            for (topic, payload) in answers {
                shared.tell(&ToClient::Publish { topic, payload, qos: Qos::AtMostOnce, retain: false });
            }
        }
        _ => {}
    }
}

fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}
