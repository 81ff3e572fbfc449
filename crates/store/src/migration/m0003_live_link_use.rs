//! The third layout: what became of a live link.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null};

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "0003_live_link_use"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One statement for each, because SQLite adds one column at a time.
        for column in [big_integer_null("last_used_at"), big_integer("bytes_down").default(0).take()] {
            manager.alter_table(Table::alter().table("live_link").add_column(column).take()).await?;
        }
        Ok(())
    }
}
