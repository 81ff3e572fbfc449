//! What every test needs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use model::{Label, PrinterId, Secret};
use store::{
    ConnectionKind, ConnectionLookup, ConnectionRecord, DatabaseUrl, DeathReason, EmailAddress, Feature, Name,
    NewAppConnection, NewPrinter, Store,
};
use tempfile::TempDir;

/// A store in a directory of its own.
pub(crate) struct Fresh {
    pub(crate) store: Store,
    pub(crate) directory: TempDir,
}

pub(crate) async fn fresh() -> Fresh {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).await;
    Fresh { store, directory }
}

pub(crate) async fn open(directory: &Path) -> Store {
    Store::open(&DatabaseUrl::in_data_directory(directory)).await.unwrap()
}

/// A moment `seconds` after an arbitrary beginning. No test asks a clock.
pub(crate) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

pub(crate) const DAY: u64 = 24 * 60 * 60;

pub(crate) fn email(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn feature(text: &str) -> Feature {
    text.parse().unwrap()
}

/// Adds an account `ann@example.org` with a printer.
pub(crate) async fn add_printer(store: &Store) -> NewPrinter {
    store.add_account(&email("ann@example.org"), None, None, at(0)).await.unwrap();
    store.add_printer(&email("ann@example.org"), &name("Left"), at(0)).await.unwrap()
}

pub(crate) async fn add_app(store: &Store, printer: &PrinterId) -> NewAppConnection {
    store.create_app_connection(printer, &name("An app"), None, at(0)).await.unwrap()
}

pub(crate) async fn alive(store: &Store, kind: ConnectionKind, label: &Label) -> ConnectionRecord {
    match store.connection_by_label(kind, label).await.unwrap() {
        ConnectionLookup::Alive(record) => *record,
        other => panic!("{label} is {other:?}"),
    }
}

pub(crate) async fn expect_dead(store: &Store, kind: ConnectionKind, label: &Label, expected: DeathReason) {
    let found = store.connection_by_label(kind, label).await.unwrap();
    assert!(matches!(found, ConnectionLookup::Dead(reason) if reason == expected), "{label} is {found:?}");
}

pub(crate) async fn expect_unknown(store: &Store, kind: ConnectionKind, label: &Label) {
    let found = store.connection_by_label(kind, label).await.unwrap();
    assert!(matches!(found, ConnectionLookup::Unknown), "{label} is {found:?}");
}

pub(crate) fn secret(text: &str) -> Secret {
    Secret::new(text)
}

/// Runs SQL on the database's file, past the store. Gives the last column of the result.
pub(crate) async fn sql(directory: &Path, statement: &str) -> Vec<String> {
    use sea_orm::sqlx::sqlite::SqliteConnectOptions;
    use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions, Connection, Row};
    let options = SqliteConnectOptions::new().filename(directory.join("spoolway.db"));
    let mut connection = options.connect().await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(&mut connection).await.unwrap();
    let texts = rows.iter().map(|row| row.try_get::<String, _>(row.len() - 1).unwrap_or_default()).collect();
    connection.close().await.unwrap();
    texts
}

pub(crate) async fn expect_intact(directory: &Path) {
    assert_eq!(sql(directory, "PRAGMA integrity_check").await, ["ok"]);
    assert_eq!(sql(directory, "PRAGMA foreign_key_check").await, [""; 0]);
}
