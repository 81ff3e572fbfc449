//! Everything that is open: each relayed request and each WebSocket, so that a revocation can cut it and an idle one
//! can be ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::task::AtomicWaker;
use model::{ConnectionId, RelayError, SecretHash};
use parking_lot::Mutex;
use slab::Slab;

use crate::grant::Grant;
use crate::link::LinkBody;
use crate::live::{LivePrinters, Surface};
use crate::metrics;
use crate::usage::{Usage, UsageMeters};

/// How often expiry and idleness are looked at; also the unit in which idleness is measured, because reading a clock
/// for every piece of every body costs more than it tells.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// Registries beside each other, so that cores rarely wait for one lock.
const SHARDS: usize = 16;

/// In place of the last sweep with a byte: none is waited for.
const WAITING: u32 = u32::MAX;

/// An open request or WebSocket.
pub(crate) struct Session {
    /// What let it in.
    pub(crate) grant: Grant,
    /// The printer's response while it is on its way; here, so that cutting lets go of it even while the visitor does
    /// not read.
    pub(crate) body: Mutex<Option<LinkBody>>,
    activity: Activity,
    /// Sweeps without a byte after which it is ended.
    idle_limit: AtomicU32,
    /// The code of the error that cut it, 0 if none did.
    cut_code: AtomicU16,
    waker: AtomicWaker,
}

/// When bytes last passed, and how many.
#[derive(Clone)]
pub struct Activity {
    sweep: Arc<AtomicU32>,
    last: Arc<AtomicU32>,
    usage: Option<Arc<Usage>>,
}

