//! The protocol of one connection, without the connection: bytes and time go in, packets and bytes come out.

use std::collections::VecDeque;

use mqtt_protocol_core::mqtt::Connection;
use mqtt_protocol_core::mqtt::Version;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::role::RoleType;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::Packet;
use mqtt_protocol_core::mqtt::prelude::GenericPacketTrait;
use mqtt_protocol_core::mqtt::result_code::MqttError;
use thiserror::Error;
use tokio::time::Instant;

use super::MAX_PACKET;

/// Messages of QoS 1 and 2 that the other side may have on their way at once.
const MAX_IN_FLIGHT: u16 = 128;

/// What the other side did wrong, or what it was not told.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum EngineError {
    /// A packet is longer than [`MAX_PACKET`].
    #[error("a packet is longer than {MAX_PACKET} bytes")]
    TooLarge,
    /// It speaks another version.
    #[error("only MQTT 3.1.1 is spoken here")]
    Version,
    /// Its packets make no sense.
    #[error("that is no MQTT: {0}")]
    Protocol(MqttError),
    /// It was silent for too long.
    #[error("nothing was heard in time")]
    Silent,
}

impl From<MqttError> for EngineError {
    fn from(error: MqttError) -> Self {
        match error {
            MqttError::PacketTooLarge => Self::TooLarge,
            MqttError::UnsupportedProtocolVersion => Self::Version,
            error => Self::Protocol(error),
        }
    }
}

/// One side of a connection; `R` says which.
pub(crate) struct Engine<R: RoleType> {
    connection: Connection<R>,
    received: VecDeque<Packet>,
    released: Vec<u16>,
    to_send: Vec<u8>,
    due: [(TimerKind, Option<Instant>); 3],
    wants_to_close: bool,
}

impl<R: RoleType> Engine<R> {
    /// A side that answers messages of QoS 1 and 2 by itself if `acknowledges`, as soon as they are received.
    pub(crate) fn new(acknowledges: bool) -> Self {
        let options = ConnectionOptions::new().maximum_packet_size_recv(MAX_PACKET).receive_maximum(MAX_IN_FLIGHT);
        let mut connection = Connection::with_options(Version::V3_1_1, options);
        connection.set_auto_pub_response(acknowledges);
        connection.set_auto_ping_response(true);
        let kinds = [TimerKind::PingreqSend, TimerKind::PingreqRecv, TimerKind::PingrespRecv];
        Self {
            connection,
            received: VecDeque::new(),
            released: Vec::new(),
            to_send: Vec::new(),
            due: kinds.map(|kind| (kind, None)),
            wants_to_close: false,
        }
    }

    /// For the client's side: how long an answer to its question for life may take.
    pub(crate) fn set_answer_limit(&mut self, milliseconds: u64) {
        self.connection.set_pingresp_recv_timeout(milliseconds);
    }

    /// Takes over bytes of the other side's.
    ///
    /// # Errors
    /// If they make no sense. There may be an answer to send all the same, and then the connection has to be closed.
    pub(crate) fn handle_bytes(&mut self, bytes: &[u8], now: Instant) -> Result<(), EngineError> {
        let mut cursor = Cursor::new(bytes);
        while cursor.position() < bytes.len() as u64 && !self.wants_to_close {
            let events = self.connection.recv(&mut cursor);
            self.handle_events(events, now)?;
        }
        Ok(())
    }

    /// Does what is due.
    ///
    /// # Errors
    /// If the other side was silent for too long.
    pub(crate) fn handle_time(&mut self, now: Instant) -> Result<(), EngineError> {
        for index in 0..self.due.len() {
            let (kind, due) = self.due[index];
            if due.is_some_and(|due| due <= now) {
                self.due[index].1 = None;
                let events = self.connection.notify_timer_fired(kind);
                self.handle_events(events, now)?;
                if self.wants_to_close {
                    return Err(EngineError::Silent);
                }
            }
        }
        Ok(())
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// If it may not be sent now.
    pub(crate) fn send(&mut self, packet: impl Into<Packet>, now: Instant) -> Result<(), EngineError> {
        let events = self.connection.send(packet.into());
        self.handle_events(events, now)
    }

    /// An id for a packet that needs one.
    ///
    /// # Errors
    /// If all of them are in use.
    pub(crate) fn packet_id(&mut self) -> Result<u16, EngineError> {
        Ok(self.connection.acquire_packet_id()?)
    }

    /// The next packet that was received.
    pub(crate) fn poll_received(&mut self) -> Option<Packet> {
        self.received.pop_front()
    }

    /// Ids of packets that the other side has done with.
    pub(crate) fn poll_released(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.released)
    }

    /// Bytes for the other side.
    pub(crate) fn poll_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_send)
    }

    /// When [`Self::handle_time`] has something to do.
    pub(crate) fn poll_due(&self) -> Option<Instant> {
        self.due.iter().filter_map(|(_, due)| *due).min()
    }

    /// Whether the connection is to be closed once everything is sent.
    pub(crate) fn wants_to_close(&self) -> bool {
        self.wants_to_close
    }

    fn handle_events(&mut self, events: Vec<Event>, now: Instant) -> Result<(), EngineError> {
        let mut error = None;
        for event in events {
            match event {
                Event::NotifyPacketReceived(packet) => self.received.push_back(packet),
                Event::RequestSendPacket { packet, .. } => self.to_send.extend(packet.to_continuous_buffer()),
                Event::NotifyPacketIdReleased(id) => self.released.push(id),
                Event::RequestTimerReset { kind, duration_ms } => {
                    self.set_due(kind, Some(now + std::time::Duration::from_millis(duration_ms)));
                }
                Event::RequestTimerCancel(kind) => self.set_due(kind, None),
                Event::NotifyError(mqtt) => error = Some(EngineError::from(mqtt)),
                Event::RequestClose => self.wants_to_close = true,
            }
        }
        error.map_or(Ok(()), Err)
    }

    fn set_due(&mut self, kind: TimerKind, due: Option<Instant>) {
        for (known, at) in &mut self.due {
            if *known == kind {
                *at = due;
            }
        }
    }
}
