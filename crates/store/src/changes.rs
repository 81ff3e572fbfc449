//! The change feed, by which services on the same database hear what `admin` and each other did.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::entity::{change, change_counter};
use crate::error::{Attempt, StoreError};
use crate::records::{Change, ChangeSubject};
use crate::store::Store;

/// A reader that far behind asks again; at 200 ms between looks it would take 5,000 changes a second to get there.
const MAX_CHANGES: u64 = 1000;

impl Store {
    /// Changes after `seq`, ascending, at most 1000: ask again from the last one until none come.
    pub async fn changes_since(&self, seq: i64) -> Result<Vec<Change>, StoreError> {
        let rows = change::Entity::find()
            .filter(change::Column::Seq.gt(seq))
            .order_by_asc(change::Column::Seq)
            .limit(MAX_CHANGES)
            .all(&self.reader)
            .await
            .attempt("read the changes")?;
        rows.into_iter().map(read).collect()
    }

    /// The last change's place; 0 if there was none.
    pub async fn latest_change(&self) -> Result<i64, StoreError> {
        change_counter::Entity::find_by_id(change_counter::ONLY_ID)
            .one(&self.reader)
            .await
            .attempt("read the latest change")?
            .map(|counter| counter.last_seq)
            .ok_or(StoreError::Damaged { column: "change_counter.id" })
    }
}

fn read(row: change::Model) -> Result<Change, StoreError> {
    let damaged = |_| StoreError::Damaged { column: "change.subject_key" };
    let subject = match row.subject {
        change::Subject::Account => ChangeSubject::Account(row.subject_key.parse().map_err(damaged)?),
        change::Subject::Plan => ChangeSubject::Plan(row.subject_key),
        change::Subject::Printer => ChangeSubject::Printer(row.subject_key.parse().map_err(damaged)?),
        change::Subject::Session => ChangeSubject::Session(row.subject_key.parse().map_err(damaged)?),
        change::Subject::Connection => ChangeSubject::Connection(row.subject_key.parse().map_err(damaged)?),
    };
    Ok(Change { seq: row.seq, subject })
}
