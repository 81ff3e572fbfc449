//! The existing plugin: its endpoint, its identity, and the link that it is.
//!
//! The protocol itself is the crate `octo`, a pure state machine. Here are its surroundings: the WebSocket, the clock,
//! the key that answers challenges, the store, and the places where what comes of a stream waits for its visitor.

mod admit;
mod backlog;
mod challenge;
mod failed_openings;
mod frame_queue;
mod link;
mod orders;
mod own_requests;
mod register;
mod shared;
mod socket;
mod spill;
mod status;
mod visitor_frames;
mod watch;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::PrinterId;
use octo::{Dictionary, Introduction, Session, SessionOptions};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, OnceCell, Semaphore};
use tunnel::accept::has_token;

use crate::body::RelayBody;
use crate::budgets::{Budgets, Origin, Rate};
use crate::frames::{FrameHead, MAX_HEADER, close_frame, opcode};
use crate::link::Link;
use crate::live::{ConnectionChange, DisconnectReason};
use crate::relay::Relay;
use crate::respond::{method_not_allowed, plain_response};
use crate::screening::{accept_key, bad_handshake};

use admit::Verdict;
pub use challenge::KeyError as PluginKeyError;
use link::PluginLink;
use register::Entered;
pub use register::{LinkCode, PluginPresence, PluginRegister, plugin_public_key};
use shared::{Outgoing, Shared};
use socket::MessageReader;
use spill::SpillArea;

/// Where plugins connect (tunnel.md 1.1).
pub(crate) const PATH: &str = "/octoclientwsv2";

/// What plugins call besides, and the addresses that they show to people (service-api.md 7 to 13). None of it depends on
/// the name that it is called by, nor on cookies.
const CALLS: [&str; 15] = [
    "/api/printernotifications/printerevent",
    "/api/gadget/inspect",
    "/api/plugin/ping",
    "/api/nginx-direct/ping/",
    "/api/printer/info",
    "/api/shortcode/create",
    "/api/stats/v2/telemetryaccumulator",
    "/api/plugin/sentryconfig",
    "/api/plugin/checkin",
    "/api/util/date",
    "/code",
    "/getstarted",
    "/pluginupdate",
    "/support",
    "/plugin/connectioncheck",
];

/// Whether a path is one that plugins call on hosts of their own. It is answered whatever the host's name is.
pub(crate) fn is_plugin_call(path: &str) -> bool {
    CALLS.contains(&path) || path.strip_prefix("/s/").is_some_and(|topic| !topic.is_empty())
}

/// Challenges of one address that could not be answered (T39). Those that can are free: a household has one address.
const FAILED_CHALLENGES: Rate = Rate { burst: 5.0, per_second: 5.0 / 60.0 };
/// Plugins of one address that come without being linked. Each comes again every quarter of an hour.
const UNLINKED: Rate = Rate { burst: 20.0, per_second: 1.0 / 30.0 };
/// How long a plugin may stay without being linked: as long as its code works.
const UNLINKED_TIME: Duration = Duration::from_secs(15 * 60);
/// The change that says that a plugin is linked may be missed while the store is busy.
const LINKED_CHECK: Duration = Duration::from_secs(30);
/// A message larger than this is read on a thread that may take its time.
const LARGE_MESSAGE: usize = 64 * 1024;
/// What is left to send when a connection ends gets this long.
const FAREWELL: Duration = Duration::from_secs(5);
/// RFC 6455 §7.4.1: in order.
const NORMAL_CLOSURE: u16 = 1000;

/// What the relay needs for plugins.
#[derive(Clone)]
pub struct PluginOptions {
    /// Who is there, and the key that they know the service by.
    pub register: PluginRegister,
    /// Where what slow visitors have not taken is kept.
    pub spill_directory: PathBuf,
    /// Where the zstd dictionary that plugins compress with is, once somebody has imported it.
    pub dictionary_file: PathBuf,
    /// Whether strangers' plugins may ask to be linked.
    pub pairing: bool,
}

