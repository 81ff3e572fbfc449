//! Sign-ins: one for each browser, opened by a secret that only the browser has.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use model::{AccountId, Secret, SessionId};
use sea_orm::sea_query::Condition;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::entity::{account, plan, session};
use crate::error::{Attempt, StoreError, Subject, stored};
use crate::profile::{AccountProfile, account_row, read_profile};
use crate::records::ChangeSubject;
use crate::store::{Store, Write};
use crate::text::cut_foreign_text_to;
use crate::time::{from_milliseconds, to_milliseconds};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// NIST SP 800-63B §4.1.3 asks to prove oneself anew after thirty days.
const MAX_LIFETIME: Duration = DAY.saturating_mul(30);
/// Whoever has not come for two weeks has probably lost the browser or forgotten about it.
const MAX_IDLE: Duration = DAY.saturating_mul(14);
/// People ask for "when was it last used" in days, and each note is a write.
const SEEN_RESOLUTION: Duration = Duration::from_secs(60);
/// More than anybody has browsers. The ones that were idle longest make room.
const MAX_SESSIONS: usize = 100;
/// Browsers send 60 to 200.
const MAX_USER_AGENT_LENGTH: usize = 200;

/// A sign-in to be.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// What the browser calls itself; cut to size.
    pub user_agent: String,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// How long it may last, thirty days at most.
    pub lifetime: Duration,
}

/// A sign-in that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Who is signed in.
    pub account: AccountProfile,
    /// When it began.
    pub created_at: SystemTime,
    /// When it was last used, to the minute.
    pub last_seen_at: SystemTime,
    /// When the account last proved itself in it.
    pub authenticated_at: SystemTime,
}

/// A sign-in in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSummary {
    /// Its id.
    pub id: SessionId,
    /// What the browser called itself.
    pub user_agent: String,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// When it began.
    pub created_at: SystemTime,
    /// When it was last used, to the minute.
    pub last_seen_at: SystemTime,
}

