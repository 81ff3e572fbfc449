//! The fourth layout: the secrets of second factors are sealed. What the second layout kept in clear is sealed when the
//! store is opened, because a step has no key.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::binary_null;

pub(super) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "0004_sealed_second_factors"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = binary_null("totp_sealed");
        manager.alter_table(Table::alter().table("account").add_column(column).take()).await
    }
}
