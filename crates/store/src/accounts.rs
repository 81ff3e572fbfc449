//! Owners' accounts.

use std::collections::HashMap;
use std::time::SystemTime;

use model::{AccountId, Plan};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    SqlErr,
};

use crate::connections::{bury, connections_of_account};
use crate::entity::{account, dead_connection, plan, printer};
use crate::error::{Attempt, StoreError, Subject};
use crate::password::PasswordHash;
use crate::records::{AccountSummary, ChangeSubject, Listing};
use crate::store::{Store, Write};
use crate::text::EmailAddress;
use crate::time::{from_milliseconds, to_milliseconds};

/// How many rows a list holds at most. Tens of megabytes at worst; whoever has more narrows the list.
pub(crate) const MAX_ROWS: usize = 10_000;

impl Store {
    /// Makes an account with a plan, [`Plan::DEFAULT_NAME`] if none is given.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the address has an account, [`StoreError::NotFound`] if there is no such plan.
    pub async fn add_account(
        &self,
        email: &EmailAddress,
        plan: Option<&str>,
        password: Option<&PasswordHash>,
        now: SystemTime,
    ) -> Result<AccountId, StoreError> {
        const ATTEMPTED: &str = "add an account";
        let write = self.write(ATTEMPTED).await?;
        let plan = plan.unwrap_or(Plan::DEFAULT_NAME);
        let new = NewAccount { email, plan, password, is_admin: false, is_verified: false };
        let id = insert_account(&write, new, now, ATTEMPTED).await?;
        write.record(ChangeSubject::Account(id.clone()), now).await?;
        write.commit().await?;
        Ok(id)
    }

    /// All accounts, oldest first.
    pub async fn accounts(&self) -> Result<Listing<AccountSummary>, StoreError> {
        const ATTEMPTED: &str = "list the accounts";
        let rows = account::Entity::find()
            .order_by_asc(account::Column::CreatedAt)
            .order_by_asc(account::Column::Id)
            .limit(MAX_ROWS as u64 + 1)
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let counts: Vec<(String, i64)> = printer::Entity::find()
            .select_only()
            .column(printer::Column::AccountId)
            .column_as(printer::Column::Id.count(), "n_printers")
            .group_by(printer::Column::AccountId)
            .into_tuple()
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let n_printers_by_account: HashMap<String, i64> = counts.into_iter().collect();
        Listing::read(rows, |row| {
            let n_printers = n_printers_by_account.get(&row.id).copied().unwrap_or(0);
            Ok(AccountSummary {
                id: row.id.parse().map_err(|_| StoreError::Damaged { column: "account.id" })?,
                email: read_email(&row.email)?,
                plan: row.plan,
                has_password: row.password_hash.is_some(),
                is_admin: row.is_admin,
                n_printers: u64::try_from(n_printers).unwrap_or(0),
                created_at: from_milliseconds(row.created_at),
            })
        })
    }

    /// Gives an account another plan. Its connections keep their credentials whatever the plan.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account or plan.
    pub async fn set_account_plan(&self, email: &EmailAddress, plan: &str, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "change an account's plan";
        let write = self.write(ATTEMPTED).await?;
        let account = find_account(&*write, email, ATTEMPTED).await?;
        expect_plan(&*write, plan, ATTEMPTED).await?;
        account::Entity::update_many()
            .set(account::ActiveModel { plan: Set(plan.to_owned()), ..Default::default() })
            .filter(account::Column::Id.eq(account.as_str()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.record(ChangeSubject::Account(account), now).await?;
        write.commit().await
    }

    /// Deletes an account with its printers and connections. What is kept are the hashes by which its connections'
    /// callers learn that they are revoked.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn delete_account(&self, email: &EmailAddress, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "delete an account";
        let write = self.write(ATTEMPTED).await?;
        let account = find_account(&*write, email, ATTEMPTED).await?;
        delete_account_row(&write, &account, now, ATTEMPTED).await?;
        write.commit().await
    }
}

pub(crate) struct NewAccount<'a> {
    pub(crate) email: &'a EmailAddress,
    pub(crate) plan: &'a str,
    pub(crate) password: Option<&'a PasswordHash>,
    pub(crate) is_admin: bool,
    pub(crate) is_verified: bool,
}

