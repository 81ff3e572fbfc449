//! The second layout: how people sign in, who may do what with a printer, and what apps need.

use model::Label;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, big_pk_auto, binary, binary_null, boolean, text, text_null,
};
use sea_orm_migration::sea_orm::ConnectionTrait;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "0002_sign_in_roles_apps"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        accounts(manager).await?;
        sessions(manager).await?;
        second_factors(manager).await?;
        printers(manager).await?;
        one_time_tokens(manager).await?;
        connections(manager).await?;
        live_links(manager).await?;
        owner_visits(manager).await?;
        audit(manager).await
    }
}

/// One statement for each, because SQLite adds one column at a time.
async fn add_columns(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: impl IntoIterator<Item = ColumnDef>,
) -> Result<(), DbErr> {
    for column in columns {
        manager.alter_table(Table::alter().table(table).add_column(column).take()).await?;
    }
    Ok(())
}

/// A column that refers to a row which takes this one with it when it goes.
fn belongs_to(
    table: &'static str,
    column: &'static str,
    other: &'static str,
    key: &'static str,
) -> ForeignKeyCreateStatement {
    ForeignKey::create().from(table, column).to(other, key).on_delete(ForeignKeyAction::Cascade).take()
}

async fn index(
    manager: &SchemaManager<'_>,
    name: &'static str,
    table: &'static str,
    columns: &[&'static str],
) -> Result<(), DbErr> {
    let mut index = Index::create().name(name).table(table).take();
    for column in columns {
        index.col(*column);
    }
    manager.create_index(index).await
}

async fn accounts(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    add_columns(
        manager,
        "account",
        [
            boolean("is_admin").default(false).take(),
            big_integer_null("email_verified_at"),
            binary_null("totp_secret"),
            big_integer_null("totp_confirmed_at"),
            big_integer_null("totp_last_step"),
        ],
    )
    .await
}

async fn sessions(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("session")
                .col(text("id").primary_key())
                .col(binary("token_hash").unique_key())
                .col(text("account_id"))
                .col(text("user_agent"))
                .col(text_null("address"))
                .col(big_integer("created_at"))
                .col(big_integer("last_seen_at"))
                .col(big_integer("authenticated_at"))
                .col(big_integer("expires_at"))
                .foreign_key(&mut belongs_to("session", "account_id", "account", "id"))
                .take(),
        )
        .await?;
    index(manager, "session_by_account", "session", &["account_id"]).await
}

async fn second_factors(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("recovery_code")
                .col(text("account_id"))
                .col(binary("code_hash"))
                .primary_key(Index::create().col("account_id").col("code_hash"))
                .foreign_key(&mut belongs_to("recovery_code", "account_id", "account", "id"))
                .take(),
        )
        .await?;
    manager
        .create_table(
            Table::create()
                .table("passkey")
                .col(binary("credential_id").primary_key())
                .col(text("account_id"))
                .col(text("name"))
                .col(text("data"))
                .col(big_integer("created_at"))
                .col(big_integer_null("last_used_at"))
                .foreign_key(&mut belongs_to("passkey", "account_id", "account", "id"))
                .take(),
        )
        .await?;
    index(manager, "passkey_by_account", "passkey", &["account_id"]).await?;
    manager
        .create_table(
            Table::create()
                .table("identity")
                .col(text("issuer"))
                .col(text("subject"))
                .col(text("account_id"))
                .col(big_integer("created_at"))
                .primary_key(Index::create().col("issuer").col("subject"))
                .foreign_key(&mut belongs_to("identity", "account_id", "account", "id"))
                .take(),
        )
        .await?;
    index(manager, "identity_by_account", "identity", &["account_id"]).await
}

async fn printers(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    add_columns(manager, "printer", [text("owner_label").default("").take()]).await?;
    let select = Query::select().column("id").from("printer").take();
    for row in manager.get_connection().query_all(&select).await? {
        let id: String = row.try_get_by_index(0)?;
        manager
            .execute(
                Query::update()
                    .table("printer")
                    .value("owner_label", Label::generate().as_str())
                    .and_where(Expr::col("id").eq(id))
                    .take(),
            )
            .await?;
    }
    manager
        .create_index(
            Index::create().name("printer_by_owner_label").table("printer").col("owner_label").unique().take(),
        )
        .await?;
    manager
        .create_table(
            Table::create()
                .table("printer_member")
                .col(text("printer_id"))
                .col(text("account_id"))
                .col(text("role"))
                .col(big_integer("created_at"))
                .primary_key(Index::create().col("printer_id").col("account_id"))
                .foreign_key(&mut belongs_to("printer_member", "printer_id", "printer", "id"))
                .foreign_key(&mut belongs_to("printer_member", "account_id", "account", "id"))
                .take(),
        )
        .await?;
    index(manager, "printer_member_by_account", "printer_member", &["account_id"]).await?;
    manager
        .create_table(
            Table::create()
                .table("pairing")
                .col(binary("key_hash").primary_key())
                .col(binary("code_hash").unique_key())
                .col(text("state"))
                .col(text_null("printer_id"))
                .col(text("host"))
                .col(text("software"))
                .col(text("software_version"))
                .col(text("agent_version"))
                .col(text("lan_ip"))
                .col(text_null("address"))
                .col(big_integer("created_at"))
                .col(big_integer("expires_at"))
                .foreign_key(&mut belongs_to("pairing", "printer_id", "printer", "id"))
                .take(),
        )
        .await?;
    index(manager, "pairing_by_time", "pairing", &["expires_at"]).await
}

