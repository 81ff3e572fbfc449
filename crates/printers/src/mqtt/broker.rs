//! The one connection to a printer's broker, for everybody who needs it.

use std::sync::Arc;
use std::time::Duration;

use model::Secret;
use mqtt_protocol_core::mqtt::packet::Qos;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::info;

use super::listener::{BrokerEvent, Listener, Listeners};
use super::retained::Retained;
use super::subscriptions::{Granted, Waiter};
use super::{Message, session};
use crate::connector::{ConnectError, PrinterConnector};
use crate::platforms::{CommandFailure, Outcome};

/// Before the second attempt to connect; each one after that waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Between attempts at the most: a printer that was switched on is found within this time.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// How a printer's broker is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct BrokerOptions {
    /// What the connection is called; brokers cut off the older of two with one name.
    pub(crate) client_id: String,
    /// Who signs in.
    pub(crate) username: Option<String>,
    /// With what.
    pub(crate) password: Option<Secret>,
    /// How often a silent connection is proved to be alive, in whole seconds.
    pub(crate) keep_alive: Duration,
    /// How the printer's certificate is checked, where it speaks TLS.
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// Whether this printer hangs up on those whom it does not accept, at login or before it has published anything to
    /// them; then such an end is [`CommandFailure::CredentialsRejected`].
    pub(crate) hangs_up_on_strangers: bool,
}

/// Whether the printer can be spoken to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Link {
    /// Why not.
    Down(CommandFailure),
    /// It can, for the so manieth time.
    Up(u64),
}

/// The connection to a printer's broker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PrinterBroker {
    shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
    /// For whoever runs it.
    orders: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Command>>>,
}

pub(super) struct Shared {
    pub(super) connector: PrinterConnector,
    pub(super) options: BrokerOptions,
    pub(super) listeners: Listeners,
    pub(super) retained: Mutex<Retained>,
    pub(super) link: watch::Sender<Link>,
}

/// What is asked of the connection. There are no more of them than tasks that wait for an answer, and subscriptions.
pub(super) enum Command {
    Publish(Message, oneshot::Sender<Outcome<()>>),
    Subscribe(String, Qos, Waiter),
    /// Only if it still is the session with this number.
    Unsubscribe(String, u64),
    Reconnect(CommandFailure),
}

/// Somebody's part in a subscription; it ends when it is dropped.
pub(crate) struct Subscription {
    filter: String,
    session: u64,
    commands: mpsc::UnboundedSender<Command>,
    /// The quality of service that the printer grants.
    pub(crate) granted: Qos,
    /// Whether the printer sends what it has kept, because it was asked; otherwise that is in
    /// [`PrinterBroker::retained`].
    pub(crate) is_fresh: bool,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Nobody runs the connection any more: then there is no subscription either.
        let _ = self.commands.send(Command::Unsubscribe(std::mem::take(&mut self.filter), self.session));
    }
}

impl PrinterBroker {
    /// A connection to where `connector` leads; it is opened by [`Self::run`].
    ///
    /// # Errors
    /// If there is TLS and the host's name cannot stand in a certificate.
    pub(crate) fn new(connector: PrinterConnector, options: BrokerOptions) -> Result<Self, ConnectError> {
        let connector = match &options.tls {
            Some(tls) => connector.over_tls(tls)?,
            None => connector,
        };
        Ok(Self::over(connector, options))
    }

    /// A connection over what `connector` opens, TLS or not.
    pub(crate) fn over(connector: PrinterConnector, options: BrokerOptions) -> Self {
        #[expect(clippy::disallowed_methods, reason = "see `Command`: nothing piles up that nobody waits for")]
        let (commands, orders) = mpsc::unbounded_channel();
        let not_yet = CommandFailure::NotConnected("the printer has not been connected to yet".to_owned());
        let shared = Shared {
            connector,
            options,
            listeners: Listeners::default(),
            retained: Mutex::default(),
            link: watch::Sender::new(Link::Down(not_yet)),
        };
        Self { shared: Arc::new(shared), commands, orders: Arc::new(tokio::sync::Mutex::new(orders)) }
    }

