//! The protocol's tables (tunnel.md 3.2 to 3.10): slot, name, type and default of each field.

use bytes::Bytes;
use flatbuffers::{
    FlatBufferBuilder, ForwardsUOffset, InvalidFlatbuffer, TableFinishedWIPOffset, Verifiable, Verifier, WIPOffset,
};
use model::Secret;

use super::field::Field;
use super::kinds::{
    AuthAllowed, Compression, NotificationKind, Os, PathKind, Priority, ServerHost, SummonMethod, WebSocketKind,
};
use super::record::{Record, Verified, record};
use super::table::{Table, vtable_offset};

/// What is in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The plugin introduces itself.
    HandshakeSyn(Box<HandshakeSyn>),
    /// The service accepts or refuses it.
    HandshakeAck(HandshakeAck),
    /// A part of a stream.
    Stream(Box<StreamMessage>),
    /// Something for the printer's own screen.
    Notification(Notification),
    /// A request for another session.
    Summon(Summon),
    /// Something that this version does not know, by its discriminant; 0 where there is nothing.
    Unknown(u8),
}

record! {
    /// The plugin's introduction, the first message of a session (tunnel.md 3.3).
    HandshakeSyn {
        /// The printer's public identity, 40 to 60 letters and digits.
        0 printer_id: Option<String> = None,
        /// False on summoned sessions.
        1 is_primary_connection: bool = false,
        /// Such as `5.3.1`.
        2 plugin_version: Option<String> = None,
        /// IPv4 address of the printer; empty when unknown.
        3 local_device_ip: Option<String> = None,
        /// Where the plugin believes the printer's page to be.
        4 local_http_proxy_port: u32 = 0,
        /// Unused.
        5 key: Option<Secret> = None,
        /// What proves the service's identity when decrypted: 512 bytes.
        6 rsa_challenge: Option<Bytes> = None,
        /// The key with which it is encrypted: 1. The name is misspelt in the protocol.
        7 ras_challenge_version: i8 = 0,
        /// Unused.
        8 webcam_flip_h: bool = false,
        /// Unused.
        9 webcam_flip_v: bool = false,
        /// Unused.
        10 webcam_flip_rotate_90: bool = false,
        /// What proves the plugin's identity, 80 to 128 letters and digits.
        11 private_key: Option<Secret> = None,
        /// What the session was made for.
        12 summon_method: SummonMethod = SummonMethod::NotSaid,
        /// The plugin's flavour.
        13 server_host: ServerHost = ServerHost::NotSaid,
        /// Whether the plugin runs on another device than the printer.
        14 is_companion: bool = false,
        /// What the plugin runs on.
        15 os_type: Os = Os::NotSaid,
        /// The best that the plugin can decompress; plugins compress with it, too.
        16 receive_compression_type: Compression = Compression::Zlib,
        /// A stable name of the device.
        17 device_id: Option<String> = None,
        /// Whether the plugin runs in a container.
        18 is_docker_container: bool = false,
        /// Secrets of some printers.
        19 properties: Option<Vec<Property>> = None,
    }
}

record! {
    /// A pair of a [`HandshakeSyn`] (tunnel.md 3.4).
    Property {
        /// Its name.
        0 key: Option<String> = None,
        /// Its value, which may be a secret.
        1 str_value: Option<Secret> = None,
    }
}

record! {
    /// The service's answer to an introduction (tunnel.md 3.5).
    HandshakeAck {
        /// Which of the others count.
        0 accepted: bool = false,
        /// Accounts that the printer is linked to.
        1 connected_accounts: Option<Vec<String>> = None,
        /// Text for the plugin's log, if refused.
        2 error: Option<String> = None,
        /// Seconds to wait besides the plugin's own back-off, if refused.
        3 backoff_seconds: u64 = 0,
        /// If refused: the plugin waits for 12 hours, or until it is started anew.
        4 requires_plugin_update: bool = false,
        /// Opens the service's own APIs to the plugin, if accepted.
        5 octokey: Option<Secret> = None,
        /// The decrypted challenge, if accepted.
        6 rsa_challenge_result: Option<String> = None,
        /// If refused: the plugin throws its identity away.
        7 requires_rekey: bool = false,
    }
}

