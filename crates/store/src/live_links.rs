//! Links by which everybody may watch a print, until it ends.

use std::time::SystemTime;

use model::{AccountId, ConnectionId, LiveId, PrinterId};
use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::accounts::MAX_ROWS;
use crate::entity::{live_link, printer};
use crate::error::{Attempt, StoreError, Subject, stored};
use crate::records::ChangeSubject;
use crate::roles::{Role, expect_role, seen_by};
use crate::store::Store;
use crate::time::{from_milliseconds, to_milliseconds};

/// One for each group that watches.
const MAX_OPEN: u64 = 100;
/// Ended links keep a picture each. Beyond this many of one printer the oldest make room.
const MAX_ENDED: u64 = 100;
const MAX_PICTURE_LENGTH: usize = 2 * 1024 * 1024;
/// A file's name, a few times and numbers.
const MAX_RESULT_LENGTH: usize = 64 * 1024;
const MAX_PRINT_ID_LENGTH: usize = 255;

/// When a live link ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveEnd {
    /// At a time. Whether it has come is for the caller to say.
    At(SystemTime),
    /// When this print does. Somebody has to call [`Store::end_live_link`] then.
    WithPrint {
        /// The agent's name for the print.
        print_id: String,
    },
}

/// A live link with all that its page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLinkRecord {
    /// Its id, which is all that it takes to open it.
    pub id: LiveId,
    /// The printer.
    pub printer: PrinterId,
    /// The printer's owner.
    pub account: AccountId,
    /// The owner's name for the printer.
    pub printer_name: String,
    /// When it ends by itself.
    pub end: LiveEnd,
    /// The app that made it.
    pub by: Option<ConnectionId>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it ended.
    pub ended_at: Option<SystemTime>,
    /// What there is to show after the end, as JSON.
    pub result_json: Option<String>,
    /// The last picture, a JPEG.
    pub picture: Option<Vec<u8>>,
}

/// A live link in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLinkSummary {
    /// Its id, which is all that it takes to open it.
    pub id: LiveId,
    /// The printer.
    pub printer: PrinterId,
    /// The owner's name for the printer.
    pub printer_name: String,
    /// When it ends by itself.
    pub end: LiveEnd,
    /// The app that made it.
    pub by: Option<ConnectionId>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it ended.
    pub ended_at: Option<SystemTime>,
    /// When somebody last watched.
    pub last_used_at: Option<SystemTime>,
    /// Bytes of pictures that were sent to those who watched.
    pub bytes_down: u64,
}

