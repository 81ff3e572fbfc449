//! Another process with the same database: this test binary again, told by its environment what to do.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::{Label, PrinterId};
use store::{ConnectionKind, ConnectionLookup, DeathReason, Store, StoreError};

use crate::support::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Write until somebody kills it.
    WriteUntilKilled,
    /// Write until the database refuses, check that it still answers, and end.
    WriteUntilItFails,
    /// Make this many changes and end.
    Write(u32),
}

const TASK: &str = "SPOOLWAY_TEST_CHILD_TASK";
const DIRECTORY: &str = "SPOOLWAY_TEST_CHILD_DIRECTORY";

pub(crate) fn command(task: Task, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::a_child_process", "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, directory).env(
        TASK,
        match task {
            Task::WriteUntilKilled => "until-killed".to_owned(),
            Task::WriteUntilItFails => "until-it-fails".to_owned(),
            Task::Write(count) => count.to_string(),
        },
    );
    command
}

/// What the other process does. Without its environment, that is nothing.
#[test]
fn a_child_process() {
    let Some(task) = std::env::var_os(TASK) else { return };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let task = match task.to_str().unwrap() {
        "until-killed" => Task::WriteUntilKilled,
        "until-it-fails" => Task::WriteUntilItFails,
        count => Task::Write(count.parse().unwrap()),
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(task, &directory));
}

async fn run(task: Task, directory: &Path) {
    let store = open(directory).await;
    let owner = email(&format!("{}@example.org", model::AccountId::generate()));
    let mut round = 0_u32;
    loop {
        if task == Task::Write(round) {
            break;
        }
        let outcome = make_changes(&store, &owner, round).await;
        if task == Task::WriteUntilItFails
            && let Err(error) = outcome
        {
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
            say("unavailable");
            store.ping().await.unwrap();
            break;
        }
        outcome.unwrap();
        round += 1;
    }
}

/// One round of changes, each announced where it destroys something, each told when it is acknowledged.
async fn make_changes(store: &Store, owner: &store::EmailAddress, round: u32) -> Result<(), StoreError> {
    if round == 0 {
        store.add_account(owner, None, None, at(0)).await?;
        say(&format!("account {owner}"));
    }
    let printer = store.add_printer(owner, &name("Left"), at(0)).await?;
    say(&format!("printer {} Left", printer.id));
    let app = store.create_app_connection(&printer.id, &name("App"), None, at(0)).await?;
    say(&format!("alive {}", app.label));
    let doomed = store.create_app_connection(&printer.id, &name("App"), None, at(0)).await?;
    say(&format!("alive {}", doomed.label));
    say(&format!("revoking {}", doomed.label));
    store.revoke_connection(ConnectionKind::App, &doomed.id, at(1)).await?;
    say(&format!("revoked {}", doomed.label));
    say(&format!("renaming {}", printer.id));
    store.rename_printer(&printer.id, &name("Right"), at(1)).await?;
    say(&format!("printer {} Right", printer.id));
    Ok(())
}

/// Past the test harness, which would keep it to itself.
fn say(line: &str) {
    std::io::stdout().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
}

/// What must be in the database after what the child said.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) n_acknowledged: usize,
    pub(crate) said_unavailable: bool,
    accounts: Vec<String>,
    /// The name, or nothing while it may be either.
    names_by_printer: BTreeMap<String, Option<String>>,
    connections_by_label: BTreeMap<String, Fate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Alive,
    Either,
    Revoked,
}

impl Expected {
    pub(crate) fn read(&mut self, line: &str) {
        let Some(line) = line.strip_prefix('@') else { return };
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["account", email] => self.accounts.push(email.to_owned()),
            ["printer", id, name] => drop(self.names_by_printer.insert(id.to_owned(), Some(name.to_owned()))),
            ["renaming", id] => drop(self.names_by_printer.insert(id.to_owned(), None)),
            ["alive", label] => drop(self.connections_by_label.insert(label.to_owned(), Fate::Alive)),
            ["revoking", label] => drop(self.connections_by_label.insert(label.to_owned(), Fate::Either)),
            ["revoked", label] => drop(self.connections_by_label.insert(label.to_owned(), Fate::Revoked)),
            ["unavailable"] => self.said_unavailable = true,
            // The last line of a killed process may be cut.
            _ => return,
        }
        self.n_acknowledged += 1;
    }

    pub(crate) async fn check(&self, store: &Store) {
        let accounts = store.accounts().await.unwrap().rows;
        for email in &self.accounts {
            assert!(accounts.iter().any(|account| account.email.as_str() == email), "{email} is missing");
        }
        for (id, name) in &self.names_by_printer {
            let id: PrinterId = id.parse().unwrap();
            let printer = store.printer(&id).await.unwrap();
            assert!(name.as_ref().is_none_or(|name| *name == printer.name), "{id} is called {}", printer.name);
        }
        for (label, fate) in &self.connections_by_label {
            let label: Label = label.parse().unwrap();
            let found = store.connection_by_label(ConnectionKind::App, &label).await.unwrap();
            let is_as_said = match found {
                ConnectionLookup::Alive(_) => *fate != Fate::Revoked,
                ConnectionLookup::Dead(DeathReason::Revoked) => *fate != Fate::Alive,
                _ => false,
            };
            assert!(is_as_said, "{label} should be {fate:?} and is {found:?}");
        }
        // The feed has no gap: no change without its row, no row without its change.
        let mut seq = 0;
        loop {
            let part = store.changes_since(seq).await.unwrap();
            for change in &part {
                seq += 1;
                assert_eq!(change.seq, seq);
            }
            if part.is_empty() {
                break;
            }
        }
        assert_eq!(seq, store.latest_change().await.unwrap());
    }
}
