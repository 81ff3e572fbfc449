//! What let a request in, whatever kind of host it came by.

use std::sync::Arc;
use std::time::SystemTime;

use model::{Limits, PrinterId, Secret, SecretHash};
use store::{ConnectionKind, ConnectionRecord, OwnerVisitRecord};

/// The kind of host that a visitor came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entrance {
    /// An App Connection.
    App,
    /// A Shared Connection.
    Shared,
    /// The owner's own view.
    Owner,
}

impl Entrance {
    /// Its name in metrics and for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Shared => "shared",
            Self::Owner => "owner",
        }
    }
}

impl From<ConnectionKind> for Entrance {
    fn from(kind: ConnectionKind) -> Self {
        match kind {
            ConnectionKind::App => Self::App,
            ConnectionKind::Shared => Self::Shared,
        }
    }
}

/// What let a request in.
#[derive(Clone, Debug)]
pub(crate) enum Grant {
    /// A connection.
    Connection(Arc<ConnectionRecord>),
    /// Somebody who may open the printer's full interface, and is signed in.
    Owner(Arc<OwnerVisit>),
}

/// A cookie of a printer's own host, and whom it lets in.
#[derive(Debug)]
pub(crate) struct OwnerVisit {
    /// Of the cookie's value.
    pub(crate) hash: SecretHash,
    /// The cookie's value, to ask the store again.
    pub(crate) cookie: Secret,
    /// What the store says of it.
    pub(crate) record: OwnerVisitRecord,
}

impl Grant {
    pub(crate) fn entrance(&self) -> Entrance {
        match self {
            Self::Connection(connection) => connection.kind.into(),
            Self::Owner(_) => Entrance::Owner,
        }
    }

    /// The printer that it leads to.
    pub(crate) fn printer(&self) -> &PrinterId {
        match self {
            Self::Connection(connection) => &connection.printer,
            Self::Owner(visit) => &visit.record.printer,
        }
    }

    /// When it ends by itself.
    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        match self {
            Self::Connection(connection) => connection.expires_at,
            // The store knows, and is asked again and again.
            Self::Owner(_) => None,
        }
    }

    /// What it allows.
    pub(crate) fn limits(&self) -> Limits {
        match self {
            Self::Connection(connection) => connection.plan.limits,
            // Plans limit how others watch, and not how owners do.
            Self::Owner(visit) => Limits { webcam_stream: None, webcam_window: None, ..visit.record.plan.limits },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{AccountId, Label, Plan, SessionId, WebcamWindow};
    use store::Role;

    use super::*;

    #[test]
    fn owners_watch_as_long_as_they_like() {
        let second = Duration::from_secs(1);
        let limits = Limits {
            max_upload_bytes: Some(1),
            max_download_bytes: Some(2),
            webcam_stream: Some(second),
            webcam_window: Some(WebcamWindow { window: second, total: second }),
        };
        let cookie = Secret::generate();
        let record = OwnerVisitRecord {
            session: SessionId::generate(),
            account: AccountId::generate(),
            printer: PrinterId::generate(),
            label: Label::generate(),
            role: Role::Operator,
            plan: Plan { limits, ..Plan::unlimited() },
        };
        let visit = Grant::Owner(Arc::new(OwnerVisit { hash: cookie.hash(), cookie, record }));
        let expected = Limits { max_upload_bytes: Some(1), max_download_bytes: Some(2), ..Limits::default() };
        assert_eq!(visit.limits(), expected);
    }
}
