//! Databases of earlier versions.

use std::collections::HashSet;

use crate::support::*;

/// The layout before people could sign in, made by taking away what came after.
async fn take_back_to_the_first_layout(directory: &std::path::Path) {
    sql(directory, "DROP INDEX printer_by_owner_label").await;
    sql(directory, "DROP INDEX connection_by_app_token").await;
    sql(directory, "DROP INDEX dead_connection_by_app_token").await;
    for table in [
        "session",
        "recovery_code",
        "passkey",
        "identity",
        "printer_member",
        "pairing",
        "one_time_token",
        "webhook",
        "registered_app",
        "live_link",
        "owner_visit",
        "audit",
    ] {
        sql(directory, &format!("DROP TABLE {table}")).await;
    }
    for (table, column) in [
        ("account", "is_admin"),
        ("account", "email_verified_at"),
        ("account", "totp_secret"),
        ("account", "totp_sealed"),
        ("account", "totp_confirmed_at"),
        ("account", "totp_last_step"),
        ("printer", "owner_label"),
        ("connection", "app_id"),
        ("connection", "bytes_up"),
        ("connection", "bytes_down"),
        ("connection", "has_full_control"),
    ] {
        sql(directory, &format!("ALTER TABLE {table} DROP COLUMN {column}")).await;
    }
    sql(directory, "DELETE FROM seaql_migrations WHERE version > '0002'").await;
}

#[tokio::test]
async fn what_was_there_before_the_second_layout_stays() {
    let Fresh { store, directory } = fresh().await;
    let printer = add_printer(&store).await;
    store.add_printer(&email("ann@example.org"), &name("Right"), at(1)).await.unwrap();
    let app = add_app(&store, &printer.id).await;
    store.close().await;
    take_back_to_the_first_layout(directory.path()).await;

    let store = open(directory.path()).await;
    let account = store.account_for_login(&email("ann@example.org")).await.unwrap().unwrap();
    assert!(!account.is_admin);
    let printers = store.printers_of(&account.account).await.unwrap();
    let labels: HashSet<_> = printers.iter().map(|printer| printer.owner_label.as_str().to_owned()).collect();
    assert_eq!((printers.len(), labels.len()), (2, 2));
    assert!(labels.iter().all(|label| label.len() == 32));
    let connections = store.connections_of(&account.account, None).await.unwrap();
    assert_eq!((&connections[0].id, connections[0].bytes_up, &connections[0].app_id), (&app.id, 0, &None));
    expect_intact(directory.path()).await;
}
