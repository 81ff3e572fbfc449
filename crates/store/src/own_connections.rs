//! Connections as their owner handles them: everything takes the account, and what is another's is not there.

use std::time::SystemTime;

use model::{AccountId, ConnectionId, PrinterId};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::accounts::MAX_ROWS;
use crate::connections::read_summary;
use crate::connections::{App, NewAppConnection, NewSharedConnection, bury, check_expiry, insert_app, insert_shared};
use crate::entity::{account, connection, dead_connection, printer};
use crate::error::{Attempt, StoreError, Subject};
use crate::password::PasswordHash;
use crate::records::{ChangeSubject, ConnectionSummary};
use crate::roles::{Role, expect_role};
use crate::store::{Store, Write};
use crate::text::Name;
use crate::time::to_milliseconds;

/// Each app, each device, each friend: a few dozen. The limit keeps a program that ran wild from filling the table.
const MAX_CONNECTIONS: u64 = 1000;
/// An id is a short word or a UUID.
const MAX_APP_ID_LENGTH: usize = 100;

/// What an app says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppIdentity {
    /// Its id, if it has one: up to 100 characters on one line.
    pub app_id: Option<String>,
    /// Its name.
    pub name: Name,
}

/// What went through a connection since it was last told: the connection, bytes to the printer, bytes from the printer,
/// and when the last of them went.
pub type Usage = (ConnectionId, u64, u64, SystemTime);

