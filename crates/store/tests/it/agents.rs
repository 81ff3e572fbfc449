//! Enrolment and what agents say of themselves.

use model::Secret;
use store::{AgentAuth, AgentSeen, EnrolOutcome};

use crate::support::*;

#[tokio::test]
async fn a_token_serves_one_key() {
    let Fresh { store, directory: _directory } = fresh().await;
    let printer = add_printer(&store).await;
    let (first, second) = (Secret::generate(), Secret::generate());
    assert_eq!(store.authenticate_agent(&printer.id, &first).await.unwrap(), AgentAuth::WrongKey);

    let enrolled = EnrolOutcome::Enrolled { printer: printer.id.clone(), name: "Left".to_owned() };
    assert_eq!(store.enrol_agent(&printer.token, &first, at(1)).await.unwrap(), enrolled);
    assert_eq!(store.enrol_agent(&printer.token, &second, at(1)).await.unwrap(), EnrolOutcome::InvalidToken);
    assert!(matches!(store.authenticate_agent(&printer.id, &first).await.unwrap(), AgentAuth::Accepted { .. }));
    assert_eq!(store.authenticate_agent(&printer.id, &second).await.unwrap(), AgentAuth::WrongKey);
    // The same agent, whom the first answer did not reach.
    let seq = store.latest_change().await.unwrap();
    assert_eq!(store.enrol_agent(&printer.token, &first, at(2)).await.unwrap(), enrolled);
    assert_eq!(store.latest_change().await.unwrap(), seq);
}

#[tokio::test]
async fn a_token_expires_after_a_day() {
    let Fresh { store, directory: _directory } = fresh().await;
    let printer = add_printer(&store).await;
    assert_eq!(printer.token_expires_at, at(DAY));
    let key = Secret::generate();
    assert_eq!(store.enrol_agent(&printer.token, &key, at(DAY)).await.unwrap(), EnrolOutcome::InvalidToken);
    assert_eq!(store.prune(at(DAY)).await.unwrap().n_enrolments, 1);
    assert_eq!(store.enrol_agent(&printer.token, &key, at(DAY - 1)).await.unwrap(), EnrolOutcome::InvalidToken);
}

#[tokio::test]
async fn a_fresh_token_replaces_the_agent_when_it_is_used() {
    let Fresh { store, directory: _directory } = fresh().await;
    let first = add_printer(&store).await;
    let (old, new) = (Secret::generate(), Secret::generate());
    store.enrol_agent(&first.token, &old, at(1)).await.unwrap();

    let fresh = store.issue_enrolment(&first.id, at(2)).await.unwrap();
    assert_eq!((&fresh.id, fresh.name.as_str()), (&first.id, "Left"));
    assert_eq!(store.enrol_agent(&first.token, &old, at(3)).await.unwrap(), EnrolOutcome::InvalidToken);
    assert!(matches!(store.authenticate_agent(&first.id, &old).await.unwrap(), AgentAuth::Accepted { .. }));
    assert!(matches!(store.enrol_agent(&fresh.token, &new, at(3)).await.unwrap(), EnrolOutcome::Enrolled { .. }));
    assert_eq!(store.authenticate_agent(&first.id, &old).await.unwrap(), AgentAuth::WrongKey);
    assert!(matches!(store.authenticate_agent(&first.id, &new).await.unwrap(), AgentAuth::Accepted { .. }));
}

#[tokio::test]
async fn of_two_agents_with_one_token_exactly_one_wins() {
    let Fresh { store, directory } = fresh().await;
    let other = open(directory.path()).await;
    let owner = email("ann@example.org");
    store.add_account(&owner, None, None, at(0)).await.unwrap();
    for round in 0..20 {
        let printer = store.add_printer(&owner, &name("Left"), at(0)).await.unwrap();
        let keys: Vec<Secret> = (0..4).map(|_| Secret::generate()).collect();
        let attempts = keys.iter().enumerate().map(|(index, key)| {
            let store = if index % 2 == 0 { store.clone() } else { other.clone() };
            let (token, key) = (printer.token.clone(), key.clone());
            tokio::spawn(async move { store.enrol_agent(&token, &key, at(1)).await.unwrap() })
        });
        let mut winners = Vec::new();
        for (attempt, key) in attempts.collect::<Vec<_>>().into_iter().zip(&keys) {
            if attempt.await.unwrap() != EnrolOutcome::InvalidToken {
                winners.push(key);
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        for key in &keys {
            let accepted =
                matches!(store.authenticate_agent(&printer.id, key).await.unwrap(), AgentAuth::Accepted { .. });
            assert_eq!(accepted, key == winners[0], "round {round}");
        }
    }
}

#[tokio::test]
async fn unknown_printers_count_as_removed() {
    let Fresh { store, directory: _directory } = fresh().await;
    let auth = store.authenticate_agent(&"nobody".parse().unwrap(), &Secret::generate()).await.unwrap();
    assert_eq!(auth, AgentAuth::Removed);
}

#[tokio::test]
async fn what_agents_say_is_cut_to_size_and_is_no_change() {
    let Fresh { store, directory: _directory } = fresh().await;
    let printer = add_printer(&store).await;
    let seq = store.latest_change().await.unwrap();
    let seen = AgentSeen {
        agent_version: "1".repeat(1 << 20),
        software: "octo\u{1b}[31mprint\n".to_owned(),
        software_version: String::new(),
        lan_ip: "192.168.1.20".to_owned(),
    };
    store.record_agent_connected(&printer.id, at(10), &seen).await.unwrap();
    store.record_agent_disconnected(&printer.id, at(20)).await.unwrap();
    let listed = store.printer(&printer.id).await.unwrap();
    assert_eq!((listed.last_connected_at, listed.last_disconnected_at), (Some(at(10)), Some(at(20))));
    assert_eq!(listed.seen.agent_version, "1".repeat(100));
    assert_eq!(listed.seen.software, "octo[31mprint");
    assert_eq!(listed.seen.lan_ip, "192.168.1.20");
    assert_eq!(store.latest_change().await.unwrap(), seq);

    // Removed meanwhile: the note has no place any more, and that is all.
    store.remove_printer(&printer.id, at(30)).await.unwrap();
    store.record_agent_disconnected(&printer.id, at(31)).await.unwrap();
}
