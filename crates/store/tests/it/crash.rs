//! `kill -9` at any moment loses nothing that was acknowledged.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::child::{self, Expected, Task};
use crate::support::*;

/// How often. A release is tested with a thousand.
fn n_crashes() -> u32 {
    std::env::var("SPOOLWAY_CRASHES").map_or(20, |count| count.parse().unwrap())
}

#[tokio::test]
async fn acknowledged_changes_survive_being_killed() {
    let directory = TempDir::new().unwrap();
    let mut random = Random::from_time();
    // One database for all, so that each child also meets what the one before it left behind.
    let mut expected = Expected::default();
    for crash in 0..n_crashes() {
        let mut child = start(&directory);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let n_lines = random.below(60);
        let mut lines = lines.map_while(Result::ok).inspect(|line| expected.read(line));
        lines.by_ref().filter(|line| line.starts_with('@')).take(n_lines).for_each(drop);
        std::thread::sleep(Duration::from_micros(random.below(4000) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said before it died counts too.
        lines.for_each(drop);

        expect_intact(directory.path()).await;
        let store = open(directory.path()).await;
        expected.check(&store).await;
        store.close().await;
        assert!(crash < 5 || expected.n_acknowledged > 0, "the child does something");
    }
}

#[tokio::test]
async fn being_killed_while_the_database_is_made_leaves_one_that_can_be_opened() {
    let mut random = Random::from_time();
    for _ in 0..n_crashes() {
        let directory = TempDir::new().unwrap();
        let mut child = start(&directory);
        std::thread::sleep(Duration::from_micros(random.below(40_000) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(directory.path()).await;
        Expected::default().check(&store).await;
        store.add_account(&email("ann@example.org"), None, None, at(0)).await.unwrap();
        expect_intact(directory.path()).await;
    }
}

fn start(directory: &TempDir) -> Child {
    child::command(Task::WriteUntilKilled, directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Moments to strike at; a seed would not bring them back, because the child runs on its own clock.
struct Random(u64);

impl Random {
    fn from_time() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self(u64::from(now.subsec_nanos()) | 1)
    }

    fn below(&mut self, limit: u32) -> usize {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % u64::from(limit)) as usize
    }
}