record! {
    /// A part of a stream (tunnel.md 3.6).
    StreamMessage {
        /// Never 0.
        0 stream_id: u32 = 0,
        /// Begins the stream; from the service only.
        1 is_open_msg: bool = false,
        /// The stream is over.
        2 is_close_msg: bool = false,
        /// The body is over.
        3 is_data_transmission_done: bool = false,
        /// Only the two flags before count.
        4 is_control_flags_only: bool = true,
        /// Bytes of the whole body, uncompressed; negative if unknown.
        5 full_stream_data_size: i64 = -1,
        /// Payload.
        6 data: Option<Bytes> = None,
        /// How the payload is compressed.
        7 data_compression: Compression = Compression::None,
        /// Bytes of the payload when decompressed.
        8 original_data_size: u64 = 0,
        /// A request's or a response's head.
        9 http_initial_context: Option<HttpInitialContext> = None,
        /// When opening: a WebSocket.
        10 is_websocket_stream: bool = false,
        /// A response's status.
        11 status_code: u16 = 0,
        /// What the payload is on a WebSocket.
        12 websocket_data_type: WebSocketKind = WebSocketKind::None,
        /// When opening: how urgent the stream is.
        13 msg_priority: Priority = Priority::Normal,
        /// When closing: the printer's software could not be reached.
        14 close_due_to_request_connection_failure: bool = false,
        /// Statistics: the slowest read, in milliseconds.
        15 body_read_time_high_water_mark_ms: u16 = 0,
        /// Statistics: the slowest sending, in milliseconds.
        16 socket_send_time_high_water_mark_ms: u16 = 0,
        /// Statistics: parts a second.
        17 multipart_reads_per_second: u8 = 0,
    }
}

record! {
    /// The head of a request or a response (tunnel.md 3.7).
    HttpInitialContext {
        /// Path and query, or a URL.
        0 path: Option<String> = None,
        /// Which of them.
        1 path_type: PathKind = PathKind::Relative,
        /// The request's method.
        2 method: Option<String> = None,
        /// Host, and port if any, in the visitor's address bar.
        3 octo_host: Option<String> = None,
        /// The headers.
        4 headers: Option<Vec<HttpHeader>> = None,
        /// Whether the plugin adds its own key to the printer's software.
        5 use_octoeverywhere_auth: AuthAllowed = AuthAllowed::Deny,
        /// The visitor's address; plugins do not use it.
        6 forwarded_for_ip: Option<String> = None,
    }
}

record! {
    /// A header (tunnel.md 3.8).
    HttpHeader {
        /// Its name.
        0 key: Option<String> = None,
        /// Its value.
        1 value: Option<String> = None,
    }
}

record! {
    /// Something for the printer's own screen (tunnel.md 3.9). Slot 3 is retired.
    Notification {
        /// Required.
        0 title: Option<String> = None,
        /// Required; may contain HTML.
        1 text: Option<String> = None,
        /// How it looks.
        2 kind: NotificationKind = NotificationKind::Notice,
        /// The label of a link.
        4 action_text: Option<String> = None,
        /// Where it leads.
        5 action_link: Option<String> = None,
        /// Seconds until it goes away; 0 if it stays.
        6 show_for_sec: u32 = 5,
        /// Only where the screen was reached through the service.
        7 show_only_if_loaded_from_oe: bool = true,
    }
}

record! {
    /// A request for another session (tunnel.md 3.10).
    Summon {
        /// A WebSocket's URL, path included.
        0 server_connect_url: Option<String> = None,
        /// Comes back in the new session's introduction.
        1 summon_method: SummonMethod = SummonMethod::NotSaid,
    }
}

