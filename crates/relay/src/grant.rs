//! What let a request in, whatever kind of host it came by.

use std::sync::Arc;
use std::time::SystemTime;

use model::{Limits, PrinterId};
use store::{ConnectionKind, ConnectionRecord};

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
}

impl Grant {
    pub(crate) fn entrance(&self) -> Entrance {
        match self {
            Self::Connection(connection) => connection.kind.into(),
        }
    }

    /// The printer that it leads to.
    pub(crate) fn printer(&self) -> &PrinterId {
        match self {
            Self::Connection(connection) => &connection.printer,
        }
    }

    /// When it ends by itself.
    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        match self {
            Self::Connection(connection) => connection.expires_at,
        }
    }

    /// What it allows.
    pub(crate) fn limits(&self) -> Limits {
        match self {
            Self::Connection(connection) => connection.plan.limits,
        }
    }
}
