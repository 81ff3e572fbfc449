//! Passkeys. What they are made of is for the library that checks them; here it is text.

use std::time::SystemTime;

use model::AccountId;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, SqlErr};

use crate::entity::passkey;
use crate::error::{Attempt, StoreError, Subject, stored};
use crate::profile::account_row;
use crate::store::Store;
use crate::text::Name;
use crate::time::{from_milliseconds, to_milliseconds};

/// One for each device, and a few keys in a drawer.
const MAX_PASSKEYS: u64 = 50;
/// WebAuthn Level 3 §4 bounds credential ids.
const MAX_CREDENTIAL_ID_LENGTH: usize = 1023;
/// A public key with its attestation has a few kilobytes.
const MAX_DATA_LENGTH: usize = 64 * 1024;

/// A passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey {
    /// The id of its credential, unique.
    pub credential_id: Vec<u8>,
    /// The owner's name for it.
    pub name: String,
    /// What the library wants to see again.
    pub data: String,
    /// When it was added.
    pub created_at: SystemTime,
    /// When it last signed in.
    pub last_used_at: Option<SystemTime>,
}

impl Store {
    /// Adds a passkey to an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account, [`StoreError::Conflict`] if the credential is somebody's
    /// already, [`StoreError::Full`] if the account has too many, [`StoreError::Invalid`] for sizes that make no sense.
    pub async fn add_passkey(
        &self,
        account: &AccountId,
        credential_id: &[u8],
        name: &Name,
        data: String,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "add a passkey";
        if credential_id.is_empty() || credential_id.len() > MAX_CREDENTIAL_ID_LENGTH {
            return Err(StoreError::Invalid("the id of a credential has 1 to 1023 bytes"));
        }
        check_data(&data)?;
        let write = self.write(ATTEMPTED).await?;
        account_row(&*write, account, ATTEMPTED).await?;
        let n_passkeys = passkey::Entity::find()
            .filter(passkey::Column::AccountId.eq(account.as_str()))
            .count(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if n_passkeys >= MAX_PASSKEYS {
            return Err(StoreError::Full("an account has at most 50 passkeys"));
        }
        let inserted = passkey::Entity::insert(passkey::ActiveModel {
            credential_id: Set(credential_id.to_vec()),
            account_id: Set(account.as_str().to_owned()),
            name: Set(name.as_str().to_owned()),
            data: Set(data),
            created_at: Set(to_milliseconds(now)),
            last_used_at: Set(None),
        })
        .exec_without_returning(&*write)
        .await;
        if let Err(error) = &inserted
            && let Some(SqlErr::UniqueConstraintViolation(_)) = error.sql_err()
        {
            return Err(StoreError::conflict(Subject::Passkey, hexadecimal(credential_id)));
        }
        inserted.attempt(ATTEMPTED)?;
        write.commit().await
    }

    /// An account's passkeys, oldest first.
    pub async fn passkeys(&self, account: &AccountId) -> Result<Vec<Passkey>, StoreError> {
        let rows = passkey::Entity::find()
            .filter(passkey::Column::AccountId.eq(account.as_str()))
            .order_by_asc(passkey::Column::CreatedAt)
            .order_by_asc(passkey::Column::CredentialId)
            .all(&self.reader)
            .await
            .attempt("list the passkeys")?;
        Ok(rows
            .into_iter()
            .map(|row| Passkey {
                credential_id: row.credential_id,
                name: row.name,
                data: row.data,
                created_at: from_milliseconds(row.created_at),
                last_used_at: row.last_used_at.map(from_milliseconds),
            })
            .collect())
    }

    /// Whose passkey this is, with its data.
    pub async fn passkey_by_credential(&self, credential_id: &[u8]) -> Result<Option<(AccountId, String)>, StoreError> {
        let row =
            passkey::Entity::find_by_id(credential_id.to_vec()).one(&self.reader).await.attempt("look up a passkey")?;
        row.map(|row| Ok((stored(&row.account_id, "passkey.account_id")?, row.data))).transpose()
    }

    /// Notes that a passkey signed in, with its data as it then is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such passkey, so that one that was just removed signs nobody in.
    pub async fn update_passkey(&self, credential_id: &[u8], data: String, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "note the use of a passkey";
        check_data(&data)?;
        let write = self.write(ATTEMPTED).await?;
        let updated = passkey::Entity::update_many()
            .set(passkey::ActiveModel {
                data: Set(data),
                last_used_at: Set(Some(to_milliseconds(now))),
                ..Default::default()
            })
            .filter(passkey::Column::CredentialId.eq(credential_id))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if updated.rows_affected == 0 {
            return Err(StoreError::not_found(Subject::Passkey, hexadecimal(credential_id)));
        }
        write.commit().await
    }

    /// Removes an account's passkey.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account has no such passkey.
    pub async fn remove_passkey(&self, account: &AccountId, credential_id: &[u8]) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "remove a passkey";
        let write = self.write(ATTEMPTED).await?;
        let deleted = passkey::Entity::delete_many()
            .filter(passkey::Column::CredentialId.eq(credential_id))
            .filter(passkey::Column::AccountId.eq(account.as_str()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if deleted.rows_affected == 0 {
            return Err(StoreError::not_found(Subject::Passkey, hexadecimal(credential_id)));
        }
        write.commit().await
    }
}

fn check_data(data: &str) -> Result<(), StoreError> {
    if data.len() > MAX_DATA_LENGTH {
        return Err(StoreError::Invalid("a passkey has at most 64 KiB"));
    }
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
