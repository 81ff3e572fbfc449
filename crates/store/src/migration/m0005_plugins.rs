//! The fifth layout: the existing plugin names its printer itself, before it is linked.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "0005_plugins"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = text_null("wanted_printer_id");
        manager.alter_table(Table::alter().table("pairing").add_column(column).take()).await
    }
}
