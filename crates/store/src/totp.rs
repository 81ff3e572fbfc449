//! The second factor: codes that an app computes from a shared secret, and codes on paper for when the app is lost.

use std::time::SystemTime;

use model::{AccountId, Secret, SecretHash};
use sea_orm::sea_query::Condition;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect};

use crate::entity::{account, recovery_code};
use crate::error::{Attempt, StoreError, stored};
use crate::profile::{account_row, update_account};
use crate::sealing::KEY_FILE;
use crate::store::{Store, Write};
use crate::time::to_milliseconds;

/// RFC 4226 §4 recommends 20 bytes; HMAC-SHA-512 takes up to 64.
const MAX_SECRET_LENGTH: usize = 64;
/// A page of them.
const MAX_RECOVERY_CODES: usize = 20;

impl Store {
    /// Keeps a secret that the owner is about to put into an app. Sign-ins ask for codes only once one was shown.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account, [`StoreError::Invalid`] if it has a second factor already.
    pub async fn start_totp(&self, account: &AccountId, secret: &[u8]) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "begin to set a second factor up";
        if secret.is_empty() || secret.len() > MAX_SECRET_LENGTH {
            return Err(StoreError::Invalid("the secret of a second factor has 1 to 64 bytes"));
        }
        let write = self.write(ATTEMPTED).await?;
        if account_row(&*write, account, ATTEMPTED).await?.totp_confirmed_at.is_some() {
            return Err(StoreError::Invalid("the account has a second factor already"));
        }
        let columns = account::ActiveModel {
            totp_sealed: Set(Some(self.sealing.seal(account, secret))),
            totp_last_step: Set(None),
            ..Default::default()
        };
        update_account(&write, account, columns, ATTEMPTED).await?;
        write.commit().await
    }

    /// The secret of a second factor that was begun and not confirmed. None, too, if the key that it was sealed with is
    /// not here any more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn pending_totp(&self, account: &AccountId) -> Result<Option<Vec<u8>>, StoreError> {
        let row = account_row(&self.reader, account, "look up a second factor").await?;
        let sealed = row.totp_sealed.filter(|_| row.totp_confirmed_at.is_none());
        Ok(sealed.and_then(|sealed| self.sealing.open(account, &sealed)))
    }

    /// Puts a second factor in force, because the owner has shown the code of `step`, and keeps the recovery codes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account, [`StoreError::Invalid`] if none was begun.
    pub async fn confirm_totp(
        &self,
        account: &AccountId,
        step: u64,
        recovery: &[Secret],
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "put a second factor in force";
        let step = stored_step(step)?;
        let write = self.write(ATTEMPTED).await?;
        let row = account_row(&*write, account, ATTEMPTED).await?;
        if row.totp_sealed.is_none() || row.totp_confirmed_at.is_some() {
            return Err(StoreError::Invalid("no second factor was begun"));
        }
        let columns = account::ActiveModel {
            totp_confirmed_at: Set(Some(to_milliseconds(now))),
            totp_last_step: Set(Some(step)),
            ..Default::default()
        };
        update_account(&write, account, columns, ATTEMPTED).await?;
        replace_codes(&write, account, recovery, ATTEMPTED).await?;
        write.commit().await
    }

    /// Uses the code of a time step up. False if this one or a later one was used, or the account has no second factor.
    pub async fn accept_totp_step(&self, account: &AccountId, step: u64) -> Result<bool, StoreError> {
        const ATTEMPTED: &str = "note the use of a code";
        let step = stored_step(step)?;
        let write = self.write(ATTEMPTED).await?;
        let is_later =
            Condition::any().add(account::Column::TotpLastStep.is_null()).add(account::Column::TotpLastStep.lt(step));
        let updated = account::Entity::update_many()
            .set(account::ActiveModel { totp_last_step: Set(Some(step)), ..Default::default() })
            .filter(account::Column::Id.eq(account.as_str()))
            .filter(account::Column::TotpConfirmedAt.is_not_null())
            .filter(is_later)
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.commit().await?;
        Ok(updated.rows_affected == 1)
    }

    /// Uses a recovery code up. False if the account has no such code.
    pub async fn use_recovery_code(
        &self,
        account: &AccountId,
        code: &Secret,
        _now: SystemTime,
    ) -> Result<bool, StoreError> {
        const ATTEMPTED: &str = "use a recovery code";
        let write = self.write(ATTEMPTED).await?;
        let deleted = recovery_code::Entity::delete_by_id((account.as_str().to_owned(), code_hash(account, code)))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.commit().await?;
        Ok(deleted.rows_affected == 1)
    }

    /// How many recovery codes an account has left.
    pub async fn recovery_codes_left(&self, account: &AccountId) -> Result<u64, StoreError> {
        recovery_code::Entity::find()
            .filter(recovery_code::Column::AccountId.eq(account.as_str()))
            .count(&self.reader)
            .await
            .attempt("count the recovery codes")
    }

    /// Gives an account new recovery codes instead of those it had.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account, [`StoreError::Invalid`] if it has no second factor.
    pub async fn replace_recovery_codes(&self, account: &AccountId, recovery: &[Secret]) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "replace the recovery codes";
        let write = self.write(ATTEMPTED).await?;
        if account_row(&*write, account, ATTEMPTED).await?.totp_confirmed_at.is_none() {
            return Err(StoreError::Invalid("the account has no second factor"));
        }
        replace_codes(&write, account, recovery, ATTEMPTED).await?;
        write.commit().await
    }

    /// Takes an account's second factor away, with its recovery codes. One without stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn disable_totp(&self, account: &AccountId) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "take a second factor away";
        let write = self.write(ATTEMPTED).await?;
        account_row(&*write, account, ATTEMPTED).await?;
        let columns = account::ActiveModel {
            totp_sealed: Set(None),
            totp_confirmed_at: Set(None),
            totp_last_step: Set(None),
            ..Default::default()
        };
        update_account(&write, account, columns, ATTEMPTED).await?;
        replace_codes(&write, account, &[], ATTEMPTED).await?;
        write.commit().await
    }
}