impl Store {
    /// Gives an app access to a printer, for its owner.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account owns no such printer, [`StoreError::Invalid`] if the expiry is not in
    /// the future or the app's id makes no sense, [`StoreError::Full`] if the printer has too many connections.
    pub async fn create_app_connection_of(
        &self,
        account: &AccountId,
        printer: &PrinterId,
        app: &AppIdentity,
        expires_at: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<NewAppConnection, StoreError> {
        const ATTEMPTED: &str = "create an app connection";
        check_expiry(expires_at, now)?;
        if let Some(id) = &app.app_id
            && (id.is_empty() || id.chars().count() > MAX_APP_ID_LENGTH || id.chars().any(char::is_control))
        {
            return Err(StoreError::Invalid("an app's id has 1 to 100 characters"));
        }
        let write = self.write(ATTEMPTED).await?;
        let row = expect_role(&*write, account, printer, Role::Owner, ATTEMPTED).await?;
        expect_room(&write, printer, ATTEMPTED).await?;
        let app = App { id: app.app_id.as_deref(), name: &app.name };
        let new = insert_app(&write, row, app, expires_at, now, ATTEMPTED).await?;
        write.commit().await?;
        Ok(new)
    }

    /// Makes a link to a printer that its owner can hand out.
    ///
    /// # Errors
    /// As [`Store::create_app_connection_of`].
    pub async fn create_shared_connection_of(
        &self,
        account: &AccountId,
        printer: &PrinterId,
        password: Option<&PasswordHash>,
        expires_at: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<NewSharedConnection, StoreError> {
        const ATTEMPTED: &str = "create a shared connection";
        check_expiry(expires_at, now)?;
        let write = self.write(ATTEMPTED).await?;
        let row = expect_role(&*write, account, printer, Role::Owner, ATTEMPTED).await?;
        expect_room(&write, printer, ATTEMPTED).await?;
        let new = insert_shared(&write, row, password, expires_at, now, ATTEMPTED).await?;
        write.commit().await?;
        Ok(new)
    }

    /// Living connections of both kinds to an account's own printers, or to one of them, oldest first, at most 10,000.
    /// Expired ones are among them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account owns no such printer.
    pub async fn connections_of(
        &self,
        account: &AccountId,
        printer: Option<&PrinterId>,
    ) -> Result<Vec<ConnectionSummary>, StoreError> {
        const ATTEMPTED: &str = "list an account's connections";
        let mut query = connection::Entity::find()
            .find_also_related(printer::Entity)
            .find_also(printer::Entity, account::Entity)
            .filter(printer::Column::AccountId.eq(account.as_str()));
        if let Some(printer) = printer {
            expect_role(&self.reader, account, printer, Role::Owner, ATTEMPTED).await?;
            query = query.filter(connection::Column::PrinterId.eq(printer.as_str()));
        }
        let rows = query
            .order_by_asc(connection::Column::CreatedAt)
            .order_by_asc(connection::Column::Id)
            .limit(MAX_ROWS as u64)
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        rows.into_iter()
            .map(|(connection, printer, account)| {
                let missing = StoreError::Damaged { column: "connection.printer_id" };
                let (Some(printer), Some(account)) = (printer, account) else { return Err(missing) };
                read_summary(connection, printer, &account)
            })
            .collect()
    }

    /// Ends a connection of either kind for good, for the owner of its printer. Gives what it was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if no printer of the account has such a connection.
    pub async fn revoke_connection_of(
        &self,
        account: &AccountId,
        id: &ConnectionId,
        now: SystemTime,
    ) -> Result<ConnectionSummary, StoreError> {
        const ATTEMPTED: &str = "revoke a connection";
        let write = self.write(ATTEMPTED).await?;
        let (row, revoked) = own_connection(&write, account, id, ATTEMPTED).await?;
        bury(&*write, vec![row], dead_connection::Reason::Revoked, now, ATTEMPTED).await?;
        write.record(ChangeSubject::Connection(id.clone()), now).await?;
        write.commit().await?;
        Ok(revoked)
    }

    /// Lets an app send the printer messages in the printer's own language, or takes that back, for the owner of the
    /// printer. Gives what the connection was before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if no printer of the account has such an App Connection.
    pub async fn set_full_control_of(
        &self,
        account: &AccountId,
        id: &ConnectionId,
        has_full_control: bool,
        now: SystemTime,
    ) -> Result<ConnectionSummary, StoreError> {
        const ATTEMPTED: &str = "change what an app may do";
        let write = self.write(ATTEMPTED).await?;
        let (row, before) = own_connection(&write, account, id, ATTEMPTED).await?;
        if row.kind != connection::Kind::App {
            return Err(StoreError::not_found(Subject::AppConnection, id.as_str()));
        }
        connection::Entity::update_many()
            .col_expr(connection::Column::HasFullControl, has_full_control.into())
            .filter(connection::Column::Id.eq(id.as_str()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.record(ChangeSubject::Connection(id.clone()), now).await?;
        write.commit().await?;
        Ok(before)
    }

    /// Adds what went through connections. Those that are gone have no place for it any more. Writes no change.
    pub async fn add_usage(&self, used: &[Usage]) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "note how much went through connections";
        if used.is_empty() {
            return Ok(());
        }
        let write = self.write(ATTEMPTED).await?;
        for (id, up, down, last) in used {
            let last = to_milliseconds(*last);
            let add = |column: connection::Column, bytes: u64| {
                column.into_expr().add(i64::try_from(bytes).unwrap_or(i64::MAX))
            };
            let later = Expr::case(connection::Column::LastUsedAt.gt(last), connection::Column::LastUsedAt.into_expr())
                .finally(last);
            connection::Entity::update_many()
                .col_expr(connection::Column::BytesUp, add(connection::Column::BytesUp, *up))
                .col_expr(connection::Column::BytesDown, add(connection::Column::BytesDown, *down))
                .col_expr(connection::Column::LastUsedAt, later.into())
                .filter(connection::Column::Id.eq(id.as_str()))
                .exec(&*write)
                .await
                .attempt(ATTEMPTED)?;
        }
        write.commit().await
    }
}

/// A connection to a printer of the account's own.
async fn own_connection(
    write: &Write,
    account: &AccountId,
    id: &ConnectionId,
    attempted: &'static str,
) -> Result<(connection::Model, ConnectionSummary), StoreError> {
    let found = connection::Entity::find_by_id(id.as_str())
        .find_also_related(printer::Entity)
        .find_also(printer::Entity, account::Entity)
        .filter(printer::Column::AccountId.eq(account.as_str()))
        .one(&**write)
        .await
        .attempt(attempted)?;
    let Some((row, Some(printer), Some(owner))) = found else {
        return Err(StoreError::not_found(Subject::AppConnection, id.as_str()));
    };
    let summary = read_summary(row.clone(), printer, &owner)?;
    Ok((row, summary))
}

async fn expect_room(write: &Write, printer: &PrinterId, attempted: &'static str) -> Result<(), StoreError> {
    let n_connections = connection::Entity::find()
        .filter(connection::Column::PrinterId.eq(printer.as_str()))
        .count(&**write)
        .await
        .attempt(attempted)?;
    if n_connections >= MAX_CONNECTIONS {
        return Err(StoreError::Full("a printer has at most 1000 connections"));
    }
    Ok(())
}
