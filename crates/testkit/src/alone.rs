//! Tests that watch the process that they run in: its memory, and whether anything in it panics.

use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Set in a process that was started for one test.
const ALONE: &str = "SPOOLWAY_TEST_ALONE";
/// Set by a runner that gives each test a process of its own anyway.
const RUNNER_MODE: &str = "NEXTEST_EXECUTION_MODE";

/// Runs `test` in a process of its own, in which no task may panic, not even one whose panic is caught. `name` is the
/// name of the calling test, its modules included, by which that process finds it.
pub fn alone(name: &str, test: impl Future<Output = ()>) {
    let has_own_process = std::env::var(RUNNER_MODE).is_ok_and(|mode| mode == "process-per-test");
    if has_own_process || std::env::var_os(ALONE).is_some() {
        let panics = count_panics();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
        assert_eq!(panics.load(Ordering::Relaxed), 0, "something panicked");
        return;
    }
    // By this name the file is found even after a build has replaced it.
    let output =
        Command::new("/proc/self/exe").args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{name} failed on its own:\n{text}\n{errors}");
}

fn count_panics() -> Arc<AtomicUsize> {
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&panics);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Ordering::Relaxed);
        report(panic);
    }));
    panics
}

/// The memory that this process has in use, in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}
