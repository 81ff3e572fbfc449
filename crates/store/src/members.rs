//! Who else may do something with a printer, and how it gets another owner.

use std::time::{Duration, SystemTime};

use model::{AccountId, Label, PrinterId, Secret, TokenId};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};

use crate::accounts::{MAX_ROWS, read_email};
use crate::connections::{bury, connections_of_printer};
use crate::entity::one_time_token::Purpose;
use crate::entity::{account, dead_connection, enrolment, live_link, one_time_token, printer, printer_member};
use crate::error::{Attempt, StoreError, Subject, stored};
use crate::profile::account_row;
use crate::records::ChangeSubject;
use crate::roles::{Role, expect_role, find_own};
use crate::store::{Store, Write};
use crate::text::EmailAddress;
use crate::time::{from_milliseconds, to_milliseconds};
use crate::tokens::{TokenPurpose, find, take_token};

/// Mail is read within a week.
const INVITATION_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A family, a club, a school's workshop. It bounds the mail that one owner can have sent, too.
const MAX_MEMBERS: u64 = 100;

/// Somebody with a role on a printer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The account.
    pub account: AccountId,
    /// Its address.
    pub email: EmailAddress,
    /// What it may do.
    pub role: Role,
    /// Since when.
    pub created_at: SystemTime,
}

/// An invitation to a printer that was not accepted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrinterInvitation {
    /// Its id, which does not open it.
    pub id: TokenId,
    /// The printer.
    pub printer: PrinterId,
    /// The owner's name for it.
    pub printer_name: String,
    /// Who was invited.
    pub email: EmailAddress,
    /// Who invites.
    pub invited_by: EmailAddress,
    /// As what; [`Role::Owner`] hands the printer over.
    pub role: Role,
    /// When it was issued.
    pub created_at: SystemTime,
    /// Until when it can be accepted.
    pub expires_at: SystemTime,
}

impl Store {
    /// Who has a role on a printer beside its owner, oldest first. For its owner.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account owns no such printer.
    pub async fn members(&self, account: &AccountId, printer: &PrinterId) -> Result<Vec<Member>, StoreError> {
        const ATTEMPTED: &str = "list a printer's members";
        expect_role(&self.reader, account, printer, Role::Owner, ATTEMPTED).await?;
        let rows = printer_member::Entity::find()
            .find_also_related(account::Entity)
            .filter(printer_member::Column::PrinterId.eq(printer.as_str()))
            .order_by_asc(printer_member::Column::CreatedAt)
            .order_by_asc(printer_member::Column::AccountId)
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        rows.into_iter()
            .map(|(member, account)| {
                let account = account.ok_or(StoreError::Damaged { column: "printer_member.account_id" })?;
                Ok(Member {
                    account: stored(&account.id, "account.id")?,
                    email: read_email(&account.email)?,
                    role: Role::of_member(member.role),
                    created_at: from_milliseconds(member.created_at),
                })
            })
            .collect()
    }

    /// Takes somebody's role on a printer. For its owner.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account owns no such printer, or it has no such member.
    pub async fn remove_member(
        &self,
        account: &AccountId,
        printer: &PrinterId,
        member: &AccountId,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "remove a printer's member";
        let write = self.write(ATTEMPTED).await?;
        expect_role(&*write, account, printer, Role::Owner, ATTEMPTED).await?;
        remove(&write, printer, member, now, ATTEMPTED).await?;
        write.commit().await
    }

    /// Gives an own role on somebody else's printer up.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account is no member of such a printer. Its owner is none.
    pub async fn leave_printer(
        &self,
        account: &AccountId,
        printer: &PrinterId,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "leave a printer";
        let write = self.write(ATTEMPTED).await?;
        find_own(&*write, account, printer, ATTEMPTED).await?;
        remove(&write, printer, account, now, ATTEMPTED).await?;
        write.commit().await
    }