/// The plugins' part of the relay.
pub(crate) struct Plugins {
    register: PluginRegister,
    dictionary_file: PathBuf,
    dictionary: OnceCell<Dictionary>,
    pairing: bool,
    challenges: Budgets<Origin>,
    unlinked: Budgets<Origin>,
    /// Challenges are answered one after the other.
    turn: Semaphore,
    area: SpillArea,
    /// Plugins that wait for their owners to type a code.
    waiting: Mutex<HashMap<PrinterId, Arc<Notify>>>,
}

impl Plugins {
    pub(crate) fn new(options: PluginOptions) -> Self {
        Self {
            register: options.register,
            dictionary_file: options.dictionary_file,
            dictionary: OnceCell::new(),
            pairing: options.pairing,
            challenges: Budgets::new(FAILED_CHALLENGES),
            unlinked: Budgets::new(UNLINKED),
            turn: Semaphore::new(1),
            area: SpillArea::new(options.spill_directory),
            waiting: Mutex::default(),
        }
    }

    /// The dictionary, as soon as it is there: one that is imported while the service runs is found when the next
    /// plugin comes. A process keeps the first one that it has read.
    async fn dictionary(&self) -> Option<Dictionary> {
        let load = || async {
            let bytes = tokio::fs::read(&self.dictionary_file).await.map_err(|_| ())?;
            Dictionary::install(&bytes).map_err(|error| tracing::error!(%error, "the plugins' dictionary is unusable"))
        };
        self.dictionary.get_or_try_init(load).await.ok().copied()
    }

    /// A printer has changed: a plugin that waits for it may be linked.
    pub(crate) fn handle_change(&self, printer: &PrinterId) {
        if let Some(waiting) = self.waiting.lock().get(printer) {
            waiting.notify_one();
        }
    }
}

