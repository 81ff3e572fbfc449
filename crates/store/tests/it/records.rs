//! What an owner can look up: the log, and all of it together.

use store::{AppIdentity, AuditEvent, AuditKind, LiveEnd};

use crate::support::*;

fn event(kind: AuditKind, subject: &str) -> AuditEvent {
    AuditEvent { kind, printer: None, subject: subject.to_owned(), address: Some("203.0.113.7".parse().unwrap()) }
}

#[tokio::test]
async fn the_log_is_read_from_the_newest_in_pages() {
    let Fresh { store, directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    for (index, kind) in AuditKind::ALL.iter().enumerate() {
        store.audit(&ann, event(*kind, &"x".repeat(500)), at(index as u64)).await.unwrap();
        store.audit(&bob, event(*kind, "another's"), at(0)).await.unwrap();
    }
    let first = store.audit_log(&ann, None, 10).await.unwrap();
    let second = store.audit_log(&ann, Some(first[9].id), 100).await.unwrap();
    let all: Vec<_> = first.into_iter().chain(second).collect();
    assert_eq!(all.iter().rev().map(|entry| entry.kind).collect::<Vec<_>>(), AuditKind::ALL);
    assert!(all.iter().all(|entry| entry.subject == "x".repeat(200)));
    assert_eq!(all.last().unwrap().at, at(0));
    expect_not_found(store.audit(&"nobody".parse().unwrap(), event(AuditKind::SignIn, ""), at(0)).await);

    // It is bounded in number, and in time.
    sql(
        directory.path(),
        "INSERT INTO audit (account_id, at, kind, subject)
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         SELECT account_id, at, kind, 'flood' FROM n, (SELECT * FROM audit LIMIT 1)",
    )
    .await;
    store.audit(&ann, event(AuditKind::SignIn, "last"), at(DAY)).await.unwrap();
    let counts = sql(directory.path(), "SELECT CAST(COUNT(*) AS TEXT) FROM audit GROUP BY account_id").await;
    let mut counts: Vec<usize> = counts.iter().map(|count| count.parse().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [AuditKind::ALL.len(), 10_000]);
    assert_eq!(store.prune(at(400 * DAY)).await.unwrap().n_audit_entries, 0);
    store.prune(at(401 * DAY)).await.unwrap();
    assert_eq!(store.audit_log(&ann, None, 10).await.unwrap()[0].subject, "last");
    assert!(store.audit_log(&bob, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_export_has_everything_but_secrets() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    let printer = link_printer(&store, &ann).await;
    link_printer(&store, &bob).await;
    let app = AppIdentity { app_id: None, name: name("Gadget") };
    let app = store.create_app_connection_of(&ann, &printer, &app, None, at(0)).await.unwrap();
    let shared = store.create_shared_connection_of(&ann, &printer, None, None, at(0)).await.unwrap();
    let live = store.create_live_link(&ann, &printer, LiveEnd::At(at(100)), None, at(0)).await.unwrap();
    let (_, session) = store.create_session(&ann, browser(), at(0)).await.unwrap();
    store.link_identity(&ann, "https://login.example", "17", at(0)).await.unwrap();
    store.add_passkey(&ann, b"credential", &name("Phone"), "passkey-data".to_owned(), at(0)).await.unwrap();
    for _ in 0..1001 {
        store.audit(&ann, event(AuditKind::SignIn, "Firefox"), at(0)).await.unwrap();
    }
    let export = store.export_account(&ann, at(1)).await.unwrap();
    assert_eq!(export.account.email, "ann@example.org");
    assert_eq!((export.sessions.len(), export.passkeys.len(), export.identities.len()), (1, 1, 1));
    assert_eq!((export.printers.len(), export.connections.len(), export.live_links.len()), (1, 2, 1));
    assert_eq!(export.log.len(), 1001);
    let text = format!("{export:?}");
    let secrets = [&app.app_token, &app.basic_password, &app.bearer, &session];
    let secrets = secrets.map(|secret| secret.expose().to_owned());
    let links = [app.label.to_string(), shared.label.to_string(), live.to_string(), "passkey-data".to_owned()];
    for hidden in secrets.iter().chain(&links) {
        assert!(!text.contains(hidden), "{hidden}");
    }
    expect_not_found(store.export_account(&"nobody".parse().unwrap(), at(1)).await);
}