    /// Invites somebody to a printer; as [`Role::Owner`], to take it over. An earlier invitation of the same address is
    /// worthless from here on. For its owner.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account owns no such printer, [`StoreError::Invalid`] for the owner's own
    /// address, [`StoreError::Full`] if there are too many members and invitations.
    pub async fn invite_member(
        &self,
        account: &AccountId,
        printer: &PrinterId,
        email: &EmailAddress,
        role: Role,
        now: SystemTime,
    ) -> Result<Secret, StoreError> {
        const ATTEMPTED: &str = "invite somebody to a printer";
        let write = self.write(ATTEMPTED).await?;
        expect_role(&*write, account, printer, Role::Owner, ATTEMPTED).await?;
        if account_row(&*write, account, ATTEMPTED).await?.email == email.as_str() {
            return Err(StoreError::Invalid("the owner of a printer needs no invitation to it"));
        }
        one_time_token::Entity::delete_many()
            .filter(one_time_token::Column::PrinterId.eq(printer.as_str()))
            .filter(one_time_token::Column::Email.eq(email.as_str()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        let n_members = printer_member::Entity::find()
            .filter(printer_member::Column::PrinterId.eq(printer.as_str()))
            .count(&*write)
            .await
            .attempt(ATTEMPTED)?;
        let n_invited = one_time_token::Entity::find()
            .filter(one_time_token::Column::PrinterId.eq(printer.as_str()))
            .filter(one_time_token::Column::ExpiresAt.gt(to_milliseconds(now)))
            .count(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if n_members + n_invited >= MAX_MEMBERS {
            return Err(StoreError::Full("a printer has at most 100 members and open invitations"));
        }
        let token = Secret::generate();
        one_time_token::Entity::insert(one_time_token::ActiveModel {
            id: Set(TokenId::generate().into()),
            token_hash: Set(token.hash().as_bytes().to_vec()),
            purpose: Set(Purpose::PrinterInvitation),
            account_id: Set(Some(account.as_str().to_owned())),
            email: Set(Some(email.as_str().to_owned())),
            data: Set(None),
            printer_id: Set(Some(printer.as_str().to_owned())),
            role: Set(Some(match role {
                Role::Owner => one_time_token::Role::Owner,
                Role::Operator => one_time_token::Role::Operator,
                Role::Viewer => one_time_token::Role::Viewer,
            })),
            created_at: Set(to_milliseconds(now)),
            expires_at: Set(to_milliseconds(now + INVITATION_LIFETIME)),
        })
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        write.commit().await?;
        Ok(token)
    }

    /// Open invitations to a printer, oldest first. For its owner.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account owns no such printer.
    pub async fn printer_invitations(
        &self,
        account: &AccountId,
        printer: &PrinterId,
        now: SystemTime,
    ) -> Result<Vec<PrinterInvitation>, StoreError> {
        const ATTEMPTED: &str = "list a printer's invitations";
        expect_role(&self.reader, account, printer, Role::Owner, ATTEMPTED).await?;
        let rows = one_time_token::Entity::find()
            .filter(one_time_token::Column::PrinterId.eq(printer.as_str()))
            .filter(one_time_token::Column::ExpiresAt.gt(to_milliseconds(now)))
            .order_by_asc(one_time_token::Column::CreatedAt)
            .order_by_asc(one_time_token::Column::Id)
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        self.read_invitations(rows).await
    }

    /// Open invitations to printers for an address, oldest first. That the account of the address really reads its
    /// mail is for the caller to know.
    pub async fn printer_invitations_for(
        &self,
        email: &EmailAddress,
        now: SystemTime,
    ) -> Result<Vec<PrinterInvitation>, StoreError> {
        let rows = one_time_token::Entity::find()
            .filter(one_time_token::Column::Purpose.eq(Purpose::PrinterInvitation))
            .filter(one_time_token::Column::Email.eq(email.as_str()))
            .filter(one_time_token::Column::ExpiresAt.gt(to_milliseconds(now)))
            .order_by_asc(one_time_token::Column::CreatedAt)
            .order_by_asc(one_time_token::Column::Id)
            .limit(MAX_ROWS as u64)
            .all(&self.reader)
            .await
            .attempt("list the invitations for an address")?;
        self.read_invitations(rows).await
    }

    /// What an invitation to a printer says, if it can be accepted.
    pub async fn printer_invitation(
        &self,
        token: &Secret,
        now: SystemTime,
    ) -> Result<Option<PrinterInvitation>, StoreError> {
        let row = find(&self.reader, TokenPurpose::PrinterInvitation, token, now, "look up an invitation").await?;
        Ok(self.read_invitations(row.into_iter().collect()).await?.pop())
    }

    /// Takes an invitation to a printer back. For its owner.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account owns no such printer, or there is no such invitation to it.
    pub async fn withdraw_printer_invitation(
        &self,
        account: &AccountId,
        printer: &PrinterId,
        id: &TokenId,
    ) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "withdraw an invitation";
        let write = self.write(ATTEMPTED).await?;
        expect_role(&*write, account, printer, Role::Owner, ATTEMPTED).await?;
        let deleted = one_time_token::Entity::delete_many()
            .filter(one_time_token::Column::Id.eq(id.as_str()))
            .filter(one_time_token::Column::PrinterId.eq(printer.as_str()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if deleted.rows_affected == 0 {
            return Err(StoreError::not_found(Subject::Invitation, id.as_str()));
        }
        write.commit().await
    }

    /// Accepts an invitation to a printer; none if it does not work, or is for another address than the account's.
    ///
    /// A printer that gets another owner starts clean: apps, shared links, live links, members and tokens for agents were
    /// the choice of the one before, and would let strangers in.
    pub async fn accept_printer_invitation(
        &self,
        account: &AccountId,
        token: &Secret,
        now: SystemTime,
    ) -> Result<Option<(PrinterId, Role)>, StoreError> {
        const ATTEMPTED: &str = "accept an invitation";
        const PURPOSE: TokenPurpose = TokenPurpose::PrinterInvitation;
        if find(&self.reader, PURPOSE, token, now, ATTEMPTED).await?.is_none() {
            return Ok(None);
        }
        let write = self.write(ATTEMPTED).await?;
        let Some(used) = take_token(&write, PURPOSE, token, now, ATTEMPTED).await? else { return Ok(None) };
        let email = account_row(&*write, account, ATTEMPTED).await?.email;
        if used.email != Some(email) {
            return Ok(None);
        }
        let damaged = StoreError::Damaged { column: "one_time_token.printer_id" };
        let (Some(printer), Some(role)) = (used.printer_id, used.role) else { return Err(damaged) };
        let printer: PrinterId = stored(&printer, "one_time_token.printer_id")?;
        let owner = printer::Entity::find_by_id(printer.as_str()).one(&*write).await.attempt(ATTEMPTED)?;
        let Some(owner) = owner.map(|row| row.account_id) else { return Ok(None) };
        // Who invited may have handed the printer over meanwhile; who owns it needs no role.
        if used.account_id.as_ref() != Some(&owner) || owner == account.as_str() {
            return Ok(None);
        }
        match role {
            one_time_token::Role::Owner => hand_over(&write, &printer, account, now, ATTEMPTED).await?,
            one_time_token::Role::Operator => {
                add(&write, &printer, account, printer_member::Role::Operator, now, ATTEMPTED).await?;
            }
            one_time_token::Role::Viewer => {
                add(&write, &printer, account, printer_member::Role::Viewer, now, ATTEMPTED).await?;
            }
        }
        write.record(ChangeSubject::Printer(printer.clone()), now).await?;
        write.commit().await?;
        Ok(Some((printer, Role::of_invitation(role))))
    }

    async fn read_invitations(&self, rows: Vec<one_time_token::Model>) -> Result<Vec<PrinterInvitation>, StoreError> {
        const ATTEMPTED: &str = "look up what an invitation is for";
        let mut invitations = Vec::with_capacity(rows.len());
        for row in rows {
            let damaged = StoreError::Damaged { column: "one_time_token.printer_id" };
            let (Some(printer), Some(account), Some(email), Some(role)) =
                (row.printer_id, row.account_id, row.email, row.role)
            else {
                return Err(damaged);
            };
            let printer = printer::Entity::find_by_id(printer).one(&self.reader).await.attempt(ATTEMPTED)?;
            let account = account::Entity::find_by_id(account).one(&self.reader).await.attempt(ATTEMPTED)?;
            // The invitation goes with either of them.
            let (Some(printer), Some(account)) = (printer, account) else { continue };
            invitations.push(PrinterInvitation {
                id: stored(&row.id, "one_time_token.id")?,
                printer: stored(&printer.id, "printer.id")?,
                printer_name: printer.name,
                email: read_email(&email)?,
                invited_by: read_email(&account.email)?,
                role: Role::of_invitation(role),
                created_at: from_milliseconds(row.created_at),
                expires_at: from_milliseconds(row.expires_at),
            });
        }
        Ok(invitations)
    }
}

async fn remove(
    write: &Write,
    printer: &PrinterId,
    member: &AccountId,
    now: SystemTime,
    attempted: &'static str,
) -> Result<(), StoreError> {
    let key = (printer.as_str().to_owned(), member.as_str().to_owned());
    let deleted = printer_member::Entity::delete_by_id(key).exec(&**write).await.attempt(attempted)?;
    if deleted.rows_affected == 0 {
        return Err(StoreError::not_found(Subject::Member, member.as_str()));
    }
    write.record(ChangeSubject::Printer(printer.clone()), now).await
}

async fn add(
    write: &Write,
    printer: &PrinterId,
    member: &AccountId,
    role: printer_member::Role,
    now: SystemTime,
    attempted: &'static str,
) -> Result<(), StoreError> {
    printer_member::Entity::insert(printer_member::ActiveModel {
        printer_id: Set(printer.as_str().to_owned()),
        account_id: Set(member.as_str().to_owned()),
        role: Set(role),
        created_at: Set(to_milliseconds(now)),
    })
    .on_conflict(
        OnConflict::columns([printer_member::Column::PrinterId, printer_member::Column::AccountId])
            .update_column(printer_member::Column::Role)
            .to_owned(),
    )
    .exec_without_returning(&**write)
    .await
    .attempt(attempted)
    .map(drop)
}

async fn hand_over(
    write: &Write,
    printer: &PrinterId,
    owner: &AccountId,
    now: SystemTime,
    attempted: &'static str,
) -> Result<(), StoreError> {
    let dying = connections_of_printer(&**write, printer, attempted).await?;
    bury(&**write, dying, dead_connection::Reason::Revoked, now, attempted).await?;
    delete_of_printer::<_, printer_member::Entity>(&**write, printer_member::Column::PrinterId, printer, attempted)
        .await?;
    delete_of_printer::<_, live_link::Entity>(&**write, live_link::Column::PrinterId, printer, attempted).await?;
    delete_of_printer::<_, enrolment::Entity>(&**write, enrolment::Column::PrinterId, printer, attempted).await?;
    delete_of_printer::<_, one_time_token::Entity>(&**write, one_time_token::Column::PrinterId, printer, attempted)
        .await?;
    printer::Entity::update_many()
        .set(printer::ActiveModel {
            account_id: Set(owner.as_str().to_owned()),
            owner_label: Set(Label::generate().as_str().to_owned()),
            ..Default::default()
        })
        .filter(printer::Column::Id.eq(printer.as_str()))
        .exec(&**write)
        .await
        .attempt(attempted)
        .map(drop)
}

async fn delete_of_printer<C: ConnectionTrait, E: EntityTrait>(
    database: &C,
    column: impl ColumnTrait,
    printer: &PrinterId,
    attempted: &'static str,
) -> Result<(), StoreError> {
    E::delete_many().filter(column.eq(printer.as_str())).exec(database).await.attempt(attempted).map(drop)
}
