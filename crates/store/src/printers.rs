//! Printers and the tokens that enrol their agents.

use std::time::{Duration, SystemTime};

use model::{AccountId, Label, PrinterId, Secret};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::accounts::{MAX_ROWS, find_account, read_email};
use crate::connections::{bury, connections_of_printer};
use crate::entity::{account, dead_connection, enrolment, printer};
use crate::error::{Attempt, StoreError, Subject};
use crate::records::{AgentSeen, ChangeSubject, Listing, PrinterSummary};
use crate::store::{Store, Write};
use crate::text::{EmailAddress, Name};
use crate::time::{from_milliseconds, to_milliseconds};

/// A token is copied from one terminal to another, at latest after a night's sleep.
const ENROLMENT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A printer that waits for its agent.
#[derive(Clone, Debug)]
pub struct NewPrinter {
    /// Its id.
    pub id: PrinterId,
    /// The owner.
    pub account: AccountId,
    /// The owner's name for it.
    pub name: String,
    /// With it the agent enrols, once. It cannot be read again.
    pub token: Secret,
    /// Until when.
    pub token_expires_at: SystemTime,
}

impl Store {
    /// Adds a printer to an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn add_printer(
        &self,
        owner: &EmailAddress,
        name: &Name,
        now: SystemTime,
    ) -> Result<NewPrinter, StoreError> {
        const ATTEMPTED: &str = "add a printer";
        let write = self.write(ATTEMPTED).await?;
        let account = find_account(&*write, owner, ATTEMPTED).await?;
        let id = PrinterId::generate();
        printer::Entity::insert(printer::ActiveModel {
            id: Set(id.as_str().to_owned()),
            account_id: Set(account.as_str().to_owned()),
            name: Set(name.as_str().to_owned()),
            key_hash: Set(None),
            created_at: Set(to_milliseconds(now)),
            last_connected_at: Set(None),
            last_disconnected_at: Set(None),
            agent_version: Set(String::new()),
            software: Set(String::new()),
            software_version: Set(String::new()),
            lan_ip: Set(String::new()),
            owner_label: Set(Label::generate().as_str().to_owned()),
        })
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        let (token, token_expires_at) = issue_token(&write, &id, now, ATTEMPTED).await?;
        write.record(ChangeSubject::Printer(id.clone()), now).await?;
        write.commit().await?;
        Ok(NewPrinter { id, account, name: name.as_str().to_owned(), token, token_expires_at })
    }

    /// Issues a fresh token for a printer whose agent is to be set up anew. Tokens issued before become worthless; the
    /// agent that is enrolled stays so until the token is used.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such printer.
    pub async fn issue_enrolment(&self, printer: &PrinterId, now: SystemTime) -> Result<NewPrinter, StoreError> {
        const ATTEMPTED: &str = "issue an enrolment token";
        let write = self.write(ATTEMPTED).await?;
        let row = find_printer(&write, printer, ATTEMPTED).await?;
        let account = row.account_id.parse().map_err(|_| StoreError::Damaged { column: "printer.account_id" })?;
        let (token, token_expires_at) = issue_token(&write, printer, now, ATTEMPTED).await?;
        write.record(ChangeSubject::Printer(printer.clone()), now).await?;
        write.commit().await?;
        Ok(NewPrinter { id: printer.clone(), account, name: row.name, token, token_expires_at })
    }

    /// Printers of one owner or of all, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such account.
    pub async fn printers(&self, owner: Option<&EmailAddress>) -> Result<Listing<PrinterSummary>, StoreError> {
        const ATTEMPTED: &str = "list the printers";
        let mut query = printer::Entity::find().find_also_related(account::Entity);
        if let Some(owner) = owner {
            let account = find_account(&self.reader, owner, ATTEMPTED).await?;
            query = query.filter(printer::Column::AccountId.eq(account.as_str()));
        }
        let rows = query
            .order_by_asc(printer::Column::CreatedAt)
            .order_by_asc(printer::Column::Id)
            .limit(MAX_ROWS as u64 + 1)
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        Listing::read(rows, |(printer, account)| {
            let account = account.ok_or(StoreError::Damaged { column: "printer.account_id" })?;
            read_summary(printer, &account)
        })
    }

    /// One printer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such printer.
    pub async fn printer(&self, id: &PrinterId) -> Result<PrinterSummary, StoreError> {
        let row = printer::Entity::find_by_id(id.as_str())
            .find_also_related(account::Entity)
            .one(&self.reader)
            .await
            .attempt("look up a printer")?;
        let (printer, account) = row.ok_or_else(|| StoreError::not_found(Subject::Printer, id.as_str()))?;
        let account = account.ok_or(StoreError::Damaged { column: "printer.account_id" })?;
        read_summary(printer, &account)
    }

    /// Gives a printer another name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such printer.
    pub async fn rename_printer(&self, id: &PrinterId, name: &Name, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "rename a printer";
        let write = self.write(ATTEMPTED).await?;
        find_printer(&write, id, ATTEMPTED).await?;
        rename_printer_row(&write, id, name, ATTEMPTED).await?;
        write.record(ChangeSubject::Printer(id.clone()), now).await?;
        write.commit().await
    }

    /// Removes a printer with its connections.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such printer.
    pub async fn remove_printer(&self, id: &PrinterId, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "remove a printer";
        let write = self.write(ATTEMPTED).await?;
        find_printer(&write, id, ATTEMPTED).await?;
        remove_printer_row(&write, id, now, ATTEMPTED).await?;
        write.record(ChangeSubject::Printer(id.clone()), now).await?;
        write.commit().await
    }
}

