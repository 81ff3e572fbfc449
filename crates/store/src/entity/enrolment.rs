//! One-time tokens by which a printer gets its agent, at most one for each printer.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "enrolment")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) printer_id: String,
    /// Unique.
    pub(crate) token_hash: Vec<u8>,
    pub(crate) expires_at: i64,
    /// Hash of the key of the agent that used the token.
    pub(crate) used_by_key_hash: Option<Vec<u8>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {
    #[sea_orm(belongs_to = "super::printer::Entity", from = "Column::PrinterId", to = "super::printer::Column::Id")]
    Printer,
}

impl Related<super::printer::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Printer.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
