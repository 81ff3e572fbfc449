//! Steps that bring a database's layout up to date. A released step is never changed, only followed by another.
//!
//! Steps are written with the query builder alone, so that they run on PostgreSQL as they do on SQLite, and each names
//! its tables and columns in its own text: the entities move on, a released step does not.

use sea_orm_migration::prelude::*;

mod m0001_accounts_printers_connections;
mod m0002_sign_in_roles_apps;
mod m0003_live_link_use;
mod m0004_sealed_second_factors;
mod m0005_plugins;
mod m0006_full_control;

pub(crate) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_accounts_printers_connections::Migration),
            Box::new(m0002_sign_in_roles_apps::Migration),
            Box::new(m0003_live_link_use::Migration),
            Box::new(m0004_sealed_second_factors::Migration),
            Box::new(m0005_plugins::Migration),
            Box::new(m0006_full_control::Migration),
        ]
    }
}
