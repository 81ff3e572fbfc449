//! Keeps a printer linked: dials, serves, and dials again.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::link::{Hello, PROTOCOL_VERSION, PrinterStatus, Refusal, RefusalReason, Welcome};
use model::{PrinterId, Secret};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::agent_control::{Control, Order};
use crate::agent_services::AgentServices;
use crate::agent_side::{PrinterHandler, ServeEnd, serve};
use crate::backoff::{Backoff, random_fraction};
use crate::dial::{DialError, DialOptions, Upgrade, dial};

/// A refusal that only a person can lift is asked about again this often.
const REFUSED_RETRY: Duration = Duration::from_secs(300);
/// An old link's streams may take this long to finish after a new one has taken over.
const DRAIN_LIMIT: Duration = Duration::from_secs(600);
/// Open streams may take this long to finish when the agent ends.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Who the agent is, kept by the caller where it survives a restart.
pub trait Identity: Send + Sync {
    /// The printer that it was enrolled as.
    fn printer_id(&self) -> Option<PrinterId>;
    /// The secret that proves it, made before the first contact.
    fn key(&self) -> Secret;
    /// The one-time token of a first contact.
    fn enrolment_token(&self) -> Option<Secret>;
    /// The service has taken the key as this printer's.
    ///
    /// # Errors
    /// If it cannot be kept; the link is not served then.
    fn enrolled(&self, printer_id: &PrinterId) -> io::Result<()>;
}

/// What the caller may want to tell the person who runs the agent.
#[derive(Debug)]
pub enum Notice {
    /// Visitors can reach the printer.
    Connected {
        /// What the service said.
        welcome: Welcome,
        /// How the bytes travel.
        upgrade: Upgrade,
    },
    /// The service said no.
    Refused {
        /// Why.
        refusal: Refusal,
        /// When it is asked again.
        retry_in: Duration,
    },
    /// The service was not reached.
    Failed {
        /// Why.
        error: DialError,
        /// When the next try is.
        retry_in: Duration,
    },
    /// The link ended.
    Lost {
        /// Why.
        end: ServeEnd,
        /// When the next try is.
        retry_in: Duration,
    },
    /// The service asked to connect anew, for instance because it is restarting.
    Draining {
        /// When that will be.
        reconnect_in: Duration,
    },
    /// The identity could not be kept.
    IdentityNotKept(io::Error),
}

/// What stays the same over all connections.
#[derive(Clone)]
pub struct AgentOptions {
    /// Where the service is.
    pub dial: DialOptions,
    /// The agent's version.
    pub version: String,
    /// Its optional abilities.
    pub capabilities: Vec<String>,
    /// What it can do for the service besides passing requests on.
    pub services: Option<Arc<dyn AgentServices>>,
}

/// Keeps the printer linked until `shutdown` is cancelled.
///
/// # Errors
/// The refusal, if the enrolment token is not accepted: trying again cannot help.
pub async fn run<H: PrinterHandler>(
    options: AgentOptions,
    identity: Arc<dyn Identity>,
    status: watch::Receiver<PrinterStatus>,
    handler: Arc<H>,
    notify: impl Fn(Notice),
    shutdown: CancellationToken,
) -> Result<(), Refusal> {
    let mut backoff = Backoff::default();
    let mut upgrade = Upgrade::default();
    loop {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            printer_id: identity.printer_id(),
            enrolment_token: identity.enrolment_token().map(|token| token.expose().to_owned()),
            agent_version: options.version.clone(),
            capabilities: options.capabilities.clone(),
            printer: status.borrow().clone(),
        };
        let key = identity.key();
        let dialled = tokio::select! {
            dialled = dial(&options.dial, upgrade, &hello, &key) => dialled,
            () = shutdown.cancelled() => return Ok(()),
        };
        let delay = match dialled {
            Ok((io, welcome, used)) => {
                upgrade = used;
                if identity.printer_id().as_ref() != Some(&welcome.printer_id)
                    && let Err(error) = identity.enrolled(&welcome.printer_id)
                {
                    notify(Notice::IdentityNotKept(error));
                    backoff.next_delay(random_fraction()).max(Duration::from_secs(5))
                } else {
                    let (orders, mut ordered) = mpsc::channel(4);
                    let control = Arc::new(Control {
                        printer: Arc::clone(&handler),
                        status: status.clone(),
                        services: options.services.clone(),
                        orders,
                    });
                    let stop = CancellationToken::new();
                    let since = Instant::now();
                    let mut serving = tokio::spawn(serve(io, control, stop.clone()).in_current_span());
                    let mut welcome = Some(welcome);
                    loop {
                        tokio::select! {
                            ended = &mut serving => {
                                if welcome.is_none() {
                                    backoff.handle_connection_lasted(since.elapsed());
                                }
                                let retry_in = backoff.next_delay(random_fraction());
                                let end = ended.unwrap_or(ServeEnd::Closed);
                                notify(Notice::Lost { end, retry_in });
                                break retry_in;
                            }
                            Some(order) = ordered.recv() => match order {
                                Order::Linked => {
                                    if let Some(welcome) = welcome.take() {
                                        notify(Notice::Connected { welcome, upgrade });
                                    }
                                }
                                Order::Drain(drain) => {
                                    let spread = Duration::from_millis(drain.spread_ms);
                                    let reconnect_in = spread.mul_f64(random_fraction());
                                    notify(Notice::Draining { reconnect_in });
                                    tokio::spawn(finish(serving));
                                    backoff = Backoff::default();
                                    break reconnect_in;
                                }
                            },
                            () = shutdown.cancelled() => {
                                stop.cancel();
                                let _ = tokio::time::timeout(SHUTDOWN_LIMIT, &mut serving).await;
                                serving.abort();
                                return Ok(());
                            }
                        }
                    }
                }
            }
            Err(DialError::Refused(refusal)) => {
                if refusal.reason == RefusalReason::InvalidToken {
                    return Err(refusal);
                }
                let retry_in = match refusal.retry_after_seconds {
                    Some(seconds) => Duration::from_secs(seconds.into()).mul_f64(0.5 + random_fraction()),
                    None if refusal.reason == RefusalReason::Unavailable => backoff.next_delay(random_fraction()),
                    None => REFUSED_RETRY,
                };
                notify(Notice::Refused { refusal, retry_in });
                retry_in
            }
            Err(error) => {
                let retry_in = backoff.next_delay(random_fraction());
                notify(Notice::Failed { error, retry_in });
                retry_in
            }
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Lets an old link's streams finish; the service ends the link after the last of them.
async fn finish(mut serving: JoinHandle<ServeEnd>) {
    if tokio::time::timeout(DRAIN_LIMIT, &mut serving).await.is_err() {
        serving.abort();
    }
}