async fn one_time_tokens(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("one_time_token")
                .col(text("id").primary_key())
                .col(binary("token_hash").unique_key())
                .col(text("purpose"))
                .col(text_null("account_id"))
                .col(text_null("email"))
                .col(text_null("data"))
                .col(text_null("printer_id"))
                .col(text_null("role"))
                .col(big_integer("created_at"))
                .col(big_integer("expires_at"))
                .foreign_key(&mut belongs_to("one_time_token", "account_id", "account", "id"))
                .foreign_key(&mut belongs_to("one_time_token", "printer_id", "printer", "id"))
                .take(),
        )
        .await?;
    index(manager, "one_time_token_by_account", "one_time_token", &["account_id", "purpose"]).await?;
    index(manager, "one_time_token_by_purpose", "one_time_token", &["purpose", "email"]).await?;
    index(manager, "one_time_token_by_printer", "one_time_token", &["printer_id"]).await
}

async fn connections(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    add_columns(
        manager,
        "connection",
        [text_null("app_id"), big_integer("bytes_up").default(0).take(), big_integer("bytes_down").default(0).take()],
    )
    .await?;
    index(manager, "connection_by_app_token", "connection", &["app_token_hash"]).await?;
    index(manager, "dead_connection_by_app_token", "dead_connection", &["app_token_hash"]).await?;
    manager
        .create_table(
            Table::create()
                .table("webhook")
                .col(text("connection_id").primary_key())
                .col(text("url"))
                .col(text("filter"))
                .col(big_integer("set_at"))
                .col(big_integer("expires_at"))
                .foreign_key(&mut belongs_to("webhook", "connection_id", "connection", "id"))
                .take(),
        )
        .await?;
    manager
        .create_table(
            Table::create()
                .table("registered_app")
                .col(text("id").primary_key())
                .col(text("name"))
                .col(text("return_patterns"))
                .col(big_integer("created_at"))
                .take(),
        )
        .await
}

async fn live_links(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("live_link")
                .col(text("id").primary_key())
                .col(text("printer_id"))
                // No foreign key: a link outlives the app that made it.
                .col(text_null("connection_id"))
                .col(big_integer_null("ends_at"))
                .col(text_null("print_id"))
                .col(big_integer("created_at"))
                .col(big_integer_null("ended_at"))
                .col(text_null("result"))
                .col(binary_null("picture"))
                .foreign_key(&mut belongs_to("live_link", "printer_id", "printer", "id"))
                .take(),
        )
        .await?;
    index(manager, "live_link_by_printer", "live_link", &["printer_id"]).await
}

async fn owner_visits(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("owner_visit")
                .col(binary("token_hash").primary_key())
                .col(text("session_id"))
                .col(text("printer_id"))
                .col(big_integer("created_at"))
                .foreign_key(&mut belongs_to("owner_visit", "session_id", "session", "id"))
                .foreign_key(&mut belongs_to("owner_visit", "printer_id", "printer", "id"))
                .take(),
        )
        .await?;
    index(manager, "owner_visit_by_session", "owner_visit", &["session_id", "printer_id"]).await?;
    index(manager, "owner_visit_by_printer", "owner_visit", &["printer_id"]).await
}

async fn audit(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("audit")
                .col(big_pk_auto("id"))
                .col(text("account_id"))
                .col(big_integer("at"))
                .col(text("kind"))
                // No foreign key: the entry outlives the printer.
                .col(text_null("printer_id"))
                .col(text("subject"))
                .col(text_null("address"))
                .foreign_key(&mut belongs_to("audit", "account_id", "account", "id"))
                .take(),
        )
        .await?;
    index(manager, "audit_by_account", "audit", &["account_id", "id"]).await?;
    index(manager, "audit_by_time", "audit", &["at"]).await
}