impl Store {
    /// Seals what earlier versions kept in clear, and tells of what cannot be opened.
    pub(crate) async fn seal_second_factors(&self) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "seal second factors";
        let is_clear = account::Column::TotpSecret.is_not_null();
        let n_clear = account::Entity::find().filter(is_clear.clone()).count(&self.reader).await.attempt(ATTEMPTED)?;
        if n_clear > 0 {
            let write = self.write(ATTEMPTED).await?;
            for row in account::Entity::find().filter(is_clear).all(&*write).await.attempt(ATTEMPTED)? {
                let account: AccountId = stored(&row.id, "account.id")?;
                let Some(secret) = row.totp_secret else { continue };
                let columns = account::ActiveModel {
                    totp_secret: Set(None),
                    totp_sealed: Set(Some(self.sealing.seal(&account, &secret))),
                    ..Default::default()
                };
                update_account(&write, &account, columns, ATTEMPTED).await?;
            }
            write.commit().await?;
            self.forget_what_was_overwritten().await?;
            tracing::info!(n_clear, "sealed the secrets of second factors");
        }
        let sealed: Vec<Option<Vec<u8>>> = account::Entity::find()
            .select_only()
            .column(account::Column::TotpSealed)
            .filter(account::Column::TotpSealed.is_not_null())
            .into_tuple()
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let n_lost = sealed.iter().flatten().filter(|sealed| !self.sealing.has_sealed(sealed)).count();
        if n_lost > 0 {
            tracing::error!(
                n_lost,
                "second factors were sealed with another key than `{KEY_FILE}`: their owners need a recovery code until \
                 the right file is restored"
            );
        }
        Ok(())
    }
}

async fn replace_codes(
    write: &Write,
    account: &AccountId,
    recovery: &[Secret],
    attempted: &'static str,
) -> Result<(), StoreError> {
    if recovery.len() > MAX_RECOVERY_CODES {
        return Err(StoreError::Invalid("an account has at most 20 recovery codes"));
    }
    recovery_code::Entity::delete_many()
        .filter(recovery_code::Column::AccountId.eq(account.as_str()))
        .exec(&**write)
        .await
        .attempt(attempted)?;
    if recovery.is_empty() {
        return Ok(());
    }
    let rows = recovery.iter().map(|code| recovery_code::ActiveModel {
        account_id: Set(account.as_str().to_owned()),
        code_hash: Set(code_hash(account, code)),
    });
    recovery_code::Entity::insert_many(rows).exec_without_returning(&**write).await.attempt(attempted).map(drop)
}

/// With the account in it, because these codes are shorter than other secrets: equal ones must not look equal, and a
/// stolen table must not be tried as a whole.
fn code_hash(account: &AccountId, code: &Secret) -> Vec<u8> {
    SecretHash::of(&format!("{account}:{}", code.expose())).as_bytes().to_vec()
}

fn stored_step(step: u64) -> Result<i64, StoreError> {
    i64::try_from(step).map_err(|_| StoreError::Invalid("a time step has at most 63 bits"))
}
