//! Printers and what their agents last said.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "printer")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) account_id: String,
    pub(crate) name: String,
    /// Hash of the agent's key; none before the first enrolment.
    pub(crate) key_hash: Option<Vec<u8>>,
    pub(crate) created_at: i64,
    pub(crate) last_connected_at: Option<i64>,
    pub(crate) last_disconnected_at: Option<i64>,
    pub(crate) agent_version: String,
    pub(crate) software: String,
    pub(crate) software_version: String,
    pub(crate) lan_ip: String,
    /// Host name of the owner's own view. Lower case, unique.
    pub(crate) owner_label: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {
    #[sea_orm(belongs_to = "super::account::Entity", from = "Column::AccountId", to = "super::account::Column::Id")]
    Account,
}

impl Related<super::account::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Account.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
