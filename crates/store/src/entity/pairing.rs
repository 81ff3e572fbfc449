//! Agents that wait for somebody to type their code.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "pairing")]
pub(crate) struct Model {
    /// Hash of the key that becomes the printer's.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) key_hash: Vec<u8>,
    /// Unique.
    pub(crate) code_hash: Vec<u8>,
    pub(crate) state: State,
    /// Set once it is linked.
    pub(crate) printer_id: Option<String>,
    /// What the printer will be called; drawn when it is linked if nobody named one.
    pub(crate) wanted_printer_id: Option<String>,
    pub(crate) host: String,
    pub(crate) software: String,
    pub(crate) software_version: String,
    pub(crate) agent_version: String,
    pub(crate) lan_ip: String,
    pub(crate) address: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub(crate) enum State {
    #[sea_orm(string_value = "pending")]
    Pending,
    #[sea_orm(string_value = "linked")]
    Linked,
    #[sea_orm(string_value = "denied")]
    Denied,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
