//! Owners' accounts.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    /// Lower case, unique.
    pub(crate) email: String,
    /// Argon2id; none where the owner cannot sign in with a password.
    pub(crate) password_hash: Option<String>,
    pub(crate) plan: String,
    pub(crate) created_at: i64,
    pub(crate) is_admin: bool,
    pub(crate) email_verified_at: Option<i64>,
    /// As earlier versions kept it, in clear; sealed as soon as the store is opened.
    pub(crate) totp_secret: Option<Vec<u8>>,
    /// Sealed with the key beside the database, because codes are computed from it.
    pub(crate) totp_sealed: Option<Vec<u8>>,
    /// Set once the owner has shown a code; until then sign-ins do not ask for one.
    pub(crate) totp_confirmed_at: Option<i64>,
    /// The time step of the last code that was accepted, because each works once.
    pub(crate) totp_last_step: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {
    #[sea_orm(belongs_to = "super::plan::Entity", from = "Column::Plan", to = "super::plan::Column::Name")]
    Plan,
    #[sea_orm(has_many = "super::printer::Entity")]
    Printer,
}

impl Related<super::plan::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Plan.def()
    }
}

impl Related<super::printer::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Printer.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
