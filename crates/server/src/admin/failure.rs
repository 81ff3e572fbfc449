//! How errors are told: what is wrong, and on a line of its own what to do.

use serde::Serialize;
use store::{StoreError, Subject};

/// For people.
pub(super) fn as_text(error: &anyhow::Error) -> String {
    match hint(error) {
        Some(hint) => format!("error: {error:#}\nhint: {hint}"),
        None => format!("error: {error:#}"),
    }
}

/// For programs.
pub(super) fn as_json(error: &anyhow::Error) -> String {
    #[derive(Serialize)]
    struct Failure {
        error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<&'static str>,
    }
    serde_json::to_string(&Failure { error: format!("{error:#}"), hint: hint(error) })
        .expect("texts can always be written as JSON")
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    match error.downcast_ref::<StoreError>()? {
        StoreError::NotFound { subject, .. } => match subject {
            Subject::Account => Some("`spoolway admin user list` shows the accounts"),
            Subject::Plan => {
                Some("`spoolway admin plan list` shows the plans, `spoolway admin plan set NAME` makes one")
            }
            Subject::Printer => Some("`spoolway admin printer list` shows the printers with their ids"),
            Subject::AppConnection => Some("`spoolway admin app-connection list` shows the connections with their ids"),
            Subject::SharedConnection => {
                Some("`spoolway admin shared-connection list` shows the connections with their ids")
            }
            Subject::BetaGrant => Some("`spoolway admin beta list` shows what is granted"),
            Subject::RegisteredApp => Some("`spoolway admin app list` shows the apps with their ids"),
            _ => None,
        },
        StoreError::Unavailable { .. } => {
            Some("is the data directory the right one, writable for this user, and on a disk with space left?")
        }
        StoreError::NewerLayout { .. } => Some("use the version of `spoolway` that the service runs with"),
        StoreError::Damaged { .. } => Some("restore the database from a backup, and report how it came to this"),
        StoreError::Conflict { .. } | StoreError::Invalid(_) | StoreError::Full(_) => None,
    }
}
