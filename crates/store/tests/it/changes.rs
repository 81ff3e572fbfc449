//! The change feed.

use std::collections::HashSet;

use model::Secret;
use store::{ChangeSubject, ConnectionKind};

use crate::support::*;

#[tokio::test]
async fn every_mutation_is_in_the_feed_in_order() {
    let Fresh { store, directory: _directory } = fresh().await;
    let ann = email("ann@example.org");
    assert_eq!(store.latest_change().await.unwrap(), 0);
    let mut expected = Vec::new();

    store.set_plan("small", at(0), |_| ()).await.unwrap();
    expected.push(ChangeSubject::Plan("small".to_owned()));
    let account = store.add_account(&ann, None, None, at(0)).await.unwrap();
    store.set_account_plan(&ann, "small", at(0)).await.unwrap();
    store.grant_beta(&ann, &feature("gadget-api"), at(0)).await.unwrap();
    store.revoke_beta(&ann, &feature("gadget-api"), at(0)).await.unwrap();
    expected.extend(vec![ChangeSubject::Account(account.clone()); 4]);
    let printer = store.add_printer(&ann, &name("Left"), at(0)).await.unwrap();
    store.rename_printer(&printer.id, &name("Right"), at(0)).await.unwrap();
    store.enrol_agent(&printer.token, &Secret::generate(), at(0)).await.unwrap();
    store.issue_enrolment(&printer.id, at(0)).await.unwrap();
    expected.extend(vec![ChangeSubject::Printer(printer.id.clone()); 4]);
    let app = add_app(&store, &printer.id).await;
    let shared = store.create_shared_connection(&printer.id, None, None, at(0)).await.unwrap();
    store.revoke_connection(ConnectionKind::Shared, &shared.id, at(0)).await.unwrap();
    store.revoke_connection(ConnectionKind::App, &app.id, at(0)).await.unwrap();
    expected.extend([&app.id, &shared.id, &shared.id, &app.id].map(|id| ChangeSubject::Connection(id.clone())));
    store.remove_printer(&printer.id, at(0)).await.unwrap();
    store.delete_account(&ann, at(0)).await.unwrap();
    expected.extend([ChangeSubject::Printer(printer.id), ChangeSubject::Account(account)]);

    let changes = store.changes_since(0).await.unwrap();
    assert_eq!(changes.iter().map(|change| change.subject.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(changes.iter().map(|change| change.seq).collect::<Vec<_>>(), (1..=15).collect::<Vec<_>>());
    assert_eq!(store.changes_since(13).await.unwrap(), changes[13..]);
    assert_eq!(store.latest_change().await.unwrap(), 15);
    assert!(store.changes_since(15).await.unwrap().is_empty());
}

#[tokio::test]
async fn failed_mutations_leave_no_change() {
    let Fresh { store, directory: _directory } = fresh().await;
    let printer = add_printer(&store).await;
    let seq = store.latest_change().await.unwrap();
    store.add_account(&email("ann@example.org"), None, None, at(0)).await.unwrap_err();
    store.set_plan("no good", at(0), |_| ()).await.unwrap_err();
    store.revoke_connection(ConnectionKind::App, &"nobody".parse().unwrap(), at(0)).await.unwrap_err();
    store.create_app_connection(&printer.id, &name("App"), Some(at(0)), at(0)).await.unwrap_err();
    assert_eq!(store.latest_change().await.unwrap(), seq);
}

#[tokio::test]
async fn long_feeds_come_in_parts_and_old_ones_are_forgotten() {
    let Fresh { store, directory } = fresh().await;
    for _ in 0..3 {
        store.set_plan("small", at(0), |_| ()).await.unwrap();
    }
    sql(
        directory.path(),
        "INSERT INTO change (seq, subject, subject_key, changed_at)
         WITH RECURSIVE n(i) AS (SELECT 4 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
         SELECT i, 'plan', 'small', 0 FROM n",
    )
    .await;
    sql(directory.path(), "UPDATE change_counter SET last_seq = 2500").await;
    let mut seen = Vec::new();
    loop {
        let part = store.changes_since(seen.last().copied().unwrap_or(0)).await.unwrap();
        if part.is_empty() {
            break;
        }
        assert!(part.len() <= 1000);
        seen.extend(part.iter().map(|change| change.seq));
    }
    assert_eq!(seen, (1..=2500).collect::<Vec<_>>());

    // Those of 1970 go, the others stay, and places are never given twice.
    assert_eq!(store.prune(at(29 * DAY)).await.unwrap().n_changes, 2497);
    store.prune(at(31 * DAY)).await.unwrap();
    assert!(store.changes_since(0).await.unwrap().is_empty());
    store.set_plan("small", at(31 * DAY), |_| ()).await.unwrap();
    assert_eq!(store.changes_since(0).await.unwrap()[0].seq, 2501);
}

/// A service polls while others write: it must see every change exactly once, though it only ever asks for what comes
/// after the last one it saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_misses_nothing_while_two_others_write() {
    const N_EACH: usize = 60;
    let Fresh { store: poller, directory } = fresh().await;
    let mut writers = Vec::new();
    for writer in 0..2 {
        let store = open(directory.path()).await;
        writers.push(tokio::spawn(async move {
            for index in 0..N_EACH {
                store.set_plan(&format!("plan-{writer}-{index}"), at(0), |_| ()).await.unwrap();
            }
        }));
    }
    let mut seen = Vec::new();
    let mut last = 0;
    while seen.len() < 2 * N_EACH {
        for change in poller.changes_since(last).await.unwrap() {
            assert!(change.seq > last);
            last = change.seq;
            let ChangeSubject::Plan(plan) = change.subject else { panic!("{change:?}") };
            seen.push(plan);
        }
        if writers.iter().all(tokio::task::JoinHandle::is_finished) && poller.latest_change().await.unwrap() == last {
            break;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 2 * N_EACH);
}
