use model::RelayError;

/// The manual's table of codes says what the code says.
#[test]
fn the_manual_lists_every_code_as_it_is_sent() {
    let manual = include_str!("../../../../docs/errors.md");
    let rows: Vec<&str> = manual.lines().filter(|line| line.starts_with("| 6")).collect();
    assert_eq!(rows.len(), RelayError::ALL.len());
    for (row, error) in rows.iter().zip(RelayError::ALL) {
        let columns: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).take(5).collect();
        let kind = if error.is_temporary() { "temporary" } else { "permanent" };
        let retry_after = error.retry_after_seconds().map_or("–".to_owned(), |seconds| seconds.to_string());
        let name = format!("`{}`", error.name());
        let (code, plain_status) = (error.code().to_string(), error.plain_status().to_string());
        assert_eq!(columns, [code.as_str(), &name, kind, &retry_after, &plain_status]);
    }
}

/// Operators look metrics up in the manual.
#[test]
fn the_manual_lists_every_metric() {
    let manual = include_str!("../../../../docs/operating.md");
    let source = include_str!("../../../relay/src/metrics.rs");
    let metrics: Vec<&str> = source.split('"').filter(|text| text.starts_with("spoolway_")).collect();
    assert!(!metrics.is_empty());
    for metric in metrics {
        assert!(manual.contains(&format!("`{metric}`")), "docs/operating.md does not list `{metric}`");
    }
}

/// So do they with settings.
#[test]
fn the_manual_lists_every_setting() {
    let manual = include_str!("../../../../docs/operating.md");
    let source = include_str!("../../../server/src/config.rs");
    let keys = source.split_once("const KEYS").and_then(|(_, rest)| rest.split_once("];")).expect("the list of keys").0;
    let keys: Vec<&str> = keys.split('"').skip(1).step_by(2).collect();
    assert!(keys.contains(&"listen"));
    for key in keys {
        assert!(manual.contains(&format!("`{key}`")), "docs/operating.md does not list `{key}`");
    }
}
