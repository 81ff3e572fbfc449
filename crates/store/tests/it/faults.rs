//! A database that cannot answer never says "unknown".

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions};
use store::{ConnectionKind, StoreError};

use crate::child;
use crate::support::*;

#[tokio::test]
async fn a_locked_database_is_read_and_refuses_to_write() {
    let Fresh { store, directory } = fresh().await;
    let printer = add_printer(&store).await;
    let app = add_app(&store, &printer.id).await;
    let options = SqliteConnectOptions::new().filename(directory.path().join("spoolway.db"));
    let mut other = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();

    let begun = Instant::now();
    let error = store.remove_printer(&printer.id, at(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(begun.elapsed() > Duration::from_secs(4), "it waited for the other");
    alive(&store, ConnectionKind::App, &app.label).await;
    store.ping().await.unwrap();

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    store.remove_printer(&printer.id, at(1)).await.unwrap();
}

#[tokio::test]
async fn damaged_values_are_said_to_be_damaged() {
    let Fresh { store, directory } = fresh().await;
    let printer = add_printer(&store).await;
    let app = add_app(&store, &printer.id).await;
    for (statement, expected) in [
        ("UPDATE connection SET bearer_hash = x'1234'", "connection.bearer_hash"),
        ("UPDATE connection SET id = 'no id at all'", "connection.id"),
        ("UPDATE plan SET webcam_window_ms = -1", "plan.webcam_window_ms"),
    ] {
        let before = sql(directory.path(), "SELECT id FROM connection").await;
        sql(directory.path(), statement).await;
        let error = store.connection_by_label(ConnectionKind::App, &app.label).await.unwrap_err();
        assert!(error.is_infrastructure(), "{error}");
        if before == [app.id.as_str()] && expected != "plan.webcam_window_ms" {
            assert!(matches!(error, StoreError::Damaged { column } if column == expected), "{error}");
        }
    }
}

#[tokio::test]
async fn a_missing_table_is_unavailable() {
    let Fresh { store, directory } = fresh().await;
    sql(directory.path(), "DROP TABLE dead_connection").await;
    let error = store.connection_by_label(ConnectionKind::App, &"abc".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let Fresh { store, directory: _directory } = fresh().await;
    store.close().await;
    let error = store.connection_by_label(ConnectionKind::App, &"abc".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(store.ping().await.is_err());
}

/// The disk is full for a process whose files may not grow beyond a size.
#[tokio::test]
async fn a_full_disk_loses_nothing_and_recovers_with_the_space() {
    let Fresh { store, directory } = fresh().await;
    store.close().await;
    let child = child::command(child::Task::WriteUntilItFails, directory.path());
    let limited = Command::new("sh")
        // 2,048 blocks of 512 bytes. Without the trap, growing further would end the process.
        .args(["-c", "ulimit -f 2048; trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(child.get_program())
        .args(child.get_args())
        .envs(child.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut expected = child::Expected::default();
    let report = String::from_utf8(limited.stdout).unwrap();
    report.lines().for_each(|line| expected.read(line));
    assert!(limited.status.success(), "{report}\n{}", String::from_utf8_lossy(&limited.stderr));
    assert!(expected.n_acknowledged > 10, "{report}");
    assert!(expected.said_unavailable, "{report}");

    expect_intact(directory.path()).await;
    let store = open(directory.path()).await;
    expected.check(&store).await;
    store.add_account(&email("later@example.org"), None, None, at(0)).await.unwrap();
}