impl Store {
    /// Signs an account in. The secret cannot be read again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn create_session(
        &self,
        account: &AccountId,
        new: NewSession,
        now: SystemTime,
    ) -> Result<(SessionId, Secret), StoreError> {
        const ATTEMPTED: &str = "sign an account in";
        let write = self.write(ATTEMPTED).await?;
        account_row(&*write, account, ATTEMPTED).await?;
        let (id, token) = (SessionId::generate(), Secret::generate());
        session::Entity::insert(session::ActiveModel {
            id: Set(id.as_str().to_owned()),
            token_hash: Set(token.hash().as_bytes().to_vec()),
            account_id: Set(account.as_str().to_owned()),
            user_agent: Set(cut_foreign_text_to(&new.user_agent, MAX_USER_AGENT_LENGTH)),
            address: Set(new.address.map(|address| address.to_string())),
            created_at: Set(to_milliseconds(now)),
            last_seen_at: Set(to_milliseconds(now)),
            authenticated_at: Set(to_milliseconds(now)),
            expires_at: Set(to_milliseconds(now + new.lifetime.min(MAX_LIFETIME))),
        })
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        let all = session::Entity::find()
            .filter(session::Column::AccountId.eq(account.as_str()))
            .filter(session::Column::Id.ne(id.as_str()))
            .order_by_desc(session::Column::LastSeenAt)
            .all(&*write)
            .await
            .attempt(ATTEMPTED)?;
        end(&write, all.into_iter().skip(MAX_SESSIONS - 1).collect(), now, ATTEMPTED).await?;
        write.commit().await?;
        Ok((id, token))
    }

    /// The sign-in that a secret opens, if it is in force. Notes the use, at most once a minute.
    pub async fn session_by_token(&self, token: &Secret, now: SystemTime) -> Result<Option<SessionRecord>, StoreError> {
        const ATTEMPTED: &str = "look up a session";
        let found = session::Entity::find()
            .find_also_related(account::Entity)
            .find_also(account::Entity, plan::Entity)
            .filter(session::Column::TokenHash.eq(token.hash().as_bytes().as_slice()))
            .filter(in_force(now))
            .one(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let Some((row, account, plan)) = found else { return Ok(None) };
        let account = account.ok_or(StoreError::Damaged { column: "session.account_id" })?;
        let mut record = SessionRecord {
            id: stored(&row.id, "session.id")?,
            account: read_profile(account, plan)?,
            created_at: from_milliseconds(row.created_at),
            last_seen_at: from_milliseconds(row.last_seen_at),
            authenticated_at: from_milliseconds(row.authenticated_at),
        };
        if record.last_seen_at + SEEN_RESOLUTION > now {
            return Ok(Some(record));
        }
        let write = self.write(ATTEMPTED).await?;
        let touched = session::Entity::update_many()
            .set(session::ActiveModel { last_seen_at: Set(to_milliseconds(now)), ..Default::default() })
            .filter(session::Column::Id.eq(record.id.as_str()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.commit().await?;
        record.last_seen_at = now;
        // It may have ended between the two.
        Ok((touched.rows_affected == 1).then_some(record))
    }

    /// An account's sign-ins that are in force, the last used first.
    pub async fn sessions(&self, account: &AccountId, now: SystemTime) -> Result<Vec<SessionSummary>, StoreError> {
        let rows = session::Entity::find()
            .filter(session::Column::AccountId.eq(account.as_str()))
            .filter(in_force(now))
            .order_by_desc(session::Column::LastSeenAt)
            .order_by_asc(session::Column::Id)
            .all(&self.reader)
            .await
            .attempt("list the sessions")?;
        rows.into_iter()
            .map(|row| {
                Ok(SessionSummary {
                    id: stored(&row.id, "session.id")?,
                    user_agent: row.user_agent,
                    address: read_address(row.address.as_deref(), "session.address")?,
                    created_at: from_milliseconds(row.created_at),
                    last_seen_at: from_milliseconds(row.last_seen_at),
                })
            })
            .collect()
    }

    /// Whether this sign-in of this account is in force. Notes nothing.
    pub async fn has_session(
        &self,
        account: &AccountId,
        session: &SessionId,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        let row = session::Entity::find_by_id(session.as_str())
            .filter(session::Column::AccountId.eq(account.as_str()))
            .filter(in_force(now))
            .one(&self.reader)
            .await
            .attempt("look up a session")?;
        Ok(row.is_some())
    }

    /// Signs one browser out.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account has no such session.
    pub async fn end_session(
        &self,
        account: &AccountId,
        session: &SessionId,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "sign out";
        let write = self.write(ATTEMPTED).await?;
        let row = session::Entity::find_by_id(session.as_str())
            .filter(session::Column::AccountId.eq(account.as_str()))
            .one(&*write)
            .await
            .attempt(ATTEMPTED)?
            .ok_or_else(|| StoreError::not_found(Subject::Session, session.as_str()))?;
        end(&write, vec![row], now, ATTEMPTED).await?;
        write.commit().await
    }

    /// Signs every browser out, or every other one.
    pub async fn end_sessions_but(
        &self,
        account: &AccountId,
        keep: Option<&SessionId>,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "sign out everywhere";
        let write = self.write(ATTEMPTED).await?;
        end_sessions(&write, account, keep, now, ATTEMPTED).await?;
        write.commit().await
    }

    /// Notes that the account has just proved itself in this session. One that has ended is no error: it opens nothing.
    pub async fn reauthenticated(&self, session: &SessionId, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "note a proof of identity";
        let write = self.write(ATTEMPTED).await?;
        session::Entity::update_many()
            .set(session::ActiveModel { authenticated_at: Set(to_milliseconds(now)), ..Default::default() })
            .filter(session::Column::Id.eq(session.as_str()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.commit().await
    }
}

/// Neither too old nor idle for too long.
pub(crate) fn in_force(now: SystemTime) -> Condition {
    let idle_since = now.checked_sub(MAX_IDLE).unwrap_or(SystemTime::UNIX_EPOCH);
    Condition::all()
        .add(session::Column::ExpiresAt.gt(to_milliseconds(now)))
        .add(session::Column::LastSeenAt.gt(to_milliseconds(idle_since)))
}

pub(crate) async fn end_sessions(
    write: &Write,
    account: &AccountId,
    keep: Option<&SessionId>,
    now: SystemTime,
    attempted: &'static str,
) -> Result<(), StoreError> {
    let rows = session::Entity::find()
        .filter(session::Column::AccountId.eq(account.as_str()))
        .order_by_asc(session::Column::Id)
        .all(&**write)
        .await
        .attempt(attempted)?;
    let ending = rows.into_iter().filter(|row| keep.is_none_or(|keep| keep.as_str() != row.id)).collect();
    end(write, ending, now, attempted).await
}

async fn end(
    write: &Write,
    ending: Vec<session::Model>,
    now: SystemTime,
    attempted: &'static str,
) -> Result<(), StoreError> {
    for row in ending {
        session::Entity::delete_by_id(&row.id).exec(&**write).await.attempt(attempted)?;
        write.record(ChangeSubject::Session(stored(&row.id, "session.id")?), now).await?;
    }
    Ok(())
}

pub(crate) fn read_address(text: Option<&str>, column: &'static str) -> Result<Option<IpAddr>, StoreError> {
    text.map(|text| stored(text, column)).transpose()
}