/// Why a plugin's connection ended.
#[derive(Debug, Error)]
enum End {
    #[error("the plugin closed")]
    Closed,
    #[error("the service closed")]
    ByService,
    #[error("the plugin was refused")]
    Refused,
    #[error("the connection failed")]
    Socket(#[from] socket::SocketError),
    #[error("the connection failed while something was sent")]
    Write(#[source] io::Error),
    #[error("the plugin broke the protocol")]
    Session(#[from] octo::session::SessionError),
}

impl Relay {
    /// Answers a plugin's upgrade request, and serves its session after it.
    pub(crate) fn handle_plugin(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        address: IpAddr,
    ) -> Response<RelayBody> {
        if *request.method() != Method::GET {
            return method_not_allowed("GET");
        }
        let headers = request.headers();
        let is_upgrade = request.version() == Version::HTTP_11
            && has_token(headers, header::UPGRADE, "websocket")
            && has_token(headers, header::CONNECTION, "upgrade");
        let Some(accept) = accept_key(headers).filter(|_| is_upgrade) else { return bad_handshake() };
        if self.is_draining() {
            return plain_response(StatusCode::SERVICE_UNAVAILABLE, "the service is restarting");
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let relay = Arc::clone(self);
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => relay.serve_plugin(TokioIo::new(upgraded), address).await,
                Err(error) => tracing::debug!(%error, "a plugin left during its upgrade"),
            }
        });
        let mut response = Response::new(RelayBody::Empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        response
    }

    async fn serve_plugin<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self: Arc<Self>, io: T, address: IpAddr) {
        let options = SessionOptions { dictionary: self.plugins.dictionary().await, ..SessionOptions::default() };
        let session = Session::new(options, Instant::now());
        let shared = Arc::new(Shared::new(session, self.plugins.area.of_printer()));
        let (reader, mut writer) = tokio::io::split(io);
        let (introduced, introduction) = tokio::sync::oneshot::channel();
        let end = tokio::select! {
            end = read(&shared, MessageReader::new(reader), introduced) => end,
            end = write(&shared, &mut writer) => end,
            end = watch_the_clock(&shared) => end,
            () = shared.closing() => End::ByService,
            end = self.serve_introduced(&shared, introduction, address) => end,
        };
        tracing::debug!(reason = %end, "a plugin's connection ends");
        shared.handle_disconnect();
        let farewell = async {
            while let Some(outgoing) = shared.take_outgoing() {
                send(&mut writer, outgoing).await?;
            }
            writer.write_all(&close_frame(NORMAL_CLOSURE, "")).await?;
            writer.shutdown().await
        };
        let _: Result<io::Result<()>, _> = tokio::time::timeout(FAREWELL, farewell).await;
    }

    /// From the introduction on. Goes on for as long as the session does, unless the plugin is refused.
    async fn serve_introduced(
        &self,
        shared: &Arc<Shared>,
        introduction: tokio::sync::oneshot::Receiver<Box<Introduction>>,
        address: IpAddr,
    ) -> End {
        let Ok(introduction) = introduction.await else { return std::future::pending().await };
        let Ok(printer) = introduction.printer.as_str().parse::<PrinterId>() else { return End::Refused };
        match self.judge(&introduction, address).await {
            Verdict::Refused(refusal) => {
                shared.command(|session| session.refuse(refusal));
                return End::Refused;
            }
            Verdict::Accepted(acceptance) => shared.command(|session| session.accept(acceptance)),
            Verdict::Unlinked(mut acceptance, notification, code) => {
                tracing::info!(%printer, "a plugin waits to be linked");
                let waiting = Waiting::new(self, &printer);
                let _entered = self.plugins.register.enter(&printer, address, Some(code));
                shared.command(|session| {
                    session.accept(acceptance.clone());
                    session.notify(notification);
                });
                let linked = tokio::time::timeout(UNLINKED_TIME, self.wait_until_linked(&waiting, &introduction)).await;
                let Ok(accounts) = linked else { return End::ByService };
                acceptance.accounts = accounts;
                shared.command(|session| session.accept(acceptance));
            }
        }
        let entered = self.plugins.register.enter(&printer, address, None);
        let Some(registered) = Registered::new(self, &printer, shared, &introduction, entered) else {
            return End::ByService;
        };
        self.note_plugin(&printer, &introduction).await;
        let (link, live, refresh) = (Arc::clone(&registered.link), self.live.clone(), registered.refresh());
        match watch::watch(link, live, printer, refresh).await {}
    }

    /// Waits until somebody has typed the code. Returns the names of the accounts.
    async fn wait_until_linked(&self, waiting: &Waiting<'_>, introduction: &Introduction) -> Vec<String> {
        loop {
            let _ = tokio::time::timeout(LINKED_CHECK, waiting.notify.notified()).await;
            if let Some(accounts) = self.accounts_of(&waiting.printer, introduction).await {
                return accounts;
            }
        }
    }
}

/// Keeps a plugin among those that wait.
struct Waiting<'a> {
    relay: &'a Relay,
    printer: PrinterId,
    notify: Arc<Notify>,
}

impl<'a> Waiting<'a> {
    fn new(relay: &'a Relay, printer: &PrinterId) -> Self {
        let notify = Arc::new(Notify::new());
        relay.plugins.waiting.lock().insert(printer.clone(), Arc::clone(&notify));
        Self { relay, printer: printer.clone(), notify }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.relay.plugins.waiting.lock();
        if waiting.get(&self.printer).is_some_and(|notify| Arc::ptr_eq(notify, &self.notify)) {
            waiting.remove(&self.printer);
        }
    }
}

/// Keeps a link in the directory.
struct Registered<'a> {
    relay: &'a Relay,
    printer: PrinterId,
    registration: cluster::Registration,
    link: Arc<PluginLink>,
    entered: Entered,
}

