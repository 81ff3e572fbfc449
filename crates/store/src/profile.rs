//! One account: what it is, how it signs in, and what changes about that.

use std::fmt;
use std::time::SystemTime;

use model::{AccountId, Plan, SessionId};
use sea_orm::sea_query::Condition;
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, SqlErr};

use crate::accounts::{delete_account_row, read_email};
use crate::entity::one_time_token::Purpose;
use crate::entity::{account, one_time_token, passkey, plan};
use crate::error::{Attempt, StoreError, Subject, stored};
use crate::password::PasswordHash;
use crate::plans::read_plan;
use crate::records::ChangeSubject;
use crate::sessions::end_sessions;
use crate::store::{Store, Write};
use crate::text::EmailAddress;
use crate::time::{from_milliseconds, to_milliseconds};

/// What a sign-in has to be checked against.
#[derive(Clone, Debug)]
pub struct LoginRecord {
    /// The account.
    pub account: AccountId,
    /// None where it cannot sign in with a password.
    pub password: Option<PasswordHash>,
    /// The second factor, if it has a confirmed one.
    pub totp: Option<TotpRecord>,
    /// Whether it may administer the service.
    pub is_admin: bool,
    /// Whether it could sign in with a passkey.
    pub has_passkeys: bool,
}

/// A second factor from which codes are computed.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpRecord {
    /// The shared secret; none if the key that it was sealed with is not here any more, and only recovery codes work.
    pub secret: Option<Vec<u8>>,
    /// The time step of the last code that was accepted.
    pub last_step: Option<u64>,
}

impl fmt::Debug for TotpRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TotpRecord").field("last_step", &self.last_step).finish_non_exhaustive()
    }
}

/// An account as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProfile {
    /// Its id.
    pub id: AccountId,
    /// The owner's address, unique.
    pub email: EmailAddress,
    /// Whether it may administer the service.
    pub is_admin: bool,
    /// Whether the owner has shown to read mail at the address.
    pub email_verified: bool,
    /// Whether a password was set.
    pub has_password: bool,
    /// Whether sign-ins ask for a second factor.
    pub has_totp: bool,
    /// What it may do.
    pub plan: Plan,
    /// When it was made.
    pub created_at: SystemTime,
}

impl Store {
    /// What a sign-in with this address has to show; none if there is no such account.
    pub async fn account_for_login(&self, email: &EmailAddress) -> Result<Option<LoginRecord>, StoreError> {
        const ATTEMPTED: &str = "look up an account";
        let row = account::Entity::find()
            .filter(account::Column::Email.eq(email.as_str()))
            .one(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let Some(row) = row else { return Ok(None) };
        self.login_record(row).await.map(Some)
    }

    /// The same for an account that is known by other means than its address.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn login_of(&self, account: &AccountId) -> Result<LoginRecord, StoreError> {
        let row = account_row(&self.reader, account, "look up an account").await?;
        self.login_record(row).await
    }

    async fn login_record(&self, row: account::Model) -> Result<LoginRecord, StoreError> {
        let n_passkeys = passkey::Entity::find()
            .filter(passkey::Column::AccountId.eq(&row.id))
            .count(&self.reader)
            .await
            .attempt("look up an account's passkeys")?;
        let account = stored(&row.id, "account.id")?;
        let totp = row.totp_sealed.filter(|_| row.totp_confirmed_at.is_some()).map(|sealed| TotpRecord {
            secret: self.sealing.open(&account, &sealed),
            last_step: read_step(row.totp_last_step),
        });
        Ok(LoginRecord {
            account,
            password: read_password(row.password_hash)?,
            totp,
            is_admin: row.is_admin,
            has_passkeys: n_passkeys > 0,
        })
    }

