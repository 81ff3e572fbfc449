//! Living connections of both kinds. Which of the credentials are set says which kind of door it is.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "connection")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// Lower case, unique. In clear, because owners can look their links up again.
    pub(crate) label: String,
    pub(crate) printer_id: String,
    /// App Connections only.
    pub(crate) app_name: Option<String>,
    /// App Connections only.
    pub(crate) basic_user: Option<String>,
    /// App Connections only.
    pub(crate) basic_password_hash: Option<Vec<u8>>,
    /// App Connections only.
    pub(crate) bearer_hash: Option<Vec<u8>>,
    /// App Connections only: opens the App APIs for this connection.
    pub(crate) app_token_hash: Option<Vec<u8>>,
    /// Shared Connections only; none where the link alone opens.
    pub(crate) password_hash: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) last_used_at: Option<i64>,
    /// App Connections of apps that named themselves.
    pub(crate) app_id: Option<String>,
    pub(crate) bytes_up: i64,
    pub(crate) bytes_down: i64,
    /// App Connections only.
    pub(crate) has_full_control: bool,
}

/// As in [`crate::ConnectionKind`], with the texts that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub(crate) enum Kind {
    #[sea_orm(string_value = "app")]
    App,
    #[sea_orm(string_value = "shared")]
    Shared,
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
