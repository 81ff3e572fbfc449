//! Forgetting what is no longer needed.

use std::time::{Duration, SystemTime};

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::entity::{change, dead_connection, enrolment};
use crate::error::{Attempt, StoreError};
use crate::store::Store;
use crate::time::to_milliseconds;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Callers of a dead connection hear "revoked" for at least 400 days, whatever was deleted with it. The days above are
/// for clocks that were put right in between.
const DEAD_CONNECTIONS_KEPT: Duration = DAY.saturating_mul(410);
/// Services look several times a second; one that was asleep for longer has to be started anew.
const CHANGES_KEPT: Duration = DAY.saturating_mul(30);

/// How many rows were forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Connections that died long ago; their labels are unknown from here on.
    pub n_dead_connections: u64,
    /// Changes that every service has seen.
    pub n_changes: u64,
    /// Enrolment tokens that expired.
    pub n_enrolments: u64,
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
        write.commit().await?;
        Ok(Pruned {
            n_dead_connections: dead_connections.rows_affected,
            n_changes: changes.rows_affected,
            n_enrolments: enrolments.rows_affected,
        })
    }
}
