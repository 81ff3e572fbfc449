//! Accounts at identity providers, by which owners sign in here.

use std::time::SystemTime;

use model::{AccountId, Plan};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, SqlErr};

use crate::accounts::{NewAccount, insert_account};
use crate::entity::identity;
use crate::error::{Attempt, StoreError, Subject, stored};
use crate::profile::account_row;
use crate::records::ChangeSubject;
use crate::store::{Store, Write};
use crate::text::EmailAddress;
use crate::time::{from_milliseconds, to_milliseconds};

/// A URL.
const MAX_ISSUER_LENGTH: usize = 2048;
/// OpenID Connect Core §2 bounds subjects.
const MAX_SUBJECT_LENGTH: usize = 255;
/// More than there are providers to choose from.
const MAX_IDENTITIES: u64 = 20;

/// An account at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// The account there.
    pub subject: String,
    /// When it was linked.
    pub created_at: SystemTime,
}

impl Store {
    /// Whose account this one at a provider is.
    pub async fn account_by_identity(&self, issuer: &str, subject: &str) -> Result<Option<AccountId>, StoreError> {
        let row = identity::Entity::find_by_id((issuer.to_owned(), subject.to_owned()))
            .one(&self.reader)
            .await
            .attempt("look up an identity")?;
        row.map(|row| stored(&row.account_id, "identity.account_id")).transpose()
    }

    /// Lets an account sign in by one at a provider. Linking twice is linking once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account, [`StoreError::Conflict`] if the identity is another
    /// account's, [`StoreError::Full`] if the account has too many.
    pub async fn link_identity(
        &self,
        account: &AccountId,
        issuer: &str,
        subject: &str,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "link an identity";
        let write = self.write(ATTEMPTED).await?;
        account_row(&*write, account, ATTEMPTED).await?;
        let key = (issuer.to_owned(), subject.to_owned());
        let earlier = identity::Entity::find_by_id(key).one(&*write).await.attempt(ATTEMPTED)?;
        if earlier.is_some_and(|row| row.account_id == account.as_str()) {
            return Ok(());
        }
        let n_identities = identity::Entity::find()
            .filter(identity::Column::AccountId.eq(account.as_str()))
            .count(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if n_identities >= MAX_IDENTITIES {
            return Err(StoreError::Full("an account has at most 20 identities"));
        }
        insert(&write, account, issuer, subject, now, ATTEMPTED).await?;
        write.commit().await
    }

    /// Makes an account that signs in by one at a provider.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the address has an account, or the identity is another account's.
    pub async fn add_account_with_identity(
        &self,
        email: &EmailAddress,
        is_verified: bool,
        issuer: &str,
        subject: &str,
        now: SystemTime,
    ) -> Result<AccountId, StoreError> {
        const ATTEMPTED: &str = "add an account";
        let write = self.write(ATTEMPTED).await?;
        let new = NewAccount { email, plan: Plan::DEFAULT_NAME, password: None, is_admin: false, is_verified };
        let account = insert_account(&write, new, now, ATTEMPTED).await?;
        insert(&write, &account, issuer, subject, now, ATTEMPTED).await?;
        write.record(ChangeSubject::Account(account.clone()), now).await?;
        write.commit().await?;
        Ok(account)
    }

    /// An account's identities, oldest first.
    pub async fn identities(&self, account: &AccountId) -> Result<Vec<Identity>, StoreError> {
        let rows = identity::Entity::find()
            .filter(identity::Column::AccountId.eq(account.as_str()))
            .order_by_asc(identity::Column::CreatedAt)
            .order_by_asc(identity::Column::Issuer)
            .order_by_asc(identity::Column::Subject)
            .all(&self.reader)
            .await
            .attempt("list the identities")?;
        Ok(rows
            .into_iter()
            .map(|row| Identity {
                issuer: row.issuer,
                subject: row.subject,
                created_at: from_milliseconds(row.created_at),
            })
            .collect())
    }

    /// Takes an identity from an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account has no such identity.
    pub async fn unlink_identity(&self, account: &AccountId, issuer: &str, subject: &str) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "take an identity away";
        let write = self.write(ATTEMPTED).await?;
        let deleted = identity::Entity::delete_many()
            .filter(identity::Column::Issuer.eq(issuer))
            .filter(identity::Column::Subject.eq(subject))
            .filter(identity::Column::AccountId.eq(account.as_str()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if deleted.rows_affected == 0 {
            return Err(StoreError::not_found(Subject::Identity, issuer));
        }
        write.commit().await
    }
}

async fn insert(
    write: &Write,
    account: &AccountId,
    issuer: &str,
    subject: &str,
    now: SystemTime,
    attempted: &'static str,
) -> Result<(), StoreError> {
    let fits = |text: &str, max_length| !text.is_empty() && text.len() <= max_length;
    if !fits(issuer, MAX_ISSUER_LENGTH) || !fits(subject, MAX_SUBJECT_LENGTH) {
        return Err(StoreError::Invalid("the provider's name for the account makes no sense"));
    }
    let inserted = identity::Entity::insert(identity::ActiveModel {
        issuer: Set(issuer.to_owned()),
        subject: Set(subject.to_owned()),
        account_id: Set(account.as_str().to_owned()),
        created_at: Set(to_milliseconds(now)),
    })
    .exec_without_returning(&**write)
    .await;
    if let Err(error) = &inserted
        && let Some(SqlErr::UniqueConstraintViolation(_)) = error.sql_err()
    {
        return Err(StoreError::conflict(Subject::Identity, issuer));
    }
    inserted.attempt(attempted).map(drop)
}
