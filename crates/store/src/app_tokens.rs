//! The tokens by which apps open the App APIs.

use std::time::SystemTime;

use model::{AccountId, ConnectionId, Label, Plan, Secret};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::entity::{account, beta_grant, connection, dead_connection, plan, printer};
use crate::error::{Attempt, StoreError, stored};
use crate::plans::read_plan;
use crate::printers::read_summary;
use crate::records::{DeathReason, PrinterSummary};
use crate::store::Store;
use crate::text::Feature;
use crate::time::{from_milliseconds, to_milliseconds};

/// What the store knows about an app token.
#[derive(Clone, Debug)]
pub enum AppTokenLookup {
    /// Nothing, and nothing that died within the last 400 days.
    Unknown,
    /// Its connection existed and never will again, or has expired.
    Dead(DeathReason),
    /// Its connection is in force. Whether the plan includes App Connections is for the caller to check.
    Alive(Box<AppConnectionRecord>),
}

/// An App Connection as its app may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppConnectionRecord {
    /// Its id.
    pub id: ConnectionId,
    /// What the app calls itself in its requests, if it did.
    pub app_id: Option<String>,
    /// The app's name.
    pub app_name: String,
    /// The printer.
    pub printer: PrinterSummary,
    /// The printer's owner.
    pub account: AccountId,
    /// What the owner's plan allows.
    pub plan: Plan,
    /// Features in beta that the owner was granted.
    pub beta: Vec<Feature>,
    /// The random part of the connection's host name.
    pub label: Label,
    /// When it stops working.
    pub expires_at: Option<SystemTime>,
}

impl Store {
    /// The App Connection that a token opens.
    pub async fn connection_by_app_token(&self, token: &Secret, now: SystemTime) -> Result<AppTokenLookup, StoreError> {
        const ATTEMPTED: &str = "look up an app token";
        let hash = token.hash().as_bytes().to_vec();
        let found = connection::Entity::find()
            .find_also_related(printer::Entity)
            .find_also(printer::Entity, account::Entity)
            .find_also(account::Entity, plan::Entity)
            .filter(connection::Column::AppTokenHash.eq(hash.clone()))
            .one(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let Some((connection, printer, account, plan)) = found else {
            // In this order it is found in one of the two tables, as in `look_up`.
            let dead = dead_connection::Entity::find()
                .filter(dead_connection::Column::AppTokenHash.eq(hash))
                .one(&self.reader)
                .await
                .attempt(ATTEMPTED)?;
            return Ok(match dead {
                Some(dead) => AppTokenLookup::Dead(DeathReason::read(dead.reason)),
                None => AppTokenLookup::Unknown,
            });
        };
        let missing = StoreError::Damaged { column: "connection.printer_id" };
        let (Some(printer), Some(account), Some(plan)) = (printer, account, plan) else { return Err(missing) };
        if connection.expires_at.is_some_and(|expires_at| expires_at <= to_milliseconds(now)) {
            return Ok(AppTokenLookup::Dead(DeathReason::Expired));
        }
        let grants = beta_grant::Entity::find()
            .filter(beta_grant::Column::AccountId.eq(&account.id))
            .order_by_asc(beta_grant::Column::Feature)
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        Ok(AppTokenLookup::Alive(Box::new(AppConnectionRecord {
            id: stored(&connection.id, "connection.id")?,
            app_id: connection.app_id,
            app_name: connection.app_name.unwrap_or_default(),
            printer: read_summary(printer, &account)?,
            account: stored(&account.id, "account.id")?,
            plan: read_plan(plan)?,
            beta: grants.iter().map(|grant| stored(&grant.feature, "beta_grant.feature")).collect::<Result<_, _>>()?,
            label: stored(&connection.label, "connection.label")?,
            expires_at: connection.expires_at.map(from_milliseconds),
        })))
    }
}