impl Activity {
    /// Bytes pass.
    pub fn touch(&self) {
        self.last.store(self.sweep.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Bytes of a body or of a WebSocket have come from the visitor.
    pub(crate) fn count_up(&self, bytes: usize) {
        metrics::bytes_from_visitors(bytes as u64);
        if let Some(usage) = &self.usage {
            usage.add_up(bytes as u64);
        }
    }

    /// Bytes of a body or of a WebSocket leave for the visitor.
    pub(crate) fn count_down(&self, bytes: usize) {
        metrics::bytes_to_visitors(bytes as u64);
        if let Some(usage) = &self.usage {
            usage.add_down(bytes as u64);
        }
    }

    /// No byte can pass before the printer answers, and that has limits of its own. Ends with the next
    /// [`Activity::touch`].
    pub fn wait_for_answer(&self) {
        self.last.store(WAITING, Ordering::Relaxed);
    }

    fn idle_sweeps(&self) -> u32 {
        match self.last.load(Ordering::Relaxed) {
            WAITING => 0,
            last => self.sweep.load(Ordering::Relaxed).wrapping_sub(last),
        }
    }
}

impl Session {
    /// To be touched whenever bytes pass.
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Ends the session if no byte passes for `limit`.
    pub(crate) fn set_idle_limit(&self, limit: Duration) {
        let sweeps = limit.as_millis() / SWEEP_INTERVAL.as_millis();
        self.idle_limit.store(u32::try_from(sweeps).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Ends the session with `error`; the first one counts.
    pub(crate) fn cut(&self, error: RelayError) {
        let _ = self.cut_code.compare_exchange(0, error.code(), Ordering::AcqRel, Ordering::Acquire);
        // Dropped outside of the lock: it may wake tasks that want it.
        let body = self.body.lock().take();
        drop(body);
        self.waker.wake();
    }

    /// The error that cut the session.
    pub(crate) fn cut_by(&self) -> Option<RelayError> {
        RelayError::from_code(self.cut_code.load(Ordering::Acquire))
    }

    /// Ready once the session is cut. One task at a time may wait.
    pub(crate) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<RelayError> {
        if let Some(error) = self.cut_by() {
            return Poll::Ready(error);
        }
        self.waker.register(cx.waker());
        self.cut_by().map_or(Poll::Pending, Poll::Ready)
    }
}

/// All that is open on this node.
pub(crate) struct Sessions {
    shards: [Mutex<Slab<Arc<Session>>>; SHARDS],
    next_shard: AtomicU32,
    sweep: Arc<AtomicU32>,
    live: LivePrinters,
    usage: Arc<UsageMeters>,
}

impl Sessions {
    /// None yet. Errors that end them are told to `live`, and what goes through them is counted by `usage`.
    pub(crate) fn new(live: LivePrinters, usage: Arc<UsageMeters>) -> Self {
        Self {
            live,
            usage,
            shards: std::array::from_fn(|_| Mutex::new(Slab::new())),
            next_shard: AtomicU32::new(0),
            sweep: Arc::default(),
        }
    }
}

/// Keeps a session registered until it is dropped.
pub(crate) struct SessionGuard {
    pub(crate) session: Arc<Session>,
    sessions: Arc<Sessions>,
    shard: usize,
    key: usize,
}

impl SessionGuard {
    /// An error ended what was open, to be shown to the printer's owner.
    pub(crate) fn note_error(&self, error: RelayError, surface: Surface) {
        let grant = &self.session.grant;
        self.sessions.live.handle_error(grant.printer(), error, grant.entrance(), surface);
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.sessions.shard(self.shard).lock().remove(self.key);
    }
}

impl Sessions {
    #[expect(clippy::indexing_slicing, reason = "shards are numbered where they are counted, in `open`")]
    fn shard(&self, shard: usize) -> &Mutex<Slab<Arc<Session>>> {
        &self.shards[shard]
    }

    /// Registers a session that `grant` lets in and that ends when no byte passes for `idle_limit`.
    pub(crate) fn open(self: &Arc<Self>, grant: Grant, idle_limit: Duration) -> SessionGuard {
        let usage = match &grant {
            Grant::Connection(connection) => Some(self.usage.of(&connection.id)),
            Grant::Owner(_) => None,
        };
        let last = Arc::new(AtomicU32::new(self.sweep.load(Ordering::Relaxed)));
        let session = Arc::new(Session {
            grant,
            body: Mutex::new(None),
            activity: Activity { sweep: Arc::clone(&self.sweep), last, usage },
            idle_limit: AtomicU32::new(0),
            cut_code: AtomicU16::new(0),
            waker: AtomicWaker::new(),
        });
        session.set_idle_limit(idle_limit);
        let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) as usize % SHARDS;
        let key = self.shard(shard).lock().insert(Arc::clone(&session));
        SessionGuard { session, sessions: Arc::clone(self), shard, key }
    }

    /// Those for which `wanted` holds.
    pub(crate) fn select(&self, wanted: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let mut selected = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            selected
                .extend(shard.iter().filter(|(_, session)| wanted(session)).map(|(_, session)| Arc::clone(session)));
        }
        selected
    }

    /// Cuts what belongs to a connection.
    pub(crate) fn cut_connection(&self, connection: &ConnectionId, error: RelayError) {
        for session in
            self.select(|session| matches!(&session.grant, Grant::Connection(open) if open.id == *connection))
        {
            session.cut(error);
        }
    }

    /// Cuts what was opened with one cookie of an owner's view.
    pub(crate) fn cut_visit(&self, visit: &SecretHash, error: RelayError) {
        for session in self.select(|session| matches!(&session.grant, Grant::Owner(open) if open.hash == *visit)) {
            session.cut(error);
        }
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Ends what has expired or has been idle for too long. To be called every [`SWEEP_INTERVAL`].
    pub(crate) fn sweep(&self, now: SystemTime) {
        self.sweep.fetch_add(1, Ordering::Relaxed);
        let ended = self.select(|session| {
            session.grant.expires_at().is_some_and(|at| at <= now)
                || session.activity.idle_sweeps() > session.idle_limit.load(Ordering::Relaxed)
        });
        for session in ended {
            let expired = session.grant.expires_at().is_some_and(|at| at <= now);
            session.cut(if expired { RelayError::ConnectionRevoked } else { RelayError::PrinterTimeout });
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{AccountId, Label, Plan, PrinterId};
    use store::{ConnectionCredentials, ConnectionKind, ConnectionRecord};

    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(LivePrinters::new(Arc::new(cluster::InProcess::default())), Arc::default())
    }

    fn connection(expires_at: Option<SystemTime>) -> Grant {
        Grant::Connection(Arc::new(ConnectionRecord {
            id: ConnectionId::generate(),
            kind: ConnectionKind::Shared,
            label: Label::generate(),
            printer: PrinterId::generate(),
            printer_name: "Printer".to_owned(),
            account: AccountId::generate(),
            app_name: None,
            expires_at,
            has_full_control: false,
            credentials: ConnectionCredentials::Open,
            plan: Plan::unlimited(),
        }))
    }

    #[test]
    fn idle_and_expired_sessions_end_and_others_do_not() {
        let sessions = Arc::new(sessions());
        let now = SystemTime::now();
        let idle = sessions.open(connection(None), SWEEP_INTERVAL * 2);
        let busy = sessions.open(connection(None), SWEEP_INTERVAL * 2);
        let expired = sessions.open(connection(Some(now + Duration::from_secs(1))), Duration::from_secs(3600));
        for _ in 0..3 {
            sessions.sweep(now);
            busy.session.activity().touch();
        }
        assert_eq!(idle.session.cut_by(), Some(RelayError::PrinterTimeout));
        assert_eq!((busy.session.cut_by(), expired.session.cut_by()), (None, None));
        sessions.sweep(now + Duration::from_secs(1));
        assert_eq!(expired.session.cut_by(), Some(RelayError::ConnectionRevoked));
        assert_eq!(sessions.count(), 3);
        drop((idle, busy, expired));
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn the_first_reason_counts() {
        let sessions = Arc::new(sessions());
        let guard = sessions.open(connection(None), Duration::from_secs(1));
        let Grant::Connection(open) = &guard.session.grant else { panic!("a connection let it in") };
        sessions.cut_connection(&open.id, RelayError::ConnectionRevoked);
        guard.session.cut(RelayError::NotSupporter);
        assert_eq!(guard.session.cut_by(), Some(RelayError::ConnectionRevoked));
    }
}
