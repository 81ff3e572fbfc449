//! Tokens that work once, mostly sent by mail, and the two ways to get an account with one.

use std::time::{Duration, SystemTime};

use model::{AccountId, Plan, Secret, TokenId};
use sea_orm::sea_query::Condition;
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::accounts::{MAX_ROWS, NewAccount, insert_account, read_email};
use crate::entity::one_time_token::{self, Purpose};
use crate::error::{Attempt, StoreError, Subject, stored};
use crate::password::PasswordHash;
use crate::records::ChangeSubject;
use crate::store::{Store, Write};
use crate::text::EmailAddress;
use crate::time::{from_milliseconds, to_milliseconds};

/// Whoever asks for a link again because the first is slow may still use the first. More of them than this come from
/// somebody who plays with the button; the oldest make room.
const MAX_OPEN: usize = 5;
/// Data is a handful of short values.
const MAX_DATA_LENGTH: usize = 4096;

/// What a token is good for. A token of one purpose is unknown to every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenPurpose {
    /// To make the first administrator. There is one of these at most.
    Setup,
    /// To make an account where not everybody can.
    Invitation,
    /// To show that mail to the account's address arrives.
    VerifyEmail,
    /// To set a password without knowing the old one.
    ResetPassword,
    /// To show that mail to the account's next address arrives.
    ChangeEmail,
    /// To get a role on somebody's printer. Issued by [`Store::invite_member`] only.
    PrinterInvitation,
}

impl TokenPurpose {
    fn stored(self) -> Purpose {
        match self {
            Self::Setup => Purpose::Setup,
            Self::Invitation => Purpose::Invitation,
            Self::VerifyEmail => Purpose::VerifyEmail,
            Self::ResetPassword => Purpose::ResetPassword,
            Self::ChangeEmail => Purpose::ChangeEmail,
            Self::PrinterInvitation => Purpose::PrinterInvitation,
        }
    }
}

/// A token that has not been used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its id, which does not open it.
    pub id: TokenId,
    /// The account that it is about, or that issued it.
    pub account: Option<AccountId>,
    /// The address that it was sent to.
    pub email: Option<EmailAddress>,
    /// What the issuer wants to see again.
    pub data: Option<String>,
    /// When it was issued.
    pub created_at: SystemTime,
    /// Until when it works.
    pub expires_at: SystemTime,
}

