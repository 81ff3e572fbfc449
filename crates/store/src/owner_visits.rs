//! How a signed-in browser is known on a printer's own host name, where the site's cookie does not go.

use std::time::SystemTime;

use model::{AccountId, Label, Plan, PrinterId, Secret, SessionId};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::entity::{account, owner_visit, plan, session};
use crate::error::{Attempt, StoreError, Subject, stored};
use crate::plans::read_plan;
use crate::roles::{Role, expect_role, find_own};
use crate::sessions::in_force;
use crate::store::Store;
use crate::time::to_milliseconds;

/// A browser has one cookie for each printer. A few more, because two tabs may enter at once.
const MAX_VISITS: usize = 5;

/// A visit that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerVisitRecord {
    /// The sign-in that it hangs on.
    pub session: SessionId,
    /// Who is signed in.
    pub account: AccountId,
    /// The printer.
    pub printer: PrinterId,
    /// The random part of the host name that it is for.
    pub label: Label,
    /// What the account may do: operator or owner.
    pub role: Role,
    /// What the plan of the printer's owner allows.
    pub plan: Plan,
}

impl Store {
    /// Lets the browser of a sign-in see a printer's own pages. The secret cannot be read again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the sign-in is not in force, or its account may not use such a printer.
    pub async fn create_owner_visit(
        &self,
        session: &SessionId,
        printer: &PrinterId,
        now: SystemTime,
    ) -> Result<Secret, StoreError> {
        const ATTEMPTED: &str = "open a printer's own pages";
        let write = self.write(ATTEMPTED).await?;
        let row = session::Entity::find_by_id(session.as_str())
            .filter(in_force(now))
            .one(&*write)
            .await
            .attempt(ATTEMPTED)?
            .ok_or_else(|| StoreError::not_found(Subject::Session, session.as_str()))?;
        let account: AccountId = stored(&row.account_id, "session.account_id")?;
        expect_role(&*write, &account, printer, Role::Operator, ATTEMPTED).await?;
        let earlier = owner_visit::Entity::find()
            .filter(owner_visit::Column::SessionId.eq(session.as_str()))
            .filter(owner_visit::Column::PrinterId.eq(printer.as_str()))
            .order_by_desc(owner_visit::Column::CreatedAt)
            .all(&*write)
            .await
            .attempt(ATTEMPTED)?;
        for row in earlier.into_iter().skip(MAX_VISITS - 1) {
            owner_visit::Entity::delete_by_id(row.token_hash).exec(&*write).await.attempt(ATTEMPTED)?;
        }
        let token = Secret::generate();
        owner_visit::Entity::insert(owner_visit::ActiveModel {
            token_hash: Set(token.hash().as_bytes().to_vec()),
            session_id: Set(session.as_str().to_owned()),
            printer_id: Set(printer.as_str().to_owned()),
            created_at: Set(to_milliseconds(now)),
        })
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        write.commit().await?;
        Ok(token)
    }

    /// The visit that a secret opens: none once the sign-in has ended, or the account may not use the printer any more.
    pub async fn owner_visit(&self, token: &Secret, now: SystemTime) -> Result<Option<OwnerVisitRecord>, StoreError> {
        const ATTEMPTED: &str = "look up a visit to a printer's own pages";
        let found = owner_visit::Entity::find_by_id(token.hash().as_bytes().to_vec())
            .find_also_related(session::Entity)
            .filter(in_force(now))
            .one(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let Some((visit, Some(session))) = found else { return Ok(None) };
        let account: AccountId = stored(&session.account_id, "session.account_id")?;
        let printer: PrinterId = stored(&visit.printer_id, "owner_visit.printer_id")?;
        let (row, role) = match find_own(&self.reader, &account, &printer, ATTEMPTED).await {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if role < Role::Operator {
            return Ok(None);
        }
        let owner = account::Entity::find_by_id(&row.account_id)
            .find_also_related(plan::Entity)
            .one(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        // The owner was deleted in between, and the printer with it.
        let Some((_, plan)) = owner else { return Ok(None) };
        Ok(Some(OwnerVisitRecord {
            session: stored(&session.id, "session.id")?,
            account,
            printer,
            label: stored(&row.owner_label, "printer.owner_label")?,
            role,
            plan: read_plan(plan.ok_or(StoreError::Damaged { column: "account.plan" })?)?,
        }))
    }
}
