//! The first layout: accounts, plans, printers, connections, the change feed.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary, binary_null, boolean, integer, text, text_null,
};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "0001_accounts_printers_connections"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        accounts_and_plans(manager).await?;
        printers(manager).await?;
        connections(manager).await?;
        changes(manager).await?;
        site(manager).await
    }
}

async fn accounts_and_plans(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("plan")
                .col(text("name").primary_key())
                .col(boolean("supporter"))
                .col(big_integer_null("max_upload_bytes"))
                .col(big_integer_null("max_download_bytes"))
                .col(big_integer_null("webcam_stream_ms"))
                .col(big_integer_null("webcam_window_ms"))
                .col(big_integer_null("webcam_total_ms"))
                .col(big_integer("created_at"))
                .take(),
        )
        .await?;
    // The plan of an account whose operator chose none.
    manager
        .execute(
            Query::insert()
                .into_table("plan")
                .columns(["name", "supporter", "created_at"])
                .values_panic(["unlimited".into(), true.into(), 0_i64.into()])
                .take(),
        )
        .await?;
    manager
        .create_table(
            Table::create()
                .table("account")
                .col(text("id").primary_key())
                .col(text("email").unique_key())
                .col(text_null("password_hash"))
                .col(text("plan"))
                .col(big_integer("created_at"))
                .foreign_key(ForeignKey::create().from("account", "plan").to("plan", "name"))
                .take(),
        )
        .await?;
    manager.create_index(Index::create().name("account_by_plan").table("account").col("plan").take()).await?;
    manager
        .create_table(
            Table::create()
                .table("beta_grant")
                .col(text("account_id"))
                .col(text("feature"))
                .col(big_integer("granted_at"))
                .primary_key(Index::create().col("account_id").col("feature"))
                .foreign_key(
                    ForeignKey::create()
                        .from("beta_grant", "account_id")
                        .to("account", "id")
                        .on_delete(ForeignKeyAction::Cascade),
                )
                .take(),
        )
        .await
}

async fn printers(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("printer")
                .col(text("id").primary_key())
                .col(text("account_id"))
                .col(text("name"))
                .col(binary_null("key_hash"))
                .col(big_integer("created_at"))
                .col(big_integer_null("last_connected_at"))
                .col(big_integer_null("last_disconnected_at"))
                .col(text("agent_version"))
                .col(text("software"))
                .col(text("software_version"))
                .col(text("lan_ip"))
                // No cascade: an account goes only after its connections were buried one by one.
                .foreign_key(ForeignKey::create().from("printer", "account_id").to("account", "id"))
                .take(),
        )
        .await?;
    manager.create_index(Index::create().name("printer_by_account").table("printer").col("account_id").take()).await?;
    manager
        .create_table(
            Table::create()
                .table("enrolment")
                .col(text("printer_id").primary_key())
                .col(binary("token_hash").unique_key())
                .col(big_integer("expires_at"))
                .col(binary_null("used_by_key_hash"))
                .foreign_key(
                    ForeignKey::create()
                        .from("enrolment", "printer_id")
                        .to("printer", "id")
                        .on_delete(ForeignKeyAction::Cascade),
                )
                .take(),
        )
        .await
}

async fn connections(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("connection")
                .col(text("id").primary_key())
                .col(text("kind"))
                .col(text("label").unique_key())
                .col(text("printer_id"))
                .col(text_null("app_name"))
                .col(text_null("basic_user"))
                .col(binary_null("basic_password_hash"))
                .col(binary_null("bearer_hash"))
                .col(binary_null("app_token_hash"))
                .col(text_null("password_hash"))
                .col(big_integer("created_at"))
                .col(big_integer_null("expires_at"))
                .col(big_integer_null("last_used_at"))
                // No cascade, for the same reason as above.
                .foreign_key(ForeignKey::create().from("connection", "printer_id").to("printer", "id"))
                .take(),
        )
        .await?;
    manager
        .create_index(Index::create().name("connection_by_printer").table("connection").col("printer_id").take())
        .await?;
    manager
        .create_table(
            Table::create()
                .table("dead_connection")
                .col(text("id").primary_key())
                .col(text("kind"))
                .col(binary("label_hash").unique_key())
                .col(binary_null("app_token_hash"))
                .col(text("reason"))
                .col(big_integer("died_at"))
                .take(),
        )
        .await?;
    manager
        .create_index(Index::create().name("dead_connection_by_time").table("dead_connection").col("died_at").take())
        .await
}

async fn changes(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("change")
                .col(big_integer("seq").primary_key())
                .col(text("subject"))
                .col(text("subject_key"))
                .col(big_integer("changed_at"))
                .take(),
        )
        .await?;
    manager
        .create_table(
            Table::create()
                .table("change_counter")
                .col(integer("id").primary_key())
                .col(big_integer("last_seq"))
                .take(),
        )
        .await?;
    manager
        .execute(
            Query::insert()
                .into_table("change_counter")
                .columns(["id", "last_seq"])
                .values_panic([1_i32.into(), 0_i64.into()])
                .take(),
        )
        .await
        .map(drop)
}

async fn site(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("site")
                .col(integer("id").primary_key())
                .col(text("scheme"))
                .col(text("domain"))
                .col(text("printers_domain"))
                .take(),
        )
        .await
}
