//! Links by which everybody may watch a print.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "live_link")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) printer_id: String,
    pub(crate) connection_id: Option<String>,
    /// Set if it ends at a time.
    pub(crate) ends_at: Option<i64>,
    /// Set if it ends with a print.
    pub(crate) print_id: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) ended_at: Option<i64>,
    pub(crate) result: Option<String>,
    pub(crate) picture: Option<Vec<u8>>,
    pub(crate) last_used_at: Option<i64>,
    pub(crate) bytes_down: i64,
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
