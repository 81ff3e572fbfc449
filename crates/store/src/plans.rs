//! Plans.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use model::{Limits, Plan, WebcamWindow};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryOrder, QuerySelect};

use crate::accounts::MAX_ROWS;
use crate::entity::{account, plan};
use crate::error::{Attempt, StoreError};
use crate::records::{ChangeSubject, Listing, PlanSummary};
use crate::store::Store;
use crate::time::to_milliseconds;

impl Store {
    /// Edits the plan of this name, or a new one that begins without limits. Gives the plan as it then is.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a name or limits that make no sense.
    pub async fn set_plan(
        &self,
        name: &str,
        now: SystemTime,
        edit: impl FnOnce(&mut Plan) + Send,
    ) -> Result<Plan, StoreError> {
        const ATTEMPTED: &str = "change a plan";
        check_name(name)?;
        let write = self.write(ATTEMPTED).await?;
        let mut edited = match plan::Entity::find_by_id(name).one(&*write).await.attempt(ATTEMPTED)? {
            Some(row) => read_plan(row)?,
            None => Plan { name: name.to_owned(), ..Plan::unlimited() },
        };
        edit(&mut edited);
        name.clone_into(&mut edited.name);
        let limits = stored_limits(&edited.limits)?;
        plan::Entity::insert(plan::ActiveModel {
            name: Set(name.to_owned()),
            supporter: Set(edited.supporter),
            max_upload_bytes: Set(limits.max_upload_bytes),
            max_download_bytes: Set(limits.max_download_bytes),
            webcam_stream_ms: Set(limits.webcam_stream_ms),
            webcam_window_ms: Set(limits.webcam_window_ms),
            webcam_total_ms: Set(limits.webcam_total_ms),
            created_at: Set(to_milliseconds(now)),
        })
        .on_conflict(
            OnConflict::column(plan::Column::Name)
                .update_columns([
                    plan::Column::Supporter,
                    plan::Column::MaxUploadBytes,
                    plan::Column::MaxDownloadBytes,
                    plan::Column::WebcamStreamMs,
                    plan::Column::WebcamWindowMs,
                    plan::Column::WebcamTotalMs,
                ])
                .to_owned(),
        )
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        write.record(ChangeSubject::Plan(name.to_owned()), now).await?;
        write.commit().await?;
        Ok(edited)
    }

    /// All plans, oldest first.
    pub async fn plans(&self) -> Result<Listing<PlanSummary>, StoreError> {
        const ATTEMPTED: &str = "list the plans";
        let rows = plan::Entity::find()
            .order_by_asc(plan::Column::CreatedAt)
            .order_by_asc(plan::Column::Name)
            .limit(MAX_ROWS as u64 + 1)
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let counts: Vec<(String, i64)> = account::Entity::find()
            .select_only()
            .column(account::Column::Plan)
            .column_as(account::Column::Id.count(), "n_accounts")
            .group_by(account::Column::Plan)
            .into_tuple()
            .all(&self.reader)
            .await
            .attempt(ATTEMPTED)?;
        let n_accounts_by_plan: HashMap<String, i64> = counts.into_iter().collect();
        Listing::read(rows, |row| {
            let n_accounts = n_accounts_by_plan.get(&row.name).copied().unwrap_or(0);
            Ok(PlanSummary { plan: read_plan(row)?, n_accounts: u64::try_from(n_accounts).unwrap_or(0) })
        })
    }
}

pub(crate) fn read_plan(row: plan::Model) -> Result<Plan, StoreError> {
    let read =
        |value: Option<i64>, column| value.map(u64::try_from).transpose().map_err(|_| StoreError::Damaged { column });
    let webcam_window = match (
        read(row.webcam_window_ms, "plan.webcam_window_ms")?,
        read(row.webcam_total_ms, "plan.webcam_total_ms")?,
    ) {
        (Some(window), Some(total)) => {
            Some(WebcamWindow { window: Duration::from_millis(window), total: Duration::from_millis(total) })
        }
        (None, None) => None,
        _ => return Err(StoreError::Damaged { column: "plan.webcam_total_ms" }),
    };
    Ok(Plan {
        supporter: row.supporter,
        limits: Limits {
            max_upload_bytes: read(row.max_upload_bytes, "plan.max_upload_bytes")?,
            max_download_bytes: read(row.max_download_bytes, "plan.max_download_bytes")?,
            webcam_stream: read(row.webcam_stream_ms, "plan.webcam_stream_ms")?.map(Duration::from_millis),
            webcam_window,
        },
        name: row.name,
    })
}

struct StoredLimits {
    max_upload_bytes: Option<i64>,
    max_download_bytes: Option<i64>,
    webcam_stream_ms: Option<i64>,
    webcam_window_ms: Option<i64>,
    webcam_total_ms: Option<i64>,
}

fn stored_limits(limits: &Limits) -> Result<StoredLimits, StoreError> {
    /// A longer window would only make the service remember more.
    const MAX_LENGTH: Duration = Duration::from_secs(366 * 24 * 60 * 60);
    let bytes = |value: Option<u64>| {
        value.map(i64::try_from).transpose().map_err(|_| StoreError::Invalid("a file size has at most 63 bits"))
    };
    let length = |value: Option<Duration>| match value {
        None => Ok(None),
        Some(length) if length.is_zero() => Err(StoreError::Invalid("a webcam limit is at least one second")),
        Some(length) if length > MAX_LENGTH => Err(StoreError::Invalid("a webcam limit is at most one year")),
        Some(length) => Ok(i64::try_from(length.as_millis()).ok()),
    };
    if limits.webcam_window.is_some_and(|window| window.total > window.window) {
        return Err(StoreError::Invalid("the seconds of webcam in a window cannot be more than the window has"));
    }
    Ok(StoredLimits {
        max_upload_bytes: bytes(limits.max_upload_bytes)?,
        max_download_bytes: bytes(limits.max_download_bytes)?,
        webcam_stream_ms: length(limits.webcam_stream)?,
        webcam_window_ms: length(limits.webcam_window.map(|window| window.window))?,
        webcam_total_ms: length(limits.webcam_window.map(|window| window.total))?,
    })
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let is_valid = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if is_valid {
        Ok(())
    } else {
        Err(StoreError::Invalid("a plan's name has 1 to 64 letters, digits, dashes and underscores"))
    }
}
