//! What every test needs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use model::{AccountId, Label, PrinterId, Secret};
use store::{
    ConnectionKind, ConnectionLookup, ConnectionRecord, DatabaseUrl, DeathReason, EmailAddress, Feature, Name,
    NewAppConnection, NewPairing, NewPrinter, NewSession, Store, StoreError,
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

/// Adds an account and gives its id.
pub(crate) async fn add_account(store: &Store, address: &str) -> AccountId {
    store.add_account(&email(address), None, None, at(0)).await.unwrap()
}

/// Links a printer to an account, as its owner would.
pub(crate) async fn link_printer(store: &Store, account: &AccountId) -> PrinterId {
    let code = store.start_pairing(pairing_of(&Secret::generate()), at(0)).await.unwrap();
    store.claim_pairing(code.as_str(), account, &name("Left"), at(0)).await.unwrap().unwrap()
}

/// What an agent says when it wants to be linked.
pub(crate) fn pairing_of(key: &Secret) -> NewPairing<'_> {
    NewPairing {
        key,
        printer: None,
        host: "garage".to_owned(),
        software: "octoprint".to_owned(),
        software_version: "1.11.3".to_owned(),
        agent_version: "0.1.0".to_owned(),
        lan_ip: "192.168.1.20".to_owned(),
        address: Some("203.0.113.7".parse().unwrap()),
    }
}

pub(crate) fn browser() -> NewSession {
    NewSession {
        user_agent: "Firefox".to_owned(),
        address: Some("203.0.113.7".parse().unwrap()),
        lifetime: Duration::from_secs(30 * DAY),
    }
}

pub(crate) fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 60 * 60)
}

pub(crate) fn expect_not_found<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::NotFound { .. })), "{outcome:?}");
}

pub(crate) fn expect_conflict<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Conflict { .. })), "{outcome:?}");
}

pub(crate) fn expect_invalid<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Invalid(_))), "{outcome:?}");
}

/// Does the same eight times at once, through two stores on one database, and gives the outcomes.
pub(crate) async fn at_once<T, F>(fresh: &Fresh, attempt: impl Fn(Store, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let other = open(fresh.directory.path()).await;
    let attempts: Vec<_> = (0..8)
        .map(|index| {
            let store = if index % 2 == 0 { fresh.store.clone() } else { other.clone() };
            tokio::spawn(attempt(store, index))
        })
        .collect();
    let mut outcomes = Vec::new();
    for attempt in attempts {
        outcomes.push(attempt.await.unwrap());
    }
    outcomes
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
