//! Which accounts may use which features that are in beta.

use std::time::SystemTime;

use model::AccountId;
use sea_orm::{ActiveValue::Set, EntityTrait, PaginatorTrait, QueryOrder, QuerySelect, TryInsertResult};

use crate::accounts::{MAX_ROWS, find_account, read_email};
use crate::entity::{account, beta_grant};
use crate::error::{Attempt, StoreError, Subject};
use crate::records::{BetaGrant, ChangeSubject, Listing};
use crate::store::Store;
use crate::text::{EmailAddress, Feature};
use crate::time::{from_milliseconds, to_milliseconds};

impl Store {
    /// Lets an account use a feature. Granting twice is granting once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn grant_beta(&self, email: &EmailAddress, feature: &Feature, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "grant a beta feature";
        let write = self.write(ATTEMPTED).await?;
        let account = find_account(&*write, email, ATTEMPTED).await?;
        let inserted = beta_grant::Entity::insert(beta_grant::ActiveModel {
            account_id: Set(account.as_str().to_owned()),
            feature: Set(feature.as_str().to_owned()),
            granted_at: Set(to_milliseconds(now)),
        })
        .on_conflict_do_nothing_on([beta_grant::Column::AccountId, beta_grant::Column::Feature])
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        if !matches!(inserted, TryInsertResult::Inserted(1..)) {
            return Ok(());
        }
        write.record(ChangeSubject::Account(account), now).await?;
        write.commit().await
    }

    /// Takes a feature from an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account, or it was not granted the feature.
    pub async fn revoke_beta(
        &self,
        email: &EmailAddress,
        feature: &Feature,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "take a beta feature back";
        let write = self.write(ATTEMPTED).await?;
        let account = find_account(&*write, email, ATTEMPTED).await?;
        let deleted = beta_grant::Entity::delete_by_id((account.as_str().to_owned(), feature.as_str().to_owned()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if deleted.rows_affected == 0 {
            return Err(StoreError::not_found(Subject::BetaGrant, feature.as_str()));
        }
        write.record(ChangeSubject::Account(account), now).await?;
        write.commit().await
    }

    /// Whether an account may use a feature that is in beta.
    pub async fn has_beta(&self, account: &AccountId, feature: &Feature) -> Result<bool, StoreError> {
        let key = (account.as_str().to_owned(), feature.as_str().to_owned());
        let n_grants =
            beta_grant::Entity::find_by_id(key).count(&self.reader).await.attempt("look up a beta feature")?;
        Ok(n_grants > 0)
    }

    /// All grants, oldest first.
    pub async fn beta_grants(&self) -> Result<Listing<BetaGrant>, StoreError> {
        let rows = beta_grant::Entity::find()
            .find_also_related(account::Entity)
            .order_by_asc(beta_grant::Column::GrantedAt)
            .order_by_asc(beta_grant::Column::AccountId)
            .order_by_asc(beta_grant::Column::Feature)
            .limit(MAX_ROWS as u64 + 1)
            .all(&self.reader)
            .await
            .attempt("list the beta features")?;
        Listing::read(rows, |(grant, account)| {
            let account = account.ok_or(StoreError::Damaged { column: "beta_grant.account_id" })?;
            Ok(BetaGrant {
                email: read_email(&account.email)?,
                feature: grant.feature.parse().map_err(|_| StoreError::Damaged { column: "beta_grant.feature" })?,
                granted_at: from_milliseconds(grant.granted_at),
            })
        })
    }
}
