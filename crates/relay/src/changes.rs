//! Follows the store's change feed, so that what an administrator does takes effect on what is open.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use model::{ConnectionId, RelayError};
use store::{Change, ChangeSubject, ConnectionLookup, ConnectionRecord};

use crate::relay::Relay;
use crate::sessions::Session;

/// A revocation must cut within a second; asking costs one read of an index.
const INTERVAL: Duration = Duration::from_millis(200);

/// Runs as long as the relay exists.
pub(crate) async fn follow(relay: Weak<Relay>) {
    let mut last = None;
    let mut failing = false;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(relay) = relay.upgrade() else { return };
        let outcome = match last {
            // What happened before the start is not cached anywhere.
            None => relay.store.latest_change().await.map(|seq| (seq, Vec::new())),
            Some(seen) => relay.store.changes_since(seen).await.map(|changes| {
                let seq = changes.last().map_or(seen, |change| change.seq);
                (seq, changes)
            }),
        };
        match outcome {
            Ok((seq, changes)) => {
                if !changes.is_empty() {
                    relay.access.invalidate();
                    if relay.apply(&changes).await.is_err() {
                        // Looked at again at the next turn: a change must not be lost because the store was busy.
                        continue;
                    }
                }
                last = Some(seq);
                failing = false;
            }
            Err(error) => {
                if !failing {
                    tracing::error!(%error, "changes of the store cannot be followed; trying on");
                }
                failing = true;
            }
        }
    }
}

/// The store did not answer.
struct Unanswered;

impl Relay {
    async fn apply(&self, changes: &[Change]) -> Result<(), Unanswered> {
        let affected =
            self.sessions.select(|session| changes.iter().any(|change| concerns(change, &session.connection)));
        let mut sessions_by_connection: HashMap<ConnectionId, Vec<Arc<Session>>> = HashMap::new();
        for session in affected {
            sessions_by_connection.entry(session.connection.id.clone()).or_default().push(session);
        }
        for (connection, sessions) in sessions_by_connection {
            let lookup = self.store.connection_by_id(&connection).await.map_err(|_| Unanswered)?;
            let Some(error) = refusal(&lookup, SystemTime::now()) else { continue };
            tracing::info!(%connection, code = error.code(), open = sessions.len(), "cutting what a connection has open");
            for session in sessions {
                session.cut(error);
            }
            // What was let in between the selection and now.
            self.sessions.cut_connection(&connection, error);
        }
        // Only then the links, else what was open would be told that the printer is offline.
        for change in changes {
            if let ChangeSubject::Printer(printer) = &change.subject {
                self.close_if_removed(printer).await?;
            }
        }
        if changes.iter().any(|change| matches!(change.subject, ChangeSubject::Account(_))) {
            // The account's printers went with it.
            for (printer, _) in self.directory.links_here() {
                self.close_if_removed(&printer).await?;
            }
        }
        Ok(())
    }

    async fn close_if_removed(&self, printer: &model::PrinterId) -> Result<(), Unanswered> {
        let Ok(cluster::Whereabouts::Here(link)) = self.directory.find(printer).await else { return Ok(()) };
        match self.store.authenticate_agent(printer, &model::Secret::new("")).await {
            Ok(store::AgentAuth::Removed) => {
                tracing::info!(%printer, "the printer was removed; its agent is disconnected");
                link.close();
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(_) => Err(Unanswered),
        }
    }
}

fn concerns(change: &Change, connection: &ConnectionRecord) -> bool {
    match &change.subject {
        ChangeSubject::Account(account) => *account == connection.account,
        ChangeSubject::Plan(plan) => *plan == connection.plan.name,
        ChangeSubject::Printer(printer) => *printer == connection.printer,
        ChangeSubject::Connection(id) => *id == connection.id,
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
