//! MQTT 3.1.1, towards printers that are brokers and towards visitors who want to be their clients.
//!
//! Printers' brokers allow few clients, so there is one connection to each ([`PrinterBroker`]), and everybody shares it:
//! the printer's platform, and those who come through the tunnel. What goes over a connection in which order is
//! the protocol library's ([`Engine`] holds it); who gets what, and what it may cost, is decided here.

mod broker;
mod engine;
mod listener;
mod retained;
mod session;
mod subscriptions;
pub(crate) mod topic;

pub(crate) use self::broker::{BrokerOptions, Link, PrinterBroker, Subscription};
pub(crate) use self::engine::{Engine, EngineError};
pub(crate) use self::listener::{BrokerEvent, Listener};

use bytes::Bytes;
pub(crate) use mqtt_protocol_core::mqtt::packet::Qos;

/// Bytes of one packet, from either side. Bambu's whole state has some 20 KiB.
pub(crate) const MAX_PACKET: u32 = 1024 * 1024;

/// Filters that one visitor may subscribe to.
pub(crate) const MAX_SUBSCRIPTIONS: usize = 64;

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where to; never a filter.
    pub(crate) topic: String,
    /// What; mostly JSON.
    pub(crate) payload: Bytes,
    /// How hard to try.
    pub(crate) qos: Qos,
    /// To the printer: whether it keeps the message for later subscribers. From it: whether it had kept it.
    pub(crate) retain: bool,
}
