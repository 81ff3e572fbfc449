//! Looking connections up, and what is kept of the dead.

use model::{Label, SecretHash};
use store::{ConnectionKind, ConnectionLookup, DeathReason};

use crate::support::*;

#[tokio::test]
async fn a_label_counts_on_hosts_of_its_kind_only() {
    let Fresh { store, directory: _directory } = fresh().await;
    let printer = add_printer(&store).await;
    let app = add_app(&store, &printer.id).await;
    let shared = store.create_shared_connection(&printer.id, None, None, at(0)).await.unwrap();
    expect_unknown(&store, ConnectionKind::Shared, &app.label).await;
    expect_unknown(&store, ConnectionKind::App, &shared.label).await;
    store.remove_printer(&printer.id, at(1)).await.unwrap();
    expect_unknown(&store, ConnectionKind::Shared, &app.label).await;
    expect_dead(&store, ConnectionKind::Shared, &shared.label, DeathReason::PrinterRemoved).await;
}

#[tokio::test]
async fn labels_are_found_in_any_case() {
    let Fresh { store, directory: _directory } = fresh().await;
    let printer = add_printer(&store).await;
    let app = add_app(&store, &printer.id).await;
    let shouted: Label = app.label.as_str().to_ascii_uppercase().parse().unwrap();
    assert_eq!(alive(&store, ConnectionKind::App, &shouted).await.label, app.label);
    store.revoke_connection(ConnectionKind::App, &app.id, at(1)).await.unwrap();
    expect_dead(&store, ConnectionKind::App, &shouted, DeathReason::Revoked).await;
}

#[tokio::test]
async fn the_dead_are_remembered_for_400_days_whatever_else_is_deleted() {
    let Fresh { store, directory } = fresh().await;
    let printer = add_printer(&store).await;
    let app = add_app(&store, &printer.id).await;
    store.revoke_connection(ConnectionKind::App, &app.id, at(0)).await.unwrap();
    store.remove_printer(&printer.id, at(1)).await.unwrap();
    store.delete_account(&email("ann@example.org"), at(2)).await.unwrap();

    store.prune(at(400 * DAY)).await.unwrap();
    store.close().await;
    let store = open(directory.path()).await;
    expect_dead(&store, ConnectionKind::App, &app.label, DeathReason::Revoked).await;
    let by_id = store.connection_by_id(&app.id).await.unwrap();
    assert!(matches!(by_id, ConnectionLookup::Dead(DeathReason::Revoked)), "{by_id:?}");

    assert_eq!(store.prune(at(500 * DAY)).await.unwrap().n_dead_connections, 1);
    expect_unknown(&store, ConnectionKind::App, &app.label).await;
}

#[tokio::test]
async fn expiry_is_told_and_left_to_the_caller() {
    let Fresh { store, directory: _directory } = fresh().await;
    let printer = add_printer(&store).await;
    let app = store.create_app_connection(&printer.id, &name("App"), Some(at(1)), at(0)).await.unwrap();
    store.prune(at(1000 * DAY)).await.unwrap();
    assert_eq!(alive(&store, ConnectionKind::App, &app.label).await.expires_at, Some(at(1)));
}

#[tokio::test]
async fn the_last_use_moves_forward_a_minute_at_a_time() {
    let Fresh { store, directory: _directory } = fresh().await;
    let printer = add_printer(&store).await;
    let app = add_app(&store, &printer.id).await;
    let seq = store.latest_change().await.unwrap();
    for (touched, expected) in [(100, 100), (159, 100), (160, 160), (10, 160), (5000, 5000)] {
        store.touch_connection(&app.id, at(touched)).await.unwrap();
        let listed = store.connections(ConnectionKind::App, None).await.unwrap().rows;
        assert_eq!(listed[0].last_used_at, Some(at(expected)), "touched at {touched}");
    }
    assert_eq!(store.latest_change().await.unwrap(), seq);
    store.touch_connection(&"nobody".parse().unwrap(), at(0)).await.unwrap();
}

#[tokio::test]
async fn no_secret_is_in_the_files() {
    let Fresh { store, directory } = fresh().await;
    let printer = add_printer(&store).await;
    let app = add_app(&store, &printer.id).await;
    let key = model::Secret::generate();
    store.enrol_agent(&printer.token, &key, at(1)).await.unwrap();
    let doomed = add_app(&store, &printer.id).await;
    store.revoke_connection(ConnectionKind::App, &doomed.id, at(2)).await.unwrap();

    let mut bytes = Vec::new();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(contains(app.label.as_str().as_bytes()), "the search works");
    assert!(contains(SecretHash::of(doomed.label.as_str()).as_bytes()), "the stub is there");
    for secret in [&app.app_token, &app.basic_password, &app.bearer, &printer.token, &key] {
        assert!(!contains(secret.expose().as_bytes()));
    }
}

#[tokio::test]
async fn lookups_use_indexes() {
    let Fresh { store, directory } = fresh().await;
    store.close().await;
    let plans = [
        "SELECT * FROM connection
           LEFT JOIN printer ON connection.printer_id = printer.id
           LEFT JOIN account ON printer.account_id = account.id
           LEFT JOIN plan ON account.plan = plan.name
         WHERE connection.label = 'a' AND connection.kind = 'app'",
        "SELECT * FROM dead_connection WHERE label_hash = x'00' AND kind = 'app'",
        "SELECT * FROM enrolment WHERE token_hash = x'00' AND expires_at > 0",
        "SELECT * FROM change WHERE seq > 7 ORDER BY seq LIMIT 1000",
    ];
    for query in plans {
        let steps = sql(directory.path(), &format!("EXPLAIN QUERY PLAN {query}")).await;
        assert!(!steps.is_empty());
        for step in steps {
            assert!(step.starts_with("SEARCH"), "{step} in {query}");
        }
    }
}
