//! Where apps want to hear of a printer's events.

use std::fmt;
use std::time::{Duration, SystemTime};

use model::{ConnectionId, PrinterId};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::accounts::MAX_ROWS;
use crate::entity::{connection, webhook};
use crate::error::{Attempt, StoreError, Subject, stored};
use crate::store::Store;
use crate::time::{from_milliseconds, to_milliseconds};

/// What the interface promises to apps: each call renews it.
const LIFETIME: Duration = Duration::from_secs(180 * 24 * 60 * 60);
/// Longer than browsers take.
const MAX_URL_LENGTH: usize = 2048;
/// There are some twenty kinds of events.
const MAX_FILTER_LENGTH: usize = 100;

/// An app's webhook.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where to call. Apps put secrets into it.
    pub url: String,
    /// Numbers of the events that it wants; empty for all.
    pub filter: Vec<i64>,
    /// When it was set.
    pub set_at: SystemTime,
    /// Until when it is called.
    pub expires_at: SystemTime,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("filter", &self.filter).field("set_at", &self.set_at).finish_non_exhaustive()
    }
}

impl Store {
    /// Sets a connection's webhook, in place of the one it had, for 180 days. Whether the URL may be called is for the
    /// caller to check.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such App Connection, [`StoreError::Invalid`] for sizes that make no
    /// sense.
    pub async fn set_webhook(
        &self,
        connection: &ConnectionId,
        url: &str,
        filter: &[i64],
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "set a webhook";
        if url.is_empty() || url.len() > MAX_URL_LENGTH {
            return Err(StoreError::Invalid("the URL of a webhook has 1 to 2048 bytes"));
        }
        if filter.len() > MAX_FILTER_LENGTH {
            return Err(StoreError::Invalid("a webhook's filter has at most 100 numbers"));
        }
        let write = self.write(ATTEMPTED).await?;
        let n_connections = connection::Entity::find_by_id(connection.as_str())
            .filter(connection::Column::Kind.eq(connection::Kind::App))
            .count(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if n_connections == 0 {
            return Err(StoreError::not_found(Subject::AppConnection, connection.as_str()));
        }
        webhook::Entity::insert(webhook::ActiveModel {
            connection_id: Set(connection.as_str().to_owned()),
            url: Set(url.to_owned()),
            filter: Set(filter.iter().map(i64::to_string).collect::<Vec<_>>().join(",")),
            set_at: Set(to_milliseconds(now)),
            expires_at: Set(to_milliseconds(now + LIFETIME)),
        })
        .on_conflict(
            OnConflict::column(webhook::Column::ConnectionId)
                .update_columns([
                    webhook::Column::Url,
                    webhook::Column::Filter,
                    webhook::Column::SetAt,
                    webhook::Column::ExpiresAt,
                ])
                .to_owned(),
        )
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        write.commit().await
    }

    /// A connection's webhook, if it is in force.
    pub async fn webhook(&self, connection: &ConnectionId, now: SystemTime) -> Result<Option<Webhook>, StoreError> {
        let row = webhook::Entity::find_by_id(connection.as_str())
            .filter(webhook::Column::ExpiresAt.gt(to_milliseconds(now)))
            .one(&self.reader)
            .await
            .attempt("look up a webhook")?;
        row.map(read).transpose()
    }

    /// Webhooks in force of all apps that are connected to a printer, oldest connection first.
    pub async fn webhooks_of_printer(
        &self,
        printer: &PrinterId,
        now: SystemTime,
    ) -> Result<Vec<(ConnectionId, Webhook)>, StoreError> {
        let rows = webhook::Entity::find()
            .find_also_related(connection::Entity)
            .filter(connection::Column::PrinterId.eq(printer.as_str()))
            .filter(webhook::Column::ExpiresAt.gt(to_milliseconds(now)))
            .order_by_asc(connection::Column::CreatedAt)
            .order_by_asc(connection::Column::Id)
            .limit(MAX_ROWS as u64)
            .all(&self.reader)
            .await
            .attempt("list a printer's webhooks")?;
        rows.into_iter()
            .map(|(row, _)| Ok((stored(&row.connection_id, "webhook.connection_id")?, read(row)?)))
            .collect()
    }

    /// Deletes a connection's webhook. Whether it had one.
    pub async fn delete_webhook(&self, connection: &ConnectionId) -> Result<bool, StoreError> {
        const ATTEMPTED: &str = "delete a webhook";
        let write = self.write(ATTEMPTED).await?;
        let deleted = webhook::Entity::delete_by_id(connection.as_str()).exec(&*write).await.attempt(ATTEMPTED)?;
        write.commit().await?;
        Ok(deleted.rows_affected > 0)
    }
}

fn read(row: webhook::Model) -> Result<Webhook, StoreError> {
    let numbers = row.filter.split(',').filter(|number| !number.is_empty());
    Ok(Webhook {
        url: row.url,
        filter: numbers.map(|number| stored(number, "webhook.filter")).collect::<Result<_, _>>()?,
        set_at: from_milliseconds(row.set_at),
        expires_at: from_milliseconds(row.expires_at),
    })
}
