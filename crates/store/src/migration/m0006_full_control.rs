//! The sixth layout: an owner may let an app send the printer messages in its own language.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::boolean;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "0006_full_control"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = boolean("has_full_control").default(false).take();
        manager.alter_table(Table::alter().table("connection").add_column(column).take()).await
    }
}