/// Makes an account. The caller records the change.
pub(crate) async fn insert_account(
    write: &Write,
    new: NewAccount<'_>,
    now: SystemTime,
    attempted: &'static str,
) -> Result<AccountId, StoreError> {
    expect_plan(&**write, new.plan, attempted).await?;
    let id = AccountId::generate();
    let inserted = account::Entity::insert(account::ActiveModel {
        id: Set(id.as_str().to_owned()),
        email: Set(new.email.as_str().to_owned()),
        password_hash: Set(new.password.map(|hash| hash.as_stored().to_owned())),
        plan: Set(new.plan.to_owned()),
        created_at: Set(to_milliseconds(now)),
        is_admin: Set(new.is_admin),
        email_verified_at: Set(new.is_verified.then(|| to_milliseconds(now))),
        totp_secret: Set(None),
        totp_sealed: Set(None),
        totp_confirmed_at: Set(None),
        totp_last_step: Set(None),
    })
    .exec_without_returning(&**write)
    .await;
    if let Err(error) = &inserted
        && let Some(SqlErr::UniqueConstraintViolation(_)) = error.sql_err()
    {
        return Err(StoreError::conflict(Subject::Account, new.email.as_str()));
    }
    inserted.attempt(attempted)?;
    Ok(id)
}

/// Deletes an account with all that hangs on it, and records the change.
pub(crate) async fn delete_account_row(
    write: &Write,
    account: &AccountId,
    now: SystemTime,
    attempted: &'static str,
) -> Result<(), StoreError> {
    let dying = connections_of_account(&**write, account, attempted).await?;
    bury(&**write, dying, dead_connection::Reason::AccountDeleted, now, attempted).await?;
    printer::Entity::delete_many()
        .filter(printer::Column::AccountId.eq(account.as_str()))
        .exec(&**write)
        .await
        .attempt(attempted)?;
    account::Entity::delete_by_id(account.as_str()).exec(&**write).await.attempt(attempted)?;
    write.record(ChangeSubject::Account(account.clone()), now).await
}

/// The account of an address, or that there is none.
pub(crate) async fn find_account<C: ConnectionTrait>(
    connection: &C,
    email: &EmailAddress,
    attempted: &'static str,
) -> Result<AccountId, StoreError> {
    account::Entity::find()
        .filter(account::Column::Email.eq(email.as_str()))
        .one(connection)
        .await
        .attempt(attempted)?
        .ok_or_else(|| StoreError::not_found(Subject::Account, email.as_str()))?
        .id
        .parse()
        .map_err(|_| StoreError::Damaged { column: "account.id" })
}

async fn expect_plan<C: ConnectionTrait>(
    connection: &C,
    name: &str,
    attempted: &'static str,
) -> Result<(), StoreError> {
    match plan::Entity::find_by_id(name).count(connection).await.attempt(attempted)? {
        0 => Err(StoreError::not_found(Subject::Plan, name)),
        _ => Ok(()),
    }
}

pub(crate) fn read_email(stored: &str) -> Result<EmailAddress, StoreError> {
    stored.parse().map_err(|_| StoreError::Damaged { column: "account.email" })
}

impl<T> Listing<T> {
    /// Reads rows that were asked for with a limit of one more than [`MAX_ROWS`].
    pub(crate) fn read<R>(mut rows: Vec<R>, read: impl FnMut(R) -> Result<T, StoreError>) -> Result<Self, StoreError> {
        let is_cut_off = rows.len() > MAX_ROWS;
        rows.truncate(MAX_ROWS);
        Ok(Self { rows: rows.into_iter().map(read).collect::<Result<_, _>>()?, is_cut_off })
    }
}
