//! What the relay asks on its slow path: one or two indexed queries each.

use std::time::SystemTime;

use model::{ConnectionId, Label, SecretHash};
use sea_orm::sea_query::Condition;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::entity::{account, connection, dead_connection, plan, printer};
use crate::error::{Attempt, StoreError};
use crate::password::PasswordHash;
use crate::plans::read_plan;
use crate::records::{ConnectionCredentials, ConnectionKind, ConnectionLookup, ConnectionRecord, DeathReason};
use crate::store::Store;
use crate::time::{from_milliseconds, to_milliseconds};

const ATTEMPTED: &str = "look up a connection";

impl Store {
    /// The connection behind a host name. The kind counts: a Shared Connection's label says nothing on an `app-` host.
    pub async fn connection_by_label(
        &self,
        kind: ConnectionKind,
        label: &Label,
    ) -> Result<ConnectionLookup, StoreError> {
        let hash = SecretHash::of(label.as_str());
        let living = Condition::all()
            .add(connection::Column::Label.eq(label.as_str()))
            .add(connection::Column::Kind.eq(kind.stored()));
        let dead = Condition::all()
            .add(dead_connection::Column::LabelHash.eq(hash.as_bytes().as_slice()))
            .add(dead_connection::Column::Kind.eq(kind.stored()));
        self.look_up(living, dead).await
    }

    /// The connection with this id.
    pub async fn connection_by_id(&self, id: &ConnectionId) -> Result<ConnectionLookup, StoreError> {
        let living = Condition::all().add(connection::Column::Id.eq(id.as_str()));
        let dead = Condition::all().add(dead_connection::Column::Id.eq(id.as_str()));
        self.look_up(living, dead).await
    }

    /// Notes that a connection was used. Writes at most once a minute for each connection, and no change.
    pub async fn touch_connection(&self, id: &ConnectionId, at: SystemTime) -> Result<(), StoreError> {
        /// People ask for "when was it last used" in days.
        const RESOLUTION_MS: i64 = 60_000;
        const ATTEMPTED: &str = "note the use of a connection";
        let at = to_milliseconds(at);
        let is_due = Condition::any()
            .add(connection::Column::LastUsedAt.is_null())
            .add(connection::Column::LastUsedAt.lte(at.saturating_sub(RESOLUTION_MS)));
        // Looked at without the write lock first, because most calls end here.
        let due = connection::Entity::find_by_id(id.as_str())
            .filter(is_due.clone())
            .one(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        if due.is_none() {
            return Ok(());
        }
        let write = self.write(ATTEMPTED).await?;
        connection::Entity::update_many()
            .col_expr(connection::Column::LastUsedAt, at.into())
            .filter(connection::Column::Id.eq(id.as_str()))
            .filter(is_due)
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.commit().await
    }

    /// A connection dies in one transaction that moves it from one table to the other. Looked up in this order, it is
    /// found in at least one of them whenever that happens.
    async fn look_up(&self, living: Condition, dead: Condition) -> Result<ConnectionLookup, StoreError> {
        let found = connection::Entity::find()
            .find_also_related(printer::Entity)
            .find_also(printer::Entity, account::Entity)
            .find_also(account::Entity, plan::Entity)
            .filter(living)
            .one(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        if let Some((connection, printer, account, plan)) = found {
            // Foreign keys guarantee them; an answer without them must not become "unknown".
            let missing = StoreError::Damaged { column: "connection.printer_id" };
            let (Some(printer), Some(account), Some(plan)) = (printer, account, plan) else { return Err(missing) };
            return Ok(ConnectionLookup::Alive(Box::new(read_record(connection, printer, account, plan)?)));
        }
        let found = dead_connection::Entity::find().filter(dead).one(&self.reader).await.attempt(ATTEMPTED)?;
        Ok(match found {
            Some(dead) => ConnectionLookup::Dead(DeathReason::read(dead.reason)),
            None => ConnectionLookup::Unknown,
        })
    }
}

impl DeathReason {
    pub(crate) fn read(reason: dead_connection::Reason) -> Self {
        match reason {
            dead_connection::Reason::Revoked => Self::Revoked,
            dead_connection::Reason::PrinterRemoved => Self::PrinterRemoved,
            dead_connection::Reason::AccountDeleted => Self::AccountDeleted,
        }
    }
}

impl ConnectionKind {
    pub(crate) fn stored(self) -> connection::Kind {
        match self {
            Self::App => connection::Kind::App,
            Self::Shared => connection::Kind::Shared,
        }
    }

    pub(crate) fn read(kind: connection::Kind) -> Self {
        match kind {
            connection::Kind::App => Self::App,
            connection::Kind::Shared => Self::Shared,
        }
    }
}

fn read_record(
    connection: connection::Model,
    printer: printer::Model,
    account: account::Model,
    plan: plan::Model,
) -> Result<ConnectionRecord, StoreError> {
    let damaged = |column| StoreError::Damaged { column };
    Ok(ConnectionRecord {
        id: connection.id.parse().map_err(|_| damaged("connection.id"))?,
        kind: ConnectionKind::read(connection.kind),
        label: connection.label.parse().map_err(|_| damaged("connection.label"))?,
        printer: printer.id.parse().map_err(|_| damaged("printer.id"))?,
        printer_name: printer.name,
        account: account.id.parse().map_err(|_| damaged("account.id"))?,
        app_name: connection.app_name.clone(),
        expires_at: connection.expires_at.map(from_milliseconds),
        has_full_control: connection.kind == connection::Kind::App && connection.has_full_control,
        credentials: read_credentials(connection)?,
        plan: read_plan(plan)?,
    })
}

fn read_credentials(connection: connection::Model) -> Result<ConnectionCredentials, StoreError> {
    let hash = |bytes: Option<Vec<u8>>, column| {
        bytes.and_then(|bytes| SecretHash::from_bytes(&bytes)).ok_or(StoreError::Damaged { column })
    };
    match (connection.kind, connection.password_hash) {
        (connection::Kind::App, _) => Ok(ConnectionCredentials::App {
            basic_user: connection.basic_user.ok_or(StoreError::Damaged { column: "connection.basic_user" })?,
            basic_password: hash(connection.basic_password_hash, "connection.basic_password_hash")?,
            bearer: hash(connection.bearer_hash, "connection.bearer_hash")?,
        }),
        (connection::Kind::Shared, None) => Ok(ConnectionCredentials::Open),
        (connection::Kind::Shared, Some(stored)) => PasswordHash::from_stored(stored)
            .map(ConnectionCredentials::Password)
            .ok_or(StoreError::Damaged { column: "connection.password_hash" }),
    }
}