impl Store {
    /// Issues a token. It cannot be read again. Of the same purpose, account and address the newest five work; of
    /// [`TokenPurpose::Setup`] only the newest.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for data that is too long, or an invitation to a printer.
    pub async fn issue_token(
        &self,
        purpose: TokenPurpose,
        account: Option<&AccountId>,
        email: Option<&EmailAddress>,
        data: Option<String>,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Secret, StoreError> {
        const ATTEMPTED: &str = "issue a token";
        if purpose == TokenPurpose::PrinterInvitation {
            return Err(StoreError::Invalid("an invitation to a printer names the printer"));
        }
        if data.as_ref().is_some_and(|data| data.len() > MAX_DATA_LENGTH) {
            return Err(StoreError::Invalid("a token carries at most 4096 bytes"));
        }
        let write = self.write(ATTEMPTED).await?;
        let n_kept = match purpose {
            TokenPurpose::Setup => 0,
            // Bounded by those who may invite.
            TokenPurpose::Invitation => MAX_ROWS,
            _ => MAX_OPEN - 1,
        };
        let like = Condition::all()
            .add(one_time_token::Column::Purpose.eq(purpose.stored()))
            .add_option((purpose != TokenPurpose::Invitation).then(|| same_account(account)));
        forget_all_but(&write, like, n_kept, ATTEMPTED).await?;
        let token = Secret::generate();
        one_time_token::Entity::insert(one_time_token::ActiveModel {
            id: Set(TokenId::generate().into()),
            token_hash: Set(token.hash().as_bytes().to_vec()),
            purpose: Set(purpose.stored()),
            account_id: Set(account.map(|account| account.as_str().to_owned())),
            email: Set(email.map(|email| email.as_str().to_owned())),
            data: Set(data),
            printer_id: Set(None),
            role: Set(None),
            created_at: Set(to_milliseconds(now)),
            expires_at: Set(to_milliseconds(now + lifetime)),
        })
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        write.commit().await?;
        Ok(token)
    }

    /// What a token says, if it would work. It still does afterwards.
    pub async fn peek_token(
        &self,
        purpose: TokenPurpose,
        token: &Secret,
        now: SystemTime,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let row = find(&self.reader, purpose, token, now, "look up a token").await?;
        row.map(read_token).transpose()
    }

    /// Uses a token up and gives what it said; none if it does not work.
    pub async fn use_token(
        &self,
        purpose: TokenPurpose,
        token: &Secret,
        now: SystemTime,
    ) -> Result<Option<TokenRecord>, StoreError> {
        const ATTEMPTED: &str = "use a token";
        // Strangers who try tokens do not get as far as the write lock.
        if find(&self.reader, purpose, token, now, ATTEMPTED).await?.is_none() {
            return Ok(None);
        }
        let write = self.write(ATTEMPTED).await?;
        let used = take_token(&write, purpose, token, now, ATTEMPTED).await?;
        write.commit().await?;
        used.map(read_token).transpose()
    }

    /// Whether a token to make the first administrator waits to be used.
    pub async fn setup_token_outstanding(&self, now: SystemTime) -> Result<bool, StoreError> {
        let row = one_time_token::Entity::find()
            .filter(one_time_token::Column::Purpose.eq(Purpose::Setup))
            .filter(one_time_token::Column::ExpiresAt.gt(to_milliseconds(now)))
            .one(&self.reader)
            .await
            .attempt("look for a set-up token")?;
        Ok(row.is_some())
    }

    /// Open invitations to make an account, oldest first.
    pub async fn invitations(&self, now: SystemTime) -> Result<Vec<TokenRecord>, StoreError> {
        let rows = one_time_token::Entity::find()
            .filter(one_time_token::Column::Purpose.eq(Purpose::Invitation))
            .filter(one_time_token::Column::ExpiresAt.gt(to_milliseconds(now)))
            .order_by_asc(one_time_token::Column::CreatedAt)
            .order_by_asc(one_time_token::Column::Id)
            .limit(MAX_ROWS as u64)
            .all(&self.reader)
            .await
            .attempt("list the invitations")?;
        rows.into_iter().map(read_token).collect()
    }

    /// Takes an invitation to make an account back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such invitation.
    pub async fn withdraw_invitation(&self, id: &TokenId) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "withdraw an invitation";
        let write = self.write(ATTEMPTED).await?;
        let deleted = one_time_token::Entity::delete_many()
            .filter(one_time_token::Column::Id.eq(id.as_str()))
            .filter(one_time_token::Column::Purpose.eq(Purpose::Invitation))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if deleted.rows_affected == 0 {
            return Err(StoreError::not_found(Subject::Invitation, id.as_str()));
        }
        write.commit().await
    }

    /// Makes an administrator's account with the set-up token; none if the token does not work.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the address has an account; the token still works then.
    pub async fn create_administrator_with_setup_token(
        &self,
        token: &Secret,
        email: &EmailAddress,
        password: &PasswordHash,
        now: SystemTime,
    ) -> Result<Option<AccountId>, StoreError> {
        self.sign_up(TokenPurpose::Setup, token, email, password, now).await
    }

    /// Makes an account with an invitation; none if the invitation does not work, or was sent to another address.
    ///
    /// # Errors
    /// As [`Store::create_administrator_with_setup_token`].
    pub async fn sign_up_with_invitation(
        &self,
        token: &Secret,
        email: &EmailAddress,
        password: &PasswordHash,
        now: SystemTime,
    ) -> Result<Option<AccountId>, StoreError> {
        self.sign_up(TokenPurpose::Invitation, token, email, password, now).await
    }

