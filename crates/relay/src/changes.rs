//! Follows the store's change feed, so that what an administrator does takes effect on what is open.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use model::{ConnectionId, RelayError};
use store::{Change, ChangeSubject, ConnectionLookup, ConnectionRecord, StoreError};

use crate::grant::{Grant, OwnerVisit};
use crate::relay::Relay;
use crate::sessions::Session;

/// A revocation must cut within a second; asking costs one read of an index.
const INTERVAL: Duration = Duration::from_millis(200);

/// Runs as long as the relay exists.
pub(crate) async fn follow(relay: Weak<Relay>) {
    let mut last = None;
    let mut failing = false;
    loop {
        let Some(relay) = relay.upgrade() else { return };
        let outcome = match last {
            None => relay.begin_following().await,
            Some(seen) => relay.follow_from(seen).await,
        };
        drop(relay);
        match outcome {
            Ok(seq) => {
                last = Some(seq);
                failing = false;
            }
            // Looked at again at the next turn: a change must not be lost because the store was busy.
            Err(Unanswered(error)) => {
                if !failing {
                    tracing::error!(%error, "changes of the store cannot be followed; trying on");
                }
                failing = true;
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The store did not answer.
struct Unanswered(StoreError);

impl From<StoreError> for Unanswered {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl Relay {
    /// The relay serves before it follows, so what it let in and remembered so far may be older than the feed's end.
    async fn begin_following(&self) -> Result<i64, Unanswered> {
        let seq = self.store.latest_change().await?;
        self.access.invalidate();
        self.visits.invalidate();
        self.cut_refused(|_| true).await?;
        self.cut_visits(|_| true).await?;
        for (printer, _) in self.directory.links_here() {
            self.close_if_removed(&printer).await?;
        }
        Ok(seq)
    }

    async fn follow_from(&self, seen: i64) -> Result<i64, Unanswered> {
        let changes = self.store.changes_since(seen).await?;
        let Some(last) = changes.last() else { return Ok(seen) };
        self.access.invalidate();
        self.visits.invalidate();
        self.apply(&changes).await?;
        Ok(last.seq)
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), Unanswered> {
        for change in changes {
            if let ChangeSubject::Printer(printer) = &change.subject {
                self.plugins.handle_change(printer);
            }
        }
        self.cut_refused(|connection| changes.iter().any(|change| concerns(change, connection))).await?;
        self.cut_visits(|visit| changes.iter().any(|change| concerns_visit(change, visit))).await?;
        // Only then the links, else what was open would be told that the printer is offline.
        if changes.iter().any(|change| matches!(change.subject, ChangeSubject::Account(_))) {
            // The account's printers went with it.
            for (printer, _) in self.directory.links_here() {
                self.close_if_removed(&printer).await?;
            }
            return Ok(());
        }
        for change in changes {
            if let ChangeSubject::Printer(printer) = &change.subject {
                self.close_if_removed(printer).await?;
            }
        }
        Ok(())
    }

    /// Cuts the sessions of those connections that would not be let in any more.
    async fn cut_refused(&self, is_affected: impl Fn(&ConnectionRecord) -> bool) -> Result<(), Unanswered> {
        let affected = self.sessions.select(|session| connection_of(session).is_some_and(&is_affected));
        let mut sessions_by_connection: HashMap<ConnectionId, Vec<Arc<Session>>> = HashMap::new();
        for session in affected {
            let Some(connection) = connection_of(&session).map(|connection| connection.id.clone()) else { continue };
            sessions_by_connection.entry(connection).or_default().push(session);
        }
        for (connection, sessions) in sessions_by_connection {
            let lookup = self.store.connection_by_id(&connection).await?;
            let Some(error) = refusal(&lookup, SystemTime::now()) else { continue };
            tracing::info!(%connection, code = error.code(), open = sessions.len(), "cutting what a connection has open");
            for session in sessions {
                session.cut(error);
            }
            // What was let in between the selection and now.
            self.sessions.cut_connection(&connection, error);
        }
        Ok(())
    }

    /// Cuts what owners have open who would not be let in any more.
    async fn cut_visits(&self, is_affected: impl Fn(&OwnerVisit) -> bool) -> Result<(), Unanswered> {
        let mut visits: HashMap<[u8; 32], Arc<OwnerVisit>> = HashMap::new();
        for session in self.sessions.select(|session| visit_of(session).is_some_and(|visit| is_affected(visit))) {
            if let Some(visit) = visit_of(&session) {
                visits.entry(*visit.hash.as_bytes()).or_insert_with(|| Arc::clone(visit));
            }
        }
        for visit in visits.into_values() {
            if !self.still_lets_in(&visit, SystemTime::now()).await? {
                tracing::info!(printer = %visit.record.printer, "cutting what an owner has open");
                self.sessions.cut_visit(&visit.hash, RelayError::ConnectionRevoked);
            }
        }
        Ok(())
    }

    /// Sessions of owners end by the clock as well, which no change tells.
    pub(crate) async fn cut_ended_visits(&self) {
        if let Err(Unanswered(error)) = self.cut_visits(|_| true).await {
            tracing::warn!(%error, "owners' sessions were not looked at");
        }
    }

    async fn close_if_removed(&self, printer: &model::PrinterId) -> Result<(), Unanswered> {
        let Ok(cluster::Whereabouts::Here(link)) = self.directory.find(printer).await else { return Ok(()) };
        if self.store.authenticate_agent(printer, &model::Secret::new("")).await? == store::AgentAuth::Removed {
            tracing::info!(%printer, "the printer was removed; its agent is disconnected");
            link.close();
        }
        Ok(())
    }
}

fn connection_of(session: &Session) -> Option<&ConnectionRecord> {
    match &session.grant {
        Grant::Connection(connection) => Some(connection),
        Grant::Owner(_) => None,
    }
}

fn visit_of(session: &Session) -> Option<&Arc<OwnerVisit>> {
    match &session.grant {
        Grant::Owner(visit) => Some(visit),
        Grant::Connection(_) => None,
    }
}

fn concerns_visit(change: &Change, visit: &OwnerVisit) -> bool {
    match &change.subject {
        // It may be the printer's owner's, whose deletion takes the printer away from its operators.
        ChangeSubject::Account(_) => true,
        ChangeSubject::Printer(printer) => *printer == visit.record.printer,
        ChangeSubject::Session(session) => *session == visit.record.session,
        // Limits of what is open stay as they were.
        ChangeSubject::Plan(_) | ChangeSubject::Connection(_) => false,
    }
}

fn concerns(change: &Change, connection: &ConnectionRecord) -> bool {
    match &change.subject {
        ChangeSubject::Account(account) => *account == connection.account,
        ChangeSubject::Plan(plan) => *plan == connection.plan.name,
        ChangeSubject::Printer(printer) => *printer == connection.printer,
        ChangeSubject::Connection(id) => *id == connection.id,
        // Connections are opened by credentials of their own.
        ChangeSubject::Session(_) => false,
    }
}

/// What a connection in this state is refused with. That it is unknown proves nothing here: it was known.
fn refusal(lookup: &ConnectionLookup, now: SystemTime) -> Option<RelayError> {
    match lookup {
        ConnectionLookup::Unknown | ConnectionLookup::Dead(_) => Some(RelayError::ConnectionRevoked),
        ConnectionLookup::Alive(record) if record.expires_at.is_some_and(|at| at <= now) => {
            Some(RelayError::ConnectionRevoked)
        }
        ConnectionLookup::Alive(record) if !record.plan.supporter => Some(RelayError::NotSupporter),
        ConnectionLookup::Alive(_) => None,
    }
}
