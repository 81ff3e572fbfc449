//! Plans. An absent limit is none.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "plan")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) name: String,
    pub(crate) supporter: bool,
    pub(crate) max_upload_bytes: Option<i64>,
    pub(crate) max_download_bytes: Option<i64>,
    pub(crate) webcam_stream_ms: Option<i64>,
    /// Set together with `webcam_total_ms` or not at all.
    pub(crate) webcam_window_ms: Option<i64>,
    pub(crate) webcam_total_ms: Option<i64>,
    pub(crate) created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