    /// One account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn account(&self, id: &AccountId) -> Result<AccountProfile, StoreError> {
        let row = account::Entity::find_by_id(id.as_str())
            .find_also_related(plan::Entity)
            .one(&self.reader)
            .await
            .attempt("look up an account")?;
        let (account, plan) = row.ok_or_else(|| StoreError::not_found(Subject::Account, id.as_str()))?;
        read_profile(account, plan)
    }

    /// Sets an account's password. Every other sign-in ends, and links by which the password could be set are
    /// worthless from here on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn set_password(
        &self,
        account: &AccountId,
        password: &PasswordHash,
        keep: Option<&SessionId>,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "set a password";
        let write = self.write(ATTEMPTED).await?;
        account_row(&*write, account, ATTEMPTED).await?;
        let columns =
            account::ActiveModel { password_hash: Set(Some(password.as_stored().to_owned())), ..Default::default() };
        update_account(&write, account, columns, ATTEMPTED).await?;
        forget_tokens(&write, account, &[Purpose::ResetPassword], ATTEMPTED).await?;
        end_sessions(&write, account, keep, now, ATTEMPTED).await?;
        write.commit().await
    }

    /// Notes that the owner reads mail at the account's address.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn set_email_verified(&self, account: &AccountId, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "note that an address is verified";
        let write = self.write(ATTEMPTED).await?;
        account_row(&*write, account, ATTEMPTED).await?;
        let columns = account::ActiveModel { email_verified_at: Set(Some(to_milliseconds(now))), ..Default::default() };
        update_account(&write, account, columns, ATTEMPTED).await?;
        forget_tokens(&write, account, &[Purpose::VerifyEmail], ATTEMPTED).await?;
        write.record(ChangeSubject::Account(account.clone()), now).await?;
        write.commit().await
    }

    /// Gives an account another address. Links that were sent to the old one are worthless from here on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account, [`StoreError::Conflict`] if the address has another.
    pub async fn change_email(
        &self,
        account: &AccountId,
        email: &EmailAddress,
        is_verified: bool,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "change an account's address";
        let write = self.write(ATTEMPTED).await?;
        account_row(&*write, account, ATTEMPTED).await?;
        let columns = account::ActiveModel {
            email: Set(email.as_str().to_owned()),
            email_verified_at: Set(is_verified.then(|| to_milliseconds(now))),
            ..Default::default()
        };
        let updated = account::Entity::update_many()
            .set(columns)
            .filter(account::Column::Id.eq(account.as_str()))
            .exec(&*write)
            .await;
        if let Err(error) = &updated
            && let Some(SqlErr::UniqueConstraintViolation(_)) = error.sql_err()
        {
            return Err(StoreError::conflict(Subject::Account, email.as_str()));
        }
        updated.attempt(ATTEMPTED)?;
        let outdated = [Purpose::VerifyEmail, Purpose::ResetPassword, Purpose::ChangeEmail];
        forget_tokens(&write, account, &outdated, ATTEMPTED).await?;
        write.record(ChangeSubject::Account(account.clone()), now).await?;
        write.commit().await
    }

    /// Lets an account administer the service, or not any more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account, [`StoreError::Conflict`] if it is the last administrator.
    pub async fn set_admin(&self, email: &EmailAddress, is_admin: bool, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "change an account's rights";
        let write = self.write(ATTEMPTED).await?;
        let row = account::Entity::find()
            .filter(account::Column::Email.eq(email.as_str()))
            .one(&*write)
            .await
            .attempt(ATTEMPTED)?
            .ok_or_else(|| StoreError::not_found(Subject::Account, email.as_str()))?;
        if row.is_admin == is_admin {
            return Ok(());
        }
        if !is_admin {
            expect_another_administrator(&write, &row, ATTEMPTED).await?;
        }
        let account = stored(&row.id, "account.id")?;
        let columns = account::ActiveModel { is_admin: Set(is_admin), ..Default::default() };
        update_account(&write, &account, columns, ATTEMPTED).await?;
        write.record(ChangeSubject::Account(account), now).await?;
        write.commit().await
    }

    /// Whether anybody may administer the service.
    pub async fn has_any_admin(&self) -> Result<bool, StoreError> {
        let row = account::Entity::find()
            .filter(account::Column::IsAdmin.eq(true))
            .one(&self.reader)
            .await
            .attempt("look for an administrator")?;
        Ok(row.is_some())
    }

    /// As [`Store::delete_account`], for the owner, who cannot leave the service without an administrator.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account, [`StoreError::Conflict`] if it is the last administrator.
    pub async fn delete_account_by_id(&self, account: &AccountId, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "delete an account";
        let write = self.write(ATTEMPTED).await?;
        let row = account_row(&*write, account, ATTEMPTED).await?;
        if row.is_admin {
            expect_another_administrator(&write, &row, ATTEMPTED).await?;
        }
        delete_account_row(&write, account, now, ATTEMPTED).await?;
        write.commit().await
    }
}

/// The row of an account, or that there is none.
pub(crate) async fn account_row<C: ConnectionTrait>(
    database: &C,
    account: &AccountId,
    attempted: &'static str,
) -> Result<account::Model, StoreError> {
    account::Entity::find_by_id(account.as_str())
        .one(database)
        .await
        .attempt(attempted)?
        .ok_or_else(|| StoreError::not_found(Subject::Account, account.as_str()))
}

pub(crate) async fn update_account(
    write: &Write,
    account: &AccountId,
    columns: account::ActiveModel,
    attempted: &'static str,
) -> Result<(), StoreError> {
    account::Entity::update_many()
        .set(columns)
        .filter(account::Column::Id.eq(account.as_str()))
        .exec(&**write)
        .await
        .attempt(attempted)
        .map(drop)
}

async fn forget_tokens(
    write: &Write,
    account: &AccountId,
    purposes: &[Purpose],
    attempted: &'static str,
) -> Result<(), StoreError> {
    one_time_token::Entity::delete_many()
        .filter(
            Condition::all()
                .add(one_time_token::Column::AccountId.eq(account.as_str()))
                .add(one_time_token::Column::Purpose.is_in(purposes.iter().copied())),
        )
        .exec(&**write)
        .await
        .attempt(attempted)
        .map(drop)
}

async fn expect_another_administrator(
    write: &Write,
    row: &account::Model,
    attempted: &'static str,
) -> Result<(), StoreError> {
    let n_others = account::Entity::find()
        .filter(account::Column::IsAdmin.eq(true))
        .filter(account::Column::Id.ne(&row.id))
        .count(&**write)
        .await
        .attempt(attempted)?;
    if n_others == 0 { Err(StoreError::conflict(Subject::LastAdministrator, &row.email)) } else { Ok(()) }
}

pub(crate) fn read_profile(account: account::Model, plan: Option<plan::Model>) -> Result<AccountProfile, StoreError> {
    let plan = plan.ok_or(StoreError::Damaged { column: "account.plan" })?;
    Ok(AccountProfile {
        id: stored(&account.id, "account.id")?,
        email: read_email(&account.email)?,
        is_admin: account.is_admin,
        email_verified: account.email_verified_at.is_some(),
        has_password: account.password_hash.is_some(),
        has_totp: account.totp_confirmed_at.is_some(),
        plan: read_plan(plan)?,
        created_at: from_milliseconds(account.created_at),
    })
}

fn read_password(stored: Option<String>) -> Result<Option<PasswordHash>, StoreError> {
    stored
        .map(|text| PasswordHash::from_stored(text).ok_or(StoreError::Damaged { column: "account.password_hash" }))
        .transpose()
}

/// Steps are the time divided by thirty seconds.
pub(crate) fn read_step(stored: Option<i64>) -> Option<u64> {
    stored.and_then(|step| u64::try_from(step).ok())
}
