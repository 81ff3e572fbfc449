//! Replays the corpora that the fuzzers have left behind, so that what they once reached is reached by every change.

use std::fs;
use std::path::Path;

use oracles::ALL;

/// A corpus is kept small enough to be read through, and to be replayed in a moment.
const MAX_FILES: usize = 200;
const MAX_BYTES: usize = 300 * 1024;

#[test]
fn what_the_fuzzers_found_still_holds() {
    let mut failures = Vec::new();
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, check) in ALL {
        let (mut files, mut bytes) = (0, 0);
        let entries = fs::read_dir(corpora.join(name)).unwrap_or_else(|error| panic!("no corpus of {name}: {error}"));
        for entry in entries {
            let path = entry.expect("the directory can be read").path();
            let input = fs::read(&path).expect("the corpus can be read");
            if std::panic::catch_unwind(|| check(&input)).is_err() {
                failures.push(path);
            }
            files += 1;
            bytes += input.len();
        }
        assert!((1..=MAX_FILES).contains(&files), "the corpus of {name} has {files} files");
        assert!(bytes <= MAX_BYTES, "the corpus of {name} has {bytes} bytes");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn each_check_has_its_target_and_each_target_its_check() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut found: Vec<String> = fs::read_dir(targets)
        .expect("there are targets")
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, ALL.map(|(name, _)| name));
}
