//! The change feed.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "change")]
pub(crate) struct Model {
    /// Taken from the change counter, not from the database's own numbering: see there.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) seq: i64,
    pub(crate) subject: Subject,
    /// Id or name of the subject.
    pub(crate) subject_key: String,
    pub(crate) changed_at: i64,
}

/// As in [`crate::ChangeSubject`], with the texts that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub(crate) enum Subject {
    #[sea_orm(string_value = "account")]
    Account,
    #[sea_orm(string_value = "plan")]
    Plan,
    #[sea_orm(string_value = "printer")]
    Printer,
    #[sea_orm(string_value = "connection")]
    Connection,
    #[sea_orm(string_value = "session")]
    Session,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