pub(crate) async fn rename_printer_row(
    write: &Write,
    id: &PrinterId,
    name: &Name,
    attempted: &'static str,
) -> Result<(), StoreError> {
    printer::Entity::update_many()
        .set(printer::ActiveModel { name: Set(name.as_str().to_owned()), ..Default::default() })
        .filter(printer::Column::Id.eq(id.as_str()))
        .exec(&**write)
        .await
        .attempt(attempted)
        .map(drop)
}

/// Removes a printer with its connections. The caller records the change.
pub(crate) async fn remove_printer_row(
    write: &Write,
    id: &PrinterId,
    now: SystemTime,
    attempted: &'static str,
) -> Result<(), StoreError> {
    let dying = connections_of_printer(&**write, id, attempted).await?;
    bury(&**write, dying, dead_connection::Reason::PrinterRemoved, now, attempted).await?;
    printer::Entity::delete_by_id(id.as_str()).exec(&**write).await.attempt(attempted).map(drop)
}

pub(crate) async fn find_printer(
    write: &Write,
    id: &PrinterId,
    attempted: &'static str,
) -> Result<printer::Model, StoreError> {
    printer::Entity::find_by_id(id.as_str())
        .one(&**write)
        .await
        .attempt(attempted)?
        .ok_or_else(|| StoreError::not_found(Subject::Printer, id.as_str()))
}

async fn issue_token(
    write: &Write,
    printer: &PrinterId,
    now: SystemTime,
    attempted: &'static str,
) -> Result<(Secret, SystemTime), StoreError> {
    let token = Secret::generate();
    let expires_at = now + ENROLMENT_LIFETIME;
    enrolment::Entity::insert(enrolment::ActiveModel {
        printer_id: Set(printer.as_str().to_owned()),
        token_hash: Set(token.hash().as_bytes().to_vec()),
        expires_at: Set(to_milliseconds(expires_at)),
        used_by_key_hash: Set(None),
    })
    .on_conflict(
        OnConflict::column(enrolment::Column::PrinterId)
            .update_columns([
                enrolment::Column::TokenHash,
                enrolment::Column::ExpiresAt,
                enrolment::Column::UsedByKeyHash,
            ])
            .to_owned(),
    )
    .exec_without_returning(&**write)
    .await
    .attempt(attempted)?;
    Ok((token, expires_at))
}

pub(crate) fn read_summary(printer: printer::Model, account: &account::Model) -> Result<PrinterSummary, StoreError> {
    Ok(PrinterSummary {
        id: printer.id.parse().map_err(|_| StoreError::Damaged { column: "printer.id" })?,
        name: printer.name,
        account: account.id.parse().map_err(|_| StoreError::Damaged { column: "account.id" })?,
        owner: read_email(&account.email)?,
        is_enrolled: printer.key_hash.is_some(),
        created_at: from_milliseconds(printer.created_at),
        last_connected_at: printer.last_connected_at.map(from_milliseconds),
        last_disconnected_at: printer.last_disconnected_at.map(from_milliseconds),
        seen: AgentSeen {
            agent_version: printer.agent_version,
            software: printer.software,
            software_version: printer.software_version,
            lan_ip: printer.lan_ip,
        },
    })
}
