//! The secrets of second factors: what the database holds of them, and what is left without the key.

use std::path::Path;

use crate::support::*;

const SECRET: &[u8] = b"twenty marked bytes!";

async fn second_factor(directory: &Path) {
    let store = open(directory).await;
    let account = add_account(&store, "ann@example.org").await;
    store.start_totp(&account, SECRET).await.unwrap();
    store.confirm_totp(&account, 100, &[secret("RECOVERYCODE")], at(0)).await.unwrap();
    store.close().await;
}

fn is_written(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        bytes.windows(SECRET.len()).any(|window| window == SECRET)
    })
}

async fn known_secret(directory: &Path) -> Option<Vec<u8>> {
    let store = open(directory).await;
    let login = store.account_for_login(&email("ann@example.org")).await.unwrap().unwrap();
    store.close().await;
    login.totp.unwrap().secret
}

#[tokio::test]
async fn a_secret_is_not_in_the_files() {
    let directory = tempfile::tempdir().unwrap();
    second_factor(directory.path()).await;
    assert!(!is_written(directory.path()));
    assert_eq!(known_secret(directory.path()).await.as_deref(), Some(SECRET));
}

/// Version 0002 kept secrets in clear.
#[tokio::test]
async fn what_was_in_clear_is_sealed_and_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    second_factor(directory.path()).await;
    let hex: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    sql(directory.path(), &format!("UPDATE account SET totp_secret = x'{hex}'")).await;
    sql(directory.path(), "ALTER TABLE account DROP COLUMN totp_sealed").await;
    sql(directory.path(), "DELETE FROM seaql_migrations WHERE version LIKE '0004%'").await;
    assert!(is_written(directory.path()), "the test does not show what it is about");

    assert_eq!(known_secret(directory.path()).await.as_deref(), Some(SECRET));
    assert!(!is_written(directory.path()));
    assert_eq!(sql(directory.path(), "SELECT count(*) || '' FROM account WHERE totp_secret IS NOT NULL").await, ["0"]);
    expect_intact(directory.path()).await;
}

#[tokio::test]
async fn without_the_key_only_recovery_codes_work_and_with_it_all_is_well() {
    let directory = tempfile::tempdir().unwrap();
    second_factor(directory.path()).await;
    let key_file = directory.path().join("spoolway.key");
    let key = std::fs::read(&key_file).unwrap();
    std::fs::remove_file(&key_file).unwrap();

    let store = open(directory.path()).await;
    let login = store.account_for_login(&email("ann@example.org")).await.unwrap().unwrap();
    assert_eq!(login.totp.unwrap().secret, None, "a second factor is still asked for");
    assert!(store.use_recovery_code(&login.account, &secret("RECOVERYCODE"), at(0)).await.unwrap());
    store.close().await;

    std::fs::write(&key_file, key).unwrap();
    assert_eq!(known_secret(directory.path()).await.as_deref(), Some(SECRET));
}