impl Store {
    /// Makes a live link to a printer, for those who may use it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account may not use such a printer, [`StoreError::Invalid`] for an end that
    /// makes no sense, [`StoreError::Full`] if the printer has too many.
    pub async fn create_live_link(
        &self,
        account: &AccountId,
        printer: &PrinterId,
        end: LiveEnd,
        by: Option<ConnectionId>,
        now: SystemTime,
    ) -> Result<LiveId, StoreError> {
        const ATTEMPTED: &str = "make a live link";
        let (ends_at, print_id) = match end {
            LiveEnd::At(ends_at) if ends_at <= now => {
                return Err(StoreError::Invalid("a live link ends in the future"));
            }
            LiveEnd::At(ends_at) => (Some(to_milliseconds(ends_at)), None),
            LiveEnd::WithPrint { print_id } if print_id.is_empty() || print_id.len() > MAX_PRINT_ID_LENGTH => {
                return Err(StoreError::Invalid("the id of a print has 1 to 255 bytes"));
            }
            LiveEnd::WithPrint { print_id } => (None, Some(print_id)),
        };
        let write = self.write(ATTEMPTED).await?;
        expect_role(&*write, account, printer, Role::Operator, ATTEMPTED).await?;
        let of_printer = live_link::Column::PrinterId.eq(printer.as_str());
        let is_open = Condition::all().add(live_link::Column::EndedAt.is_null()).add(
            Condition::any()
                .add(live_link::Column::EndsAt.is_null())
                .add(live_link::Column::EndsAt.gt(to_milliseconds(now))),
        );
        let n_open = live_link::Entity::find()
            .filter(of_printer.clone())
            .filter(is_open.clone())
            .count(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if n_open >= MAX_OPEN {
            return Err(StoreError::Full("a printer has at most 100 open live links"));
        }
        let outdated: Vec<String> = live_link::Entity::find()
            .select_only()
            .column(live_link::Column::Id)
            .filter(of_printer)
            .filter(is_open.not())
            .order_by_desc(live_link::Column::CreatedAt)
            .offset(MAX_ENDED)
            .limit(MAX_ROWS as u64)
            .into_tuple()
            .all(&*write)
            .await
            .attempt(ATTEMPTED)?;
        for id in outdated {
            live_link::Entity::delete_by_id(id).exec(&*write).await.attempt(ATTEMPTED)?;
        }
        let id = LiveId::generate();
        live_link::Entity::insert(live_link::ActiveModel {
            id: Set(id.as_str().to_owned()),
            printer_id: Set(printer.as_str().to_owned()),
            connection_id: Set(by.map(String::from)),
            ends_at: Set(ends_at),
            print_id: Set(print_id),
            created_at: Set(to_milliseconds(now)),
            ended_at: Set(None),
            result: Set(None),
            picture: Set(None),
            last_used_at: Set(None),
            bytes_down: Set(0),
        })
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        write.commit().await?;
        Ok(id)
    }

    /// The live link with this id, ended or not.
    pub async fn live_link(&self, id: &LiveId) -> Result<Option<LiveLinkRecord>, StoreError> {
        let found = live_link::Entity::find_by_id(id.as_str())
            .find_also_related(printer::Entity)
            .one(&self.reader)
            .await
            .attempt("look up a live link")?;
        let Some((row, printer)) = found else { return Ok(None) };
        let printer = printer.ok_or(StoreError::Damaged { column: "live_link.printer_id" })?;
        Ok(Some(LiveLinkRecord {
            id: stored(&row.id, "live_link.id")?,
            printer: stored(&printer.id, "printer.id")?,
            account: stored(&printer.account_id, "printer.account_id")?,
            printer_name: printer.name,
            end: read_end(row.ends_at, row.print_id)?,
            by: row.connection_id.map(|id| stored(&id, "live_link.connection_id")).transpose()?,
            created_at: from_milliseconds(row.created_at),
            ended_at: row.ended_at.map(from_milliseconds),
            result_json: row.result,
            picture: row.picture,
        }))
    }

    /// Live links to the printers that an account may use, or to one of them, newest first. Ended ones are among them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the account may not use such a printer.
    pub async fn live_links_of(
        &self,
        account: &AccountId,
        printer: Option<&PrinterId>,
    ) -> Result<Vec<LiveLinkSummary>, StoreError> {
        const ATTEMPTED: &str = "list the live links";
        let of_whom = match printer {
            Some(printer) => {
                expect_role(&self.reader, account, printer, Role::Operator, ATTEMPTED).await?;
                Condition::all().add(live_link::Column::PrinterId.eq(printer.as_str()))
            }
            None => seen_by(account, Role::Operator),
        };
        self.list_live_links(of_whom).await
    }

    /// Live links to a printer that end with a print and have not ended.
    pub async fn live_links_with_print(&self, printer: &PrinterId) -> Result<Vec<LiveLinkSummary>, StoreError> {
        let of_whom = Condition::all()
            .add(live_link::Column::PrinterId.eq(printer.as_str()))
            .add(live_link::Column::PrintId.is_not_null())
            .add(live_link::Column::EndedAt.is_null());
        self.list_live_links(of_whom).await
    }

    /// Ends a live link, with what its page shows from then on. Whether it had not ended before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such link, [`StoreError::Invalid`] for a picture of more than 2 MiB.
    pub async fn end_live_link(
        &self,
        id: &LiveId,
        result_json: Option<String>,
        picture: Option<Vec<u8>>,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        const ATTEMPTED: &str = "end a live link";
        if picture.as_ref().is_some_and(|picture| picture.len() > MAX_PICTURE_LENGTH) {
            return Err(StoreError::Invalid("the picture of a live link has at most 2 MiB"));
        }
        if result_json.as_ref().is_some_and(|result| result.len() > MAX_RESULT_LENGTH) {
            return Err(StoreError::Invalid("the result of a live link has at most 64 KiB"));
        }
        let write = self.write(ATTEMPTED).await?;
        let row = live_link::Entity::find_by_id(id.as_str())
            .one(&*write)
            .await
            .attempt(ATTEMPTED)?
            .ok_or_else(|| not_found(id))?;
        let updated = live_link::Entity::update_many()
            .set(live_link::ActiveModel {
                ended_at: Set(Some(to_milliseconds(now))),
                result: Set(result_json),
                picture: Set(picture),
                ..Default::default()
            })
            .filter(live_link::Column::Id.eq(id.as_str()))
            .filter(live_link::Column::EndedAt.is_null())
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        if updated.rows_affected == 0 {
            return Ok(false);
        }
        write.record(ChangeSubject::Printer(stored(&row.printer_id, "live_link.printer_id")?), now).await?;
        write.commit().await?;
        Ok(true)
    }

    /// Notes that somebody watched by a live link at `now`, and how many bytes of pictures they were sent. A link that is
    /// gone is no error.
    pub async fn add_live_link_use(&self, id: &LiveId, bytes_down: u64, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "note the use of a live link";
        let bytes = i64::try_from(bytes_down).unwrap_or(i64::MAX);
        let write = self.write(ATTEMPTED).await?;
        live_link::Entity::update_many()
            .col_expr(live_link::Column::BytesDown, Expr::col(live_link::Column::BytesDown).add(bytes))
            .col_expr(live_link::Column::LastUsedAt, Expr::value(to_milliseconds(now)))
            .filter(live_link::Column::Id.eq(id.as_str()))
            .exec(&*write)
            .await
            .attempt(ATTEMPTED)?;
        write.commit().await
    }

    /// Takes a live link back, for those who may use its printer: from here on it is unknown.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such link to a printer that the account may use.
    pub async fn revoke_live_link(&self, account: &AccountId, id: &LiveId, now: SystemTime) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "take a live link back";
        let write = self.write(ATTEMPTED).await?;
        let row = live_link::Entity::find_by_id(id.as_str()).one(&*write).await.attempt(ATTEMPTED)?;
        let printer = row.ok_or_else(|| not_found(id))?.printer_id;
        let printer: PrinterId = stored(&printer, "live_link.printer_id")?;
        if let Err(error) = expect_role(&*write, account, &printer, Role::Operator, ATTEMPTED).await {
            return Err(if matches!(error, StoreError::NotFound { .. }) { not_found(id) } else { error });
        }
        live_link::Entity::delete_by_id(id.as_str()).exec(&*write).await.attempt(ATTEMPTED)?;
        write.record(ChangeSubject::Printer(printer), now).await?;
        write.commit().await
    }

