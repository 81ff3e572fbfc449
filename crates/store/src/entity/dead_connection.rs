//! What is kept of a connection when it is gone, so that its callers hear "revoked" and not "unknown". It refers to no
//! other table: the printer and the account may be gone too.

use sea_orm::entity::prelude::*;

use super::connection::Kind;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "dead_connection")]
pub(crate) struct Model {
    /// Id of the connection that was.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// Unique.
    pub(crate) label_hash: Vec<u8>,
    /// Of App Connections.
    pub(crate) app_token_hash: Option<Vec<u8>>,
    pub(crate) reason: Reason,
    pub(crate) died_at: i64,
}

/// As in [`crate::DeathReason`], with the texts that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub(crate) enum Reason {
    #[sea_orm(string_value = "revoked")]
    Revoked,
    #[sea_orm(string_value = "printer-removed")]
    PrinterRemoved,
    #[sea_orm(string_value = "account-deleted")]
    AccountDeleted,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
