//! What happened to an account.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub(crate) struct Model {
    /// Grows with time.
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) account_id: String,
    pub(crate) at: i64,
    /// As in [`crate::AuditKind::name`].
    pub(crate) kind: String,
    pub(crate) printer_id: Option<String>,
    pub(crate) subject: String,
    pub(crate) address: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
