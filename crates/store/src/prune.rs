//! Forgetting what is no longer needed.

use std::time::{Duration, SystemTime};

use sea_orm::sea_query::Condition;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::entity::{audit, change, dead_connection, enrolment, live_link, one_time_token, pairing, session, webhook};
use crate::error::{Attempt, StoreError};
use crate::sessions::in_force;
use crate::store::Store;
use crate::time::to_milliseconds;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Callers of a dead connection hear "revoked" for at least 400 days, whatever was deleted with it. The days above are
/// for clocks that were put right in between.
const DEAD_CONNECTIONS_KEPT: Duration = DAY.saturating_mul(410);
/// Services look several times a second; one that was asleep for longer has to be started anew.
const CHANGES_KEPT: Duration = DAY.saturating_mul(30);
/// What happened a year ago can be compared with this year's.
const AUDIT_KEPT: Duration = DAY.saturating_mul(400);
/// Those who watched show the result around for a while.
const LIVE_LINKS_KEPT: Duration = DAY.saturating_mul(30);

/// How many rows were forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Connections that died long ago; their labels are unknown from here on.
    pub n_dead_connections: u64,
    /// Changes that every service has seen.
    pub n_changes: u64,
    /// Enrolment tokens that expired.
    pub n_enrolments: u64,
    /// Sign-ins that expired or were idle for too long.
    pub n_sessions: u64,
    /// One-time tokens and invitations that expired.
    pub n_tokens: u64,
    /// Agents that waited in vain, and those whose outcome was long told.
    pub n_pairings: u64,
    /// Webhooks that were not renewed.
    pub n_webhooks: u64,
    /// Live links that ended long ago.
    pub n_live_links: u64,
    /// Entries of accounts' logs.
    pub n_audit_entries: u64,
}

impl Store {
    /// Forgets what is old. Meant to be called once a day or so.
    pub async fn prune(&self, now: SystemTime) -> Result<Pruned, StoreError> {
        const ATTEMPTED: &str = "forget old rows";
        let before = |age: Duration| to_milliseconds(now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH));
        let write = self.write(ATTEMPTED).await?;
        let dead_connections = dead_connection::Entity::delete_many()
            .filter(dead_connection::Column::DiedAt.lt(before(DEAD_CONNECTIONS_KEPT)))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        let changes = change::Entity::delete_many()
            .filter(change::Column::ChangedAt.lt(before(CHANGES_KEPT)))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        let enrolments = enrolment::Entity::delete_many()
            .filter(enrolment::Column::ExpiresAt.lte(before(Duration::ZERO)))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        let expired = before(Duration::ZERO);
        let sessions =
            session::Entity::delete_many().filter(in_force(now).not()).exec(&*write).await.attempt(ATTEMPTED)?;
        let tokens = one_time_token::Entity::delete_many()
            .filter(one_time_token::Column::ExpiresAt.lte(expired))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        let pairings = pairing::Entity::delete_many()
            .filter(pairing::Column::ExpiresAt.lte(expired))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        let webhooks = webhook::Entity::delete_many()
            .filter(webhook::Column::ExpiresAt.lte(expired))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        let live_links = live_link::Entity::delete_many()
            .filter(
                Condition::any()
                    .add(live_link::Column::EndedAt.lt(before(LIVE_LINKS_KEPT)))
                    .add(live_link::Column::EndsAt.lt(before(LIVE_LINKS_KEPT))),
            )
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        let audit_entries = audit::Entity::delete_many()
            .filter(audit::Column::At.lt(before(AUDIT_KEPT)))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.commit().await?;
        Ok(Pruned {
            n_dead_connections: dead_connections.rows_affected,
            n_changes: changes.rows_affected,
            n_enrolments: enrolments.rows_affected,
            n_sessions: sessions.rows_affected,
            n_tokens: tokens.rows_affected,
            n_pairings: pairings.rows_affected,
            n_webhooks: webhooks.rows_affected,
            n_live_links: live_links.rows_affected,
            n_audit_entries: audit_entries.rows_affected,
        })
    }
}
