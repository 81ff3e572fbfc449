//! Sign-ins, one for each browser.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "session")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    /// Unique.
    pub(crate) token_hash: Vec<u8>,
    pub(crate) account_id: String,
    pub(crate) user_agent: String,
    pub(crate) address: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) last_seen_at: i64,
    /// When the account last proved itself, which dangerous actions ask for.
    pub(crate) authenticated_at: i64,
    pub(crate) expires_at: i64,
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
