//! One row that numbers the changes.
//!
//! A database's own numbering hands numbers out before the transactions commit, so a reader may see number 8 first and
//! miss number 7 for good. Whoever holds this row's lock until it commits has the only uncommitted number.

use sea_orm::entity::prelude::*;

/// Id of the only row.
pub(crate) const ONLY_ID: i32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "change_counter")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: i32,
    pub(crate) last_seq: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
