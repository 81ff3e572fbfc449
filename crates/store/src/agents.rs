//! What the service asks and notes about agents.

use std::time::SystemTime;

use model::{PrinterId, Secret, SecretHash};
use sea_orm::sea_query::Condition;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};

use crate::entity::{enrolment, printer};
use crate::error::{Attempt, StoreError};
use crate::records::{AgentAuth, AgentSeen, ChangeSubject, EnrolOutcome};
use crate::store::Store;
use crate::text::cut_foreign_text;
use crate::time::to_milliseconds;

impl Store {
    /// Makes `key` the key of the printer that `token` was issued for. A token serves one key only.
    ///
    /// The agent that used it may use it again, in case the answer never reached it, until the token expires or the
    /// printer is enrolled anew.
    pub async fn enrol_agent(&self, token: &Secret, key: &Secret, now: SystemTime) -> Result<EnrolOutcome, StoreError> {
        const ATTEMPTED: &str = "enrol an agent";
        let token_hash = token.hash();
        let by_token = enrolment::Column::TokenHash.eq(token_hash.as_bytes().as_slice());
        let is_current = enrolment::Column::ExpiresAt.gt(to_milliseconds(now));
        let find = enrolment::Entity::find().filter(by_token).filter(is_current).find_also_related(printer::Entity);
        // Strangers who try tokens do not get as far as the write lock.
        if find.clone().one(&self.reader).await.attempt(ATTEMPTED)?.is_none() {
            return Ok(EnrolOutcome::InvalidToken);
        }

        let write = self.write(ATTEMPTED).await?;
        let Some((enrolment, Some(printer))) = find.one(&*write).await.attempt(ATTEMPTED)? else {
            return Ok(EnrolOutcome::InvalidToken);
        };
        let id: PrinterId = printer.id.parse().map_err(|_| StoreError::Damaged { column: "printer.id" })?;
        let enrolled = EnrolOutcome::Enrolled { printer: id.clone(), name: printer.name };
        if let Some(used_by) = enrolment.used_by_key_hash {
            let is_same_agent = SecretHash::from_bytes(&used_by).is_some_and(|used_by| used_by == key.hash());
            let is_its_key = printer.key_hash.as_ref() == Some(&used_by);
            return Ok(if is_same_agent && is_its_key { enrolled } else { EnrolOutcome::InvalidToken });
        }
        let key_hash = key.hash().as_bytes().to_vec();
        let claimed = enrolment::Entity::update_many()
            .set(enrolment::ActiveModel { used_by_key_hash: Set(Some(key_hash.clone())), ..Default::default() })
            .filter(enrolment::Column::PrinterId.eq(id.as_str()))
            .filter(enrolment::Column::UsedByKeyHash.is_null())
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if claimed.rows_affected != 1 {
            return Ok(EnrolOutcome::InvalidToken);
        }
        printer::Entity::update_many()
            .set(printer::ActiveModel { key_hash: Set(Some(key_hash)), ..Default::default() })
            .filter(printer::Column::Id.eq(id.as_str()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.record(ChangeSubject::Printer(id), now).await?;
        write.commit().await?;
        Ok(enrolled)
    }

    /// Whether `key` is the printer's.
    pub async fn authenticate_agent(&self, printer: &PrinterId, key: &Secret) -> Result<AgentAuth, StoreError> {
        let row = printer::Entity::find_by_id(printer.as_str()).one(&self.reader).await.attempt("look up a printer")?;
        let Some(row) = row else { return Ok(AgentAuth::Removed) };
        let Some(stored) = row.key_hash else { return Ok(AgentAuth::WrongKey) };
        let stored = SecretHash::from_bytes(&stored).ok_or(StoreError::Damaged { column: "printer.key_hash" })?;
        if !stored.matches(key.expose()) {
            return Ok(AgentAuth::WrongKey);
        }
        let account = row.account_id.parse().map_err(|_| StoreError::Damaged { column: "printer.account_id" })?;
        Ok(AgentAuth::Accepted { name: row.name, account })
    }

    /// The hash of a printer's key; `None` if there is no such printer, or it has no key yet.
    pub async fn agent_key(&self, printer: &PrinterId) -> Result<Option<SecretHash>, StoreError> {
        let row = printer::Entity::find_by_id(printer.as_str()).one(&self.reader).await.attempt("look up a printer")?;
        let Some(stored) = row.and_then(|row| row.key_hash) else { return Ok(None) };
        Ok(Some(SecretHash::from_bytes(&stored).ok_or(StoreError::Damaged { column: "printer.key_hash" })?))
    }

    /// Notes an agent's connection and what it said of itself. Writes no change.
    pub async fn record_agent_connected(
        &self,
        printer: &PrinterId,
        at: SystemTime,
        seen: &AgentSeen,
    ) -> Result<(), StoreError> {
        self.note_printer(
            printer,
            printer::ActiveModel {
                last_connected_at: Set(Some(to_milliseconds(at))),
                agent_version: Set(cut_foreign_text(&seen.agent_version)),
                software: Set(cut_foreign_text(&seen.software)),
                software_version: Set(cut_foreign_text(&seen.software_version)),
                lan_ip: Set(cut_foreign_text(&seen.lan_ip)),
                ..Default::default()
            },
        )
        .await
    }

    /// Notes that an agent's last link is gone. Writes no change.
    pub async fn record_agent_disconnected(&self, printer: &PrinterId, at: SystemTime) -> Result<(), StoreError> {
        self.note_printer(
            printer,
            printer::ActiveModel { last_disconnected_at: Set(Some(to_milliseconds(at))), ..Default::default() },
        )
        .await
    }

    /// A printer that was removed meanwhile is no error: the note just has no place any more.
    async fn note_printer(&self, printer: &PrinterId, columns: printer::ActiveModel) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "note an agent's state";
        let write = self.write(ATTEMPTED).await?;
        printer::Entity::update_many()
            .set(columns)
            .filter(Condition::all().add(printer::Column::Id.eq(printer.as_str())))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.commit().await
    }
}
