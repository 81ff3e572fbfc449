//! What can go wrong, sorted by who can do something about it.

use std::fmt;

use sea_orm::DbErr;
use thiserror::Error;

/// Why a method of the store could not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database did not answer, or could not write: gone, locked for too long, disk full. It says nothing about
    /// whether the thing that was asked for exists. Trying again may help.
    #[error("the database could not {attempted}")]
    Unavailable {
        /// What was attempted, to be read after "could not".
        attempted: &'static str,
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database holds a value that this program can never have written.
    #[error("the database holds a damaged value in `{column}`")]
    Damaged {
        /// Table and column.
        column: &'static str,
    },
    /// A newer version of the program has changed the database's layout; this one must not touch it.
    #[error("the database was changed by a newer version of Spoolway (its migration `{migration}` is not known here)")]
    NewerLayout {
        /// The first migration that is not known.
        migration: String,
    },
    /// The thing that should be changed is not there.
    #[error("there is no {subject} `{key}`")]
    NotFound {
        /// What kind of thing.
        subject: Subject,
        /// How the caller named it.
        key: String,
    },
    /// The thing that should be made is there already, or the thing that should go has to stay.
    #[error("{}", conflict_text(*subject, key))]
    Conflict {
        /// What kind of thing.
        subject: Subject,
        /// How the caller named it.
        key: String,
    },
    /// There are as many already as the store takes. Some have to go first, or time has to pass.
    #[error("there are too many: {0}")]
    Full(&'static str),
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Invalid(&'static str),
}

fn conflict_text(subject: Subject, key: &str) -> String {
    match subject {
        Subject::LastAdministrator => format!("`{key}` is the last administrator"),
        _ => format!("the {subject} `{key}` exists already"),
    }
}

impl StoreError {
    pub(crate) fn unavailable(attempted: &'static str, source: DbErr) -> Self {
        Self::Unavailable { attempted, source: Box::new(source) }
    }

    pub(crate) fn not_found(subject: Subject, key: impl Into<String>) -> Self {
        Self::NotFound { subject, key: key.into() }
    }

    pub(crate) fn conflict(subject: Subject, key: impl Into<String>) -> Self {
        Self::Conflict { subject, key: key.into() }
    }

    /// Whether the fault is the service's, so that nothing was learned about what was asked for.
    pub fn is_infrastructure(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Damaged { .. } | Self::NewerLayout { .. })
    }
}

/// Kinds of things that can be missing or in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An owner's account, named by its e-mail address.
    Account,
    /// A plan, named by its name.
    Plan,
    /// A printer, named by its id.
    Printer,
    /// An App Connection, named by its id.
    AppConnection,
    /// A Shared Connection, named by its id.
    SharedConnection,
    /// An account's grant for a beta feature, named by the feature.
    BetaGrant,
    /// The only account that may administer the service, named by its address. It can only be in the way.
    LastAdministrator,
    /// A sign-in, named by its id.
    Session,
    /// An invitation, named by its id.
    Invitation,
    /// Somebody with a role on a printer, named by the account's id.
    Member,
    /// A passkey, named by its credential's id in hexadecimal digits.
    Passkey,
    /// An account at an identity provider, named by the provider.
    Identity,
    /// A live link, named by the beginning of its id.
    LiveLink,
    /// An app's webhook, named by its connection.
    Webhook,
    /// A registered app, named by its id.
    RegisteredApp,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Plan => "plan",
            Self::Printer => "printer",
            Self::AppConnection => "app connection",
            Self::SharedConnection => "shared connection",
            Self::BetaGrant => "beta grant",
            Self::LastAdministrator => "administrator",
            Self::Session => "session",
            Self::Invitation => "invitation",
            Self::Member => "member",
            Self::Passkey => "passkey",
            Self::Identity => "identity",
            Self::LiveLink => "live link",
            Self::Webhook => "webhook",
            Self::RegisteredApp => "registered app",
        })
    }
}

/// Reads an id or another text that this program wrote.
pub(crate) fn stored<T: std::str::FromStr>(text: &str, column: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged { column })
}

/// Says what was attempted when the database fails.
pub(crate) trait Attempt<T> {
    fn attempt(self, attempted: &'static str) -> Result<T, StoreError>;
}

impl<T> Attempt<T> for Result<T, DbErr> {
    fn attempt(self, attempted: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::unavailable(attempted, source))
    }
}