    /// Keeps connected for as long as the future lives.
    pub(crate) async fn run(&self) {
        let shared = &self.shared;
        let mut orders = self.orders.lock().await;
        let _down = DownOnDrop(shared);
        let mut pause = FIRST_PAUSE;
        let mut number = 0;
        loop {
            number += 1;
            let failure = session::run(shared, &mut orders, number).await;
            let was_up = matches!(*shared.link.borrow(), Link::Up(_));
            shared.go_down(failure);
            // A printer that knows no more clients, or us not, is not to be pressed.
            pause = if was_up { FIRST_PAUSE } else { (pause * 2).min(MAX_PAUSE) };
            let paused = tokio::time::sleep(pause);
            tokio::pin!(paused);
            loop {
                tokio::select! {
                    () = &mut paused => break,
                    // Dropped, which is an answer too.
                    Some(_) = orders.recv() => {}
                }
            }
        }
    }

    /// Whether the printer can be spoken to.
    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.subscribe()
    }

    /// Hears what happens from now on.
    pub(crate) fn listen(&self) -> Listener {
        self.shared.listeners.add()
    }

    /// What the printer keeps for later subscribers of `filter`, as far as it was seen.
    pub(crate) fn retained(&self, filter: &str) -> Vec<Arc<Message>> {
        self.shared.retained.lock().matching(filter)
    }

    /// Publishes, and waits until the printer has it, as far as the message's quality of service says so.
    pub(crate) async fn publish(&self, message: Message) -> Outcome<()> {
        self.session()?;
        let (done, answer) = oneshot::channel();
        let kept = message.retain.then(|| Arc::new(message.clone()));
        self.ask(Command::Publish(message, done), answer).await?;
        // The printer sends it back without saying that it keeps it.
        if let Some(kept) = kept {
            self.shared.retained.lock().handle_message(&kept);
        }
        Ok(())
    }

    /// Subscribes; `filter` is valid. What comes is heard by every [`Listener`].
    pub(crate) async fn subscribe(&self, filter: &str, qos: Qos) -> Outcome<Subscription> {
        let session = self.session()?;
        let (done, answer) = oneshot::channel();
        let Granted { qos: granted, is_fresh } =
            self.ask(Command::Subscribe(filter.to_owned(), qos, done), answer).await?;
        Ok(Subscription { filter: filter.to_owned(), session, commands: self.commands.clone(), granted, is_fresh })
    }

    /// Hangs up and connects anew, because of what the printer said or did not say.
    pub(crate) fn reconnect(&self, because: CommandFailure) {
        // Nobody runs the connection: then there is nothing to end.
        let _ = self.commands.send(Command::Reconnect(because));
    }

    fn session(&self) -> Outcome<u64> {
        match &*self.shared.link.borrow() {
            Link::Up(session) => Ok(*session),
            Link::Down(failure) => Err(failure.clone()),
        }
    }

    async fn ask<T>(&self, command: Command, answer: oneshot::Receiver<Outcome<T>>) -> Outcome<T> {
        let lost = || CommandFailure::NotConnected("the connection to the printer broke off".to_owned());
        self.commands.send(command).map_err(|_| lost())?;
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Shared {
    pub(super) fn go_up(&self, number: u64) {
        info!("connected to the printer at {}", self.connector.target());
        self.link.send_replace(Link::Up(number));
        self.listeners.tell(&BrokerEvent::Connected);
    }

    fn go_down(&self, failure: CommandFailure) {
        self.retained.lock().clear();
        self.link.send_replace(Link::Down(failure.clone()));
        self.listeners.tell(&BrokerEvent::Disconnected(failure));
    }
}

struct DownOnDrop<'a>(&'a Shared);

impl Drop for DownOnDrop<'_> {
    fn drop(&mut self) {
        self.0.go_down(CommandFailure::NotConnected("the printer is not connected to any more".to_owned()));
    }
}
