//! Printers as those see them who may do something with them.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use model::{AccountId, Label, PrinterId};
use sea_orm::sea_query::Condition;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

use crate::accounts::MAX_ROWS;
use crate::entity::{account, one_time_token, printer, printer_member};
use crate::error::{Attempt, StoreError, Subject, stored};
use crate::printers::{read_summary, remove_printer_row, rename_printer_row};
use crate::records::{ChangeSubject, PrinterSummary};
use crate::store::Store;
use crate::text::Name;

/// What somebody may do with a printer. Each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// See its state and its cameras.
    Viewer,
    /// Use it: pause and resume, open its own pages, hand out live links.
    Operator,
    /// Everything: rename and remove it, connect apps, share it, invite others.
    Owner,
}

impl Role {
    /// Its name, as people see it and as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }

    pub(crate) fn of_member(role: printer_member::Role) -> Self {
        match role {
            printer_member::Role::Operator => Self::Operator,
            printer_member::Role::Viewer => Self::Viewer,
        }
    }

    pub(crate) fn of_invitation(role: one_time_token::Role) -> Self {
        match role {
            one_time_token::Role::Owner => Self::Owner,
            one_time_token::Role::Operator => Self::Operator,
            one_time_token::Role::Viewer => Self::Viewer,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        [Self::Viewer, Self::Operator, Self::Owner]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(StoreError::Invalid("a role is `owner`, `operator` or `viewer`"))
    }
}

/// A printer with what one account may do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPrinter {
    /// The printer.
    pub summary: PrinterSummary,
    /// What the account may do.
    pub role: Role,
    /// The random part of the host name of its own view.
    pub owner_label: Label,
}

impl Store {
    /// Printers that an account owns or was given a role on, oldest first, at most 10,000.
    pub async fn printers_of(&self, account: &AccountId) -> Result<Vec<OwnPrinter>, StoreError> {
        const ATTEMPTED: &str = "list an account's printers";
        let memberships = printer_member::Entity::find()
            .filter(printer_member::Column::AccountId.eq(account.as_str()))
            .limit(MAX_ROWS as u64)
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let role_by_printer: HashMap<String, Role> =
            memberships.into_iter().map(|row| (row.printer_id, Role::of_member(row.role))).collect();
        let rows = printer::Entity::find()
            .find_also_related(account::Entity)
            .filter(seen_by(account, Role::Viewer))
            .order_by_asc(printer::Column::CreatedAt)
            .order_by_asc(printer::Column::Id)
            .limit(MAX_ROWS as u64)
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let role_of = |printer: &printer::Model| {
            if printer.account_id == account.as_str() {
                return Some(Role::Owner);
            }
            role_by_printer.get(&printer.id).copied()
        };
        // Whose role came between the two queries is seen next time.
        rows.into_iter()
            .filter_map(|(printer, owner)| role_of(&printer).map(|role| read_own(printer, owner.as_ref(), role)))
            .collect()
    }

    /// One printer that an account owns or was given a role on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such printer, or the account has no role on it.
    pub async fn printer_of(&self, account: &AccountId, printer: &PrinterId) -> Result<OwnPrinter, StoreError> {
        const ATTEMPTED: &str = "look up an account's printer";
        let (row, role) = find_own(&self.reader, account, printer, ATTEMPTED).await?;
        let owner = account::Entity::find_by_id(&row.account_id).one(&self.reader).await.attempt(ATTEMPTED)?;
        read_own(row, owner.as_ref(), role)
    }

    /// The printer whose own view has this host name. It proves nothing about who asks: that is [`Store::printer_of`].
    pub async fn printer_by_owner_label(&self, label: &Label) -> Result<Option<PrinterId>, StoreError> {
        printer::Entity::find()
            .filter(printer::Column::OwnerLabel.eq(label.as_str()))
            .one(&self.reader)
            .await
            .attempt("look up a printer")?
            .map(|row| stored(&row.id, "printer.id"))
            .transpose()
    }

    /// Gives a printer another name, for its owner.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account owns no such printer.
    pub async fn rename_own_printer(
        &self,
        account: &AccountId,
        printer: &PrinterId,
        name: &Name,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "rename a printer";
        let write = self.write(ATTEMPTED).await?;
        expect_role(&*write, account, printer, Role::Owner, ATTEMPTED).await?;
        rename_printer_row(&write, printer, name, ATTEMPTED).await?;
        write.record(ChangeSubject::Printer(printer.clone()), now).await?;
        write.commit().await
    }

    /// Removes a printer with its connections, for its owner.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account owns no such printer.
    pub async fn unlink_printer(
        &self,
        account: &AccountId,
        printer: &PrinterId,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "remove a printer";
        let write = self.write(ATTEMPTED).await?;
        expect_role(&*write, account, printer, Role::Owner, ATTEMPTED).await?;
        remove_printer_row(&write, printer, now, ATTEMPTED).await?;
        write.record(ChangeSubject::Printer(printer.clone()), now).await?;
        write.commit().await
    }
}

/// Printers on which the account has at least this role, in a query that has their table.
pub(crate) fn seen_by(account: &AccountId, least: Role) -> Condition {
    let enough = [printer_member::Role::Viewer, printer_member::Role::Operator]
        .into_iter()
        .filter(|role| Role::of_member(*role) >= least);
    let memberships = printer_member::Entity::find()
        .select_only()
        .column(printer_member::Column::PrinterId)
        .filter(printer_member::Column::AccountId.eq(account.as_str()))
        .filter(printer_member::Column::Role.is_in(enough))
        .into_query();
    Condition::any()
        .add(printer::Column::AccountId.eq(account.as_str()))
        .add(printer::Column::Id.in_subquery(memberships))
}

/// A printer with the account's role on it. One without a role is as unknown as one that does not exist.
pub(crate) async fn find_own<C: ConnectionTrait>(
    database: &C,
    account: &AccountId,
    printer: &PrinterId,
    attempted: &'static str,
) -> Result<(printer::Model, Role), StoreError> {
    let unknown = || StoreError::not_found(Subject::Printer, printer.as_str());
    let row = printer::Entity::find_by_id(printer.as_str()).one(database).await.attempt(attempted)?;
    let row = row.ok_or_else(unknown)?;
    if row.account_id == account.as_str() {
        return Ok((row, Role::Owner));
    }
    let key = (printer.as_str().to_owned(), account.as_str().to_owned());
    let member = printer_member::Entity::find_by_id(key).one(database).await.attempt(attempted)?;
    let member = member.ok_or_else(unknown)?;
    Ok((row, Role::of_member(member.role)))
}

/// A printer on which the account has at least this role. What it may not do is answered as if it was not there.
pub(crate) async fn expect_role<C: ConnectionTrait>(
    database: &C,
    account: &AccountId,
    printer: &PrinterId,
    least: Role,
    attempted: &'static str,
) -> Result<printer::Model, StoreError> {
    let (row, role) = find_own(database, account, printer, attempted).await?;
    if role >= least { Ok(row) } else { Err(StoreError::not_found(Subject::Printer, printer.as_str())) }
}

fn read_own(printer: printer::Model, owner: Option<&account::Model>, role: Role) -> Result<OwnPrinter, StoreError> {
    let owner = owner.ok_or(StoreError::Damaged { column: "printer.account_id" })?;
    Ok(OwnPrinter {
        owner_label: stored(&printer.owner_label, "printer.owner_label")?,
        role,
        summary: read_summary(printer, owner)?,
    })
}
