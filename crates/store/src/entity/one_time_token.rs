//! Tokens that work once, mostly sent by mail. Each is deleted when it is used.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "one_time_token")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    /// Unique.
    pub(crate) token_hash: Vec<u8>,
    pub(crate) purpose: Purpose,
    /// Whom it concerns, or who sent it.
    pub(crate) account_id: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) data: Option<String>,
    /// Invitations to a printer only.
    pub(crate) printer_id: Option<String>,
    /// Invitations to a printer only.
    pub(crate) role: Option<Role>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
}

/// As in [`crate::TokenPurpose`], with the texts that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub(crate) enum Purpose {
    #[sea_orm(string_value = "setup")]
    Setup,
    #[sea_orm(string_value = "invitation")]
    Invitation,
    #[sea_orm(string_value = "verify-email")]
    VerifyEmail,
    #[sea_orm(string_value = "reset-password")]
    ResetPassword,
    #[sea_orm(string_value = "change-email")]
    ChangeEmail,
    #[sea_orm(string_value = "printer-invitation")]
    PrinterInvitation,
}

/// As in [`crate::Role`], with the texts that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub(crate) enum Role {
    #[sea_orm(string_value = "owner")]
    Owner,
    #[sea_orm(string_value = "operator")]
    Operator,
    #[sea_orm(string_value = "viewer")]
    Viewer,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {
    #[sea_orm(belongs_to = "super::account::Entity", from = "Column::AccountId", to = "super::account::Column::Id")]
    Account,
    #[sea_orm(belongs_to = "super::printer::Entity", from = "Column::PrinterId", to = "super::printer::Column::Id")]
    Printer,
}

impl Related<super::account::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Account.def()
    }
}

impl Related<super::printer::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Printer.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
