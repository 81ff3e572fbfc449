//! What is on the disk, and who may read it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use store::{DatabaseUrl, Store, StoreError};
use tempfile::TempDir;

use crate::support::*;

#[tokio::test]
async fn a_new_data_directory_is_the_owner_s_alone() {
    let outer = TempDir::new().unwrap();
    let directory = outer.path().join("deep").join("data");
    let store = open(&directory).await;
    add_printer(&store).await;
    assert_eq!(mode(&directory), 0o700);
    let mut names = Vec::new();
    for file in std::fs::read_dir(&directory).unwrap() {
        let file = file.unwrap();
        assert_eq!(mode(&file.path()), 0o600, "{:?}", file.file_name());
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["spoolway.db", "spoolway.db-shm", "spoolway.db-wal", "spoolway.key"]);
    store.close().await;
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2);
}

#[tokio::test]
async fn writes_are_durable_before_they_are_acknowledged() {
    let Fresh { directory, store: _store } = fresh().await;
    assert_eq!(sql(directory.path(), "PRAGMA journal_mode").await, ["wal"]);
}

#[tokio::test]
async fn odd_paths_work() {
    let outer = TempDir::new().unwrap();
    for odd in ["with space", "what?mode=ro", "hash#mark", "50%20", "ünï"] {
        let directory = outer.path().join(odd);
        let store = open(&directory).await;
        add_printer(&store).await;
        assert!(directory.join("spoolway.db").is_file(), "{odd}");
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_unavailable() {
    let outer = TempDir::new().unwrap();
    let file = outer.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let garbage = outer.path().join("garbage");
    std::fs::create_dir(&garbage).unwrap();
    std::fs::write(garbage.join("spoolway.db"), "this is no database ".repeat(1000)).unwrap();
    for directory in [file, garbage] {
        let error = Store::open(&DatabaseUrl::in_data_directory(&directory)).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_layout_from_the_future_is_left_alone() {
    let Fresh { store, directory } = fresh().await;
    store.close().await;
    sql(directory.path(), "INSERT INTO seaql_migrations (version, applied_at) VALUES ('9999_wonders', 0)").await;
    let error = Store::open(&DatabaseUrl::in_data_directory(directory.path())).await.unwrap_err();
    assert!(matches!(&error, StoreError::NewerLayout { migration } if migration == "9999_wonders"), "{error}");
    assert!(error.is_infrastructure());
}

#[test]
fn addresses_can_be_logged() {
    let url = DatabaseUrl::in_data_directory(Path::new("/var/lib/spoolway"));
    assert_eq!(format!("{url:?}"), "DatabaseUrl(sqlite /var/lib/spoolway/spoolway.db)");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