impl<'a> Registered<'a> {
    fn new(
        relay: &'a Relay,
        printer: &PrinterId,
        shared: &Arc<Shared>,
        introduction: &Introduction,
        entered: Entered,
    ) -> Option<Self> {
        let authority = relay.names.domain.to_string().parse().ok()?;
        let link = PluginLink::new(Arc::clone(shared), introduction.clone(), relay.timeouts.answer, authority);
        let link = Arc::new(link);
        let (registration, replaced) = relay.directory.register(printer, Arc::clone(&link) as Arc<dyn Link>);
        let change = if replaced.is_some() { ConnectionChange::Reconnected } else { ConnectionChange::Connected };
        relay.live.handle_connection(printer, change);
        let before = if let Some(replaced) = &replaced {
            replaced.close_when_idle();
            "connected"
        } else {
            "away"
        };
        metrics::counter!("spoolway_agent_connects_total", "before" => before).increment(1);
        metrics::gauge!("spoolway_agents").increment(1.0);
        relay.live.handle_change(printer);
        tracing::info!(%printer, version = introduction.version_text, host = ?introduction.host, "plugin connected");
        Some(Self { relay, printer: printer.clone(), registration, link, entered })
    }

    fn refresh(&self) -> Arc<Notify> {
        Arc::clone(&self.entered.refresh)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.relay.directory.remove(&self.printer, self.registration);
        let reason = if self.link.is_closed_here() { DisconnectReason::ByService } else { DisconnectReason::Closed };
        self.relay.live.handle_connection(&self.printer, ConnectionChange::Disconnected(reason));
        self.relay.live.handle_change(&self.printer);
        metrics::gauge!("spoolway_agents").decrement(1.0);
        tracing::info!(printer = %self.printer, "plugin disconnected");
        let (store, printer) = (self.relay.store.clone(), self.printer.clone());
        tokio::spawn(async move {
            if let Err(error) = store.record_agent_disconnected(&printer, SystemTime::now()).await {
                tracing::warn!(%printer, %error, "the plugin's disconnection was not noted");
            }
        });
    }
}

/// Takes in what comes. Never waits for a visitor.
async fn read<R: AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    mut reader: MessageReader<R>,
    introduced: tokio::sync::oneshot::Sender<Box<Introduction>>,
) -> End {
    let mut introduced = Some(introduced);
    loop {
        let message = match reader.next().await {
            Ok(Some(socket::Incoming::Message(message))) => message,
            Ok(Some(socket::Incoming::Ping(payload))) => {
                shared.handle_activity(Some(payload));
                continue;
            }
            Ok(Some(socket::Incoming::Pong)) => {
                shared.handle_activity(None);
                continue;
            }
            Ok(Some(socket::Incoming::Close) | None) => return End::Closed,
            Err(error) => return error.into(),
        };
        let handled = if message.len() > LARGE_MESSAGE {
            let shared = Arc::clone(shared);
            match tokio::task::spawn_blocking(move || shared.handle_message(&message)).await {
                Ok(handled) => handled,
                Err(_) => return End::ByService,
            }
        } else {
            shared.handle_message(&message)
        };
        match handled {
            Ok(None) => {}
            Ok(Some(introduction)) => {
                let _ = introduced.take().map(|waiting| waiting.send(introduction));
            }
            Err(error) => return error.into(),
        }
    }
}

/// Sends what there is to send.
async fn write<W: AsyncWrite + Unpin>(shared: &Shared, writer: &mut W) -> End {
    loop {
        while let Some(outgoing) = shared.take_outgoing() {
            if let Err(error) = send(writer, outgoing).await {
                return End::Write(error);
            }
        }
        if let Err(error) = writer.flush().await {
            return End::Write(error);
        }
        shared.outgoing().await;
    }
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, outgoing: Outgoing) -> io::Result<()> {
    let (opcode, payload): (u8, Bytes) = match outgoing {
        Outgoing::Message(message) => (2, message),
        Outgoing::Pong(payload) => (opcode::PONG, payload),
    };
    let mut head = Vec::with_capacity(MAX_HEADER);
    FrameHead { fin: true, reserved: 0, opcode, mask: None, payload: payload.len() as u64 }.write(&mut head);
    writer.write_all(&head).await?;
    writer.write_all(&payload).await
}

async fn watch_the_clock(shared: &Shared) -> End {
    loop {
        let Some(timeout) = shared.timeout() else { return std::future::pending().await };
        tokio::select! {
            () = tokio::time::sleep_until(timeout.into()) => {
                if let Err(error) = shared.handle_timeout() {
                    return error.into();
                }
            }
            () = shared.earlier() => {}
        }
    }
}