    /// Without the pictures, of which a list may have many.
    async fn list_live_links(&self, of_whom: Condition) -> Result<Vec<LiveLinkSummary>, StoreError> {
        type Row =
            (String, String, String, Option<i64>, Option<String>, Option<String>, i64, Option<i64>, Option<i64>, i64);
        let rows: Vec<Row> = live_link::Entity::find()
            .select_only()
            .column(live_link::Column::Id)
            .column(live_link::Column::PrinterId)
            .column(printer::Column::Name)
            .column(live_link::Column::EndsAt)
            .column(live_link::Column::PrintId)
            .column(live_link::Column::ConnectionId)
            .column(live_link::Column::CreatedAt)
            .column(live_link::Column::EndedAt)
            .column(live_link::Column::LastUsedAt)
            .column(live_link::Column::BytesDown)
            .inner_join(printer::Entity)
            .filter(of_whom)
            .order_by_desc(live_link::Column::CreatedAt)
            .order_by_asc(live_link::Column::Id)
            .limit(MAX_ROWS as u64)
            .into_tuple()
            .all(&self.reader)
            .await
            .attempt("list the live links")?;
        rows.into_iter()
            .map(
                |(id, printer, printer_name, ends_at, print_id, by, created_at, ended_at, last_used_at, bytes_down)| {
                    Ok(LiveLinkSummary {
                        id: stored(&id, "live_link.id")?,
                        printer: stored(&printer, "live_link.printer_id")?,
                        printer_name,
                        end: read_end(ends_at, print_id)?,
                        by: by.map(|id| stored(&id, "live_link.connection_id")).transpose()?,
                        created_at: from_milliseconds(created_at),
                        ended_at: ended_at.map(from_milliseconds),
                        last_used_at: last_used_at.map(from_milliseconds),
                        bytes_down: u64::try_from(bytes_down).unwrap_or_default(),
                    })
                },
            )
            .collect()
    }
}

/// The id opens the link, so it is not written out.
fn not_found(id: &LiveId) -> StoreError {
    StoreError::not_found(Subject::LiveLink, format!("{}…", id.as_str().get(..4).unwrap_or_default()))
}

fn read_end(ends_at: Option<i64>, print_id: Option<String>) -> Result<LiveEnd, StoreError> {
    match (ends_at, print_id) {
        (Some(ends_at), None) => Ok(LiveEnd::At(from_milliseconds(ends_at))),
        (None, Some(print_id)) => Ok(LiveEnd::WithPrint { print_id }),
        _ => Err(StoreError::Damaged { column: "live_link.ends_at" }),
    }
}
