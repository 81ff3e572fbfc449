//! Apps that the operator has registered, so that the portal knows their name and where they may be returned to.

use std::time::SystemTime;

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait, QueryOrder, QuerySelect};

use crate::accounts::MAX_ROWS;
use crate::entity::registered_app;
use crate::error::{Attempt, StoreError, Subject};
use crate::store::Store;
use crate::text::Name;
use crate::time::{from_milliseconds, to_milliseconds};

const MAX_PATTERNS: usize = 50;
const MAX_PATTERN_LENGTH: usize = 500;

/// A registered app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredApp {
    /// Its id, as it sends it: 1 to 100 letters, digits, dashes, dots and underscores.
    pub id: String,
    /// Its name.
    pub name: Name,
    /// URLs that it may be returned to; what a pattern means is for the portal.
    pub return_patterns: Vec<String>,
    /// When it was first registered.
    pub created_at: SystemTime,
}

impl Store {
    /// The app with this id.
    pub async fn app(&self, id: &str) -> Result<Option<RegisteredApp>, StoreError> {
        let row = registered_app::Entity::find_by_id(id).one(&self.reader).await.attempt("look up an app")?;
        row.map(read).transpose()
    }

    /// All registered apps, oldest first, at most 10,000.
    pub async fn apps(&self) -> Result<Vec<RegisteredApp>, StoreError> {
        let rows = registered_app::Entity::find()
            .order_by_asc(registered_app::Column::CreatedAt)
            .order_by_asc(registered_app::Column::Id)
            .limit(MAX_ROWS as u64)
            .all(&self.reader)
            .await
            .attempt("list the apps")?;
        rows.into_iter().map(read).collect()
    }

    /// Registers an app, or gives a registered one another name and other patterns.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for an id or patterns that make no sense.
    pub async fn put_app(&self, app: RegisteredApp) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "register an app";
        check(&app)?;
        let write = self.write(ATTEMPTED).await?;
        registered_app::Entity::insert(registered_app::ActiveModel {
            id: Set(app.id),
            name: Set(app.name.as_str().to_owned()),
            return_patterns: Set(app.return_patterns.join("\n")),
            created_at: Set(to_milliseconds(app.created_at)),
        })
        .on_conflict(
            OnConflict::column(registered_app::Column::Id)
                .update_columns([registered_app::Column::Name, registered_app::Column::ReturnPatterns])
                .to_owned(),
        )
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        write.commit().await
    }

    /// Forgets a registered app. Its connections stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such app.
    pub async fn remove_app(&self, id: &str) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "forget an app";
        let write = self.write(ATTEMPTED).await?;
        let deleted = registered_app::Entity::delete_by_id(id).exec(&*write).await.attempt(ATTEMPTED)?;
        if deleted.rows_affected == 0 {
            return Err(StoreError::not_found(Subject::RegisteredApp, id));
        }
        write.commit().await
    }
}

fn check(app: &RegisteredApp) -> Result<(), StoreError> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !(1..=100).contains(&app.id.len()) || !app.id.bytes().all(is_letter) {
        return Err(StoreError::Invalid("an app's id has 1 to 100 letters, digits, dashes, dots and underscores"));
    }
    let fits = |pattern: &String| {
        !pattern.is_empty() && pattern.len() <= MAX_PATTERN_LENGTH && !pattern.chars().any(char::is_control)
    };
    if app.return_patterns.len() > MAX_PATTERNS || !app.return_patterns.iter().all(fits) {
        return Err(StoreError::Invalid("an app has at most 50 patterns of 1 to 500 bytes on one line each"));
    }
    Ok(())
}

fn read(row: registered_app::Model) -> Result<RegisteredApp, StoreError> {
    Ok(RegisteredApp {
        id: row.id,
        name: row.name.parse().map_err(|_| StoreError::Damaged { column: "registered_app.name" })?,
        return_patterns: row.return_patterns.lines().map(str::to_owned).collect(),
        created_at: from_milliseconds(row.created_at),
    })
}
