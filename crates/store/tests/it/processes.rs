//! Several processes on one database.

use std::process::Stdio;

use tempfile::TempDir;

use crate::child::{self, Expected, Task};
use crate::support::*;

/// They also start on a directory that is not there yet, all at once.
#[tokio::test]
async fn processes_that_write_at_once_lose_nothing() {
    const N_ROUNDS: u32 = 15;
    let outer = TempDir::new().unwrap();
    let directory = outer.path().join("data");
    let children: Vec<_> = (0..3)
        .map(|_| {
            child::command(Task::Write(N_ROUNDS), &directory)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut expected = Expected::default();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().for_each(|line| expected.read(line));
    }
    expect_intact(&directory).await;
    let store = open(&directory).await;
    expected.check(&store).await;
    // An account each, and five changes in each round.
    assert_eq!(store.latest_change().await.unwrap(), i64::from(3 * (1 + 5 * N_ROUNDS)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_see_each_other_s_writes_at_once() {
    let Fresh { store: first, directory } = fresh().await;
    let second = open(directory.path()).await;
    let printer = add_printer(&first).await;
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let app = add_app(writer, &printer.id).await;
        alive(reader, store::ConnectionKind::App, &app.label).await;
        reader.revoke_connection(store::ConnectionKind::App, &app.id, at(1)).await.unwrap();
        expect_dead(writer, store::ConnectionKind::App, &app.label, store::DeathReason::Revoked).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_in_one_process_all_get_their_turn() {
    let Fresh { store, directory: _directory } = fresh().await;
    let printer = add_printer(&store).await;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (store, printer) = (store.clone(), printer.id.clone());
            tokio::spawn(async move { add_app(&store, &printer).await.label })
        })
        .collect();
    for task in tasks {
        alive(&store, store::ConnectionKind::App, &task.await.unwrap()).await;
    }
}

/// Requests end at any moment, and a write that was dropped half-way must neither stay half done nor hold the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_calls_leave_the_store_usable() {
    let Fresh { store, directory } = fresh().await;
    let printer = add_printer(&store).await;
    for round in 0..40_u64 {
        let (store, printer) = (store.clone(), printer.id.clone());
        let task = tokio::spawn(async move { add_app(&store, &printer).await });
        tokio::time::sleep(std::time::Duration::from_micros(round * 50)).await;
        task.abort();
        drop(task.await);
    }
    add_app(&store, &printer.id).await;
    let listed = store.connections(store::ConnectionKind::App, None).await.unwrap().rows.len();
    let changed = store.changes_since(0).await.unwrap();
    let changed = changed.iter().filter(|change| matches!(change.subject, store::ChangeSubject::Connection(_)));
    assert_eq!(changed.count(), listed);
    expect_intact(directory.path()).await;
}