    async fn sign_up(
        &self,
        purpose: TokenPurpose,
        token: &Secret,
        email: &EmailAddress,
        password: &PasswordHash,
        now: SystemTime,
    ) -> Result<Option<AccountId>, StoreError> {
        const ATTEMPTED: &str = "sign up";
        if find(&self.reader, purpose, token, now, ATTEMPTED).await?.is_none() {
            return Ok(None);
        }
        let write = self.write(ATTEMPTED).await?;
        let Some(used) = take_token(&write, purpose, token, now, ATTEMPTED).await? else { return Ok(None) };
        if used.email.as_ref().is_some_and(|invited| invited != email.as_str()) {
            return Ok(None);
        }
        let account = NewAccount {
            email,
            plan: Plan::DEFAULT_NAME,
            password: Some(password),
            is_admin: purpose == TokenPurpose::Setup,
            // The token came with mail to this address.
            is_verified: used.email.is_some(),
        };
        let id = insert_account(&write, account, now, ATTEMPTED).await?;
        write.record(ChangeSubject::Account(id.clone()), now).await?;
        write.commit().await?;
        Ok(Some(id))
    }
}

fn same_account(account: Option<&AccountId>) -> Condition {
    match account {
        Some(account) => Condition::all().add(one_time_token::Column::AccountId.eq(account.as_str())),
        None => Condition::all().add(one_time_token::Column::AccountId.is_null()),
    }
}

/// Makes room: of the tokens like these, the newest stay.
async fn forget_all_but(
    write: &Write,
    like: Condition,
    n_kept: usize,
    attempted: &'static str,
) -> Result<(), StoreError> {
    let ids: Vec<String> = one_time_token::Entity::find()
        .select_only()
        .column(one_time_token::Column::Id)
        .filter(like)
        .order_by_desc(one_time_token::Column::CreatedAt)
        .order_by_asc(one_time_token::Column::Id)
        .into_tuple()
        .all(&**write)
        .await
        .attempt(attempted)?;
    for id in ids.iter().skip(n_kept) {
        one_time_token::Entity::delete_by_id(id).exec(&**write).await.attempt(attempted)?;
    }
    Ok(())
}

/// A token that works.
pub(crate) async fn find<C: ConnectionTrait>(
    database: &C,
    purpose: TokenPurpose,
    token: &Secret,
    now: SystemTime,
    attempted: &'static str,
) -> Result<Option<one_time_token::Model>, StoreError> {
    one_time_token::Entity::find()
        .filter(one_time_token::Column::TokenHash.eq(token.hash().as_bytes().as_slice()))
        .filter(one_time_token::Column::Purpose.eq(purpose.stored()))
        .filter(one_time_token::Column::ExpiresAt.gt(to_milliseconds(now)))
        .one(database)
        .await
        .attempt(attempted)
}

/// Uses a token up within a write. Of two that do it at once, one gets it.
pub(crate) async fn take_token(
    write: &Write,
    purpose: TokenPurpose,
    token: &Secret,
    now: SystemTime,
    attempted: &'static str,
) -> Result<Option<one_time_token::Model>, StoreError> {
    let Some(row) = find(&**write, purpose, token, now, attempted).await? else { return Ok(None) };
    let deleted = one_time_token::Entity::delete_by_id(&row.id).exec(&**write).await.attempt(attempted)?;
    Ok((deleted.rows_affected == 1).then_some(row))
}

fn read_token(row: one_time_token::Model) -> Result<TokenRecord, StoreError> {
    Ok(TokenRecord {
        id: stored(&row.id, "one_time_token.id")?,
        account: row.account_id.map(|id| stored(&id, "one_time_token.account_id")).transpose()?,
        email: row.email.map(|email| read_email(&email)).transpose()?,
        data: row.data,
        created_at: from_milliseconds(row.created_at),
        expires_at: from_milliseconds(row.expires_at),
    })
}