/// The fields of the root table (tunnel.md 3.2).
const CONTEXT_TYPE: u16 = 0;
const CONTEXT: u16 = 1;

/// The members of its union.
mod context {
    pub(super) const HANDSHAKE_SYN: u8 = 1;
    pub(super) const HANDSHAKE_ACK: u8 = 2;
    pub(super) const STREAM: u8 = 3;
    pub(super) const NOTIFICATION: u8 = 4;
    pub(super) const SUMMON: u8 = 5;
}

/// Verifies the message to which the offset at `position` leads.
pub(super) fn verify(verifier: &mut Verifier<'_, '_>, position: usize) -> Result<(), InvalidFlatbuffer> {
    ForwardsUOffset::<Root>::run_verifier(verifier, position)
}

struct Root;

impl Verifiable for Root {
    fn run_verifier(verifier: &mut Verifier<'_, '_>, position: usize) -> Result<(), InvalidFlatbuffer> {
        fn member<T: Record>(verifier: &mut Verifier<'_, '_>, position: usize) -> Result<(), InvalidFlatbuffer> {
            verifier.verify_union_variant::<ForwardsUOffset<Verified<T>>>(std::any::type_name::<T>(), position)
        }
        let (key, value) = (vtable_offset(CONTEXT_TYPE), vtable_offset(CONTEXT));
        verifier
            .visit_table(position)?
            .visit_union::<u8, _>(
                "context_type",
                key,
                "context",
                value,
                false,
                |kind, verifier, position| match kind {
                    context::HANDSHAKE_SYN => member::<HandshakeSyn>(verifier, position),
                    context::HANDSHAKE_ACK => member::<HandshakeAck>(verifier, position),
                    context::STREAM => member::<StreamMessage>(verifier, position),
                    context::NOTIFICATION => member::<Notification>(verifier, position),
                    context::SUMMON => member::<Summon>(verifier, position),
                    // What newer peers say is for them to understand; nothing of it is read here.
                    _ => Ok(()),
                },
            )?
            .finish();
        Ok(())
    }
}

/// Reads a verified message.
pub(super) fn read(root: &Table<'_>) -> Message {
    fn member<T: Record>(root: &Table<'_>) -> Option<T> {
        root.table(CONTEXT).map(|table| T::read(&table))
    }
    let kind = u8::read(root, CONTEXT_TYPE, 0);
    let message = match kind {
        context::HANDSHAKE_SYN => member(root).map(|syn| Message::HandshakeSyn(Box::new(syn))),
        context::HANDSHAKE_ACK => member(root).map(Message::HandshakeAck),
        context::STREAM => member(root).map(|stream| Message::Stream(Box::new(stream))),
        context::NOTIFICATION => member(root).map(Message::Notification),
        context::SUMMON => member(root).map(Message::Summon),
        _ => None,
    };
    message.unwrap_or(Message::Unknown(kind))
}

/// Writes a message, without its prefix.
pub(super) fn write(message: &Message, builder: &mut FlatBufferBuilder<'_>) -> WIPOffset<TableFinishedWIPOffset> {
    let (kind, member) = match message {
        Message::HandshakeSyn(syn) => (context::HANDSHAKE_SYN, Some(syn.write(builder))),
        Message::HandshakeAck(ack) => (context::HANDSHAKE_ACK, Some(ack.write(builder))),
        Message::Stream(stream) => (context::STREAM, Some(stream.write(builder))),
        Message::Notification(notification) => (context::NOTIFICATION, Some(notification.write(builder))),
        Message::Summon(summon) => (context::SUMMON, Some(summon.write(builder))),
        Message::Unknown(0) => (0, None),
        Message::Unknown(kind) => {
            let table = builder.start_table();
            (*kind, Some(builder.end_table(table)))
        }
    };
    let table = builder.start_table();
    if let Some(member) = member {
        builder.push_slot_always(vtable_offset(CONTEXT), member);
    }
    builder.push_slot(vtable_offset(CONTEXT_TYPE), kind, 0);
    builder.end_table(table)
}
