//! Linking an agent by a code.

use model::Secret;
use store::{AgentAuth, NewPairing, PairingState, StoreError};

use crate::support::*;

#[tokio::test]
async fn an_agent_becomes_the_printer_of_who_types_its_code() {
    let Fresh { store, directory: _directory } = fresh().await;
    let ann = add_account(&store, "ann@example.org").await;
    let key = Secret::generate();
    assert_eq!(store.pairing_state(&key, at(0)).await.unwrap(), PairingState::Unknown);
    let code = store.start_pairing(pairing_of(&key), at(0)).await.unwrap();
    assert_eq!(code.as_str().len(), 8);
    assert!(!format!("{code:?}").contains(code.as_str()));
    assert_eq!(store.pairing_state(&key, at(1)).await.unwrap(), PairingState::Pending);

    // However it is typed.
    let (front, back) = code.as_str().split_at(4);
    for typed in [code.as_str().to_owned(), format!(" {front}-{back} "), format!("{front} {back}").to_lowercase()] {
        let record = store.pairing_by_code(&typed, at(1)).await.unwrap().unwrap();
        assert_eq!((record.host.as_str(), record.software.as_str()), ("garage", "octoprint"));
        assert_eq!((record.address.unwrap().to_string().as_str(), record.expires_at), ("203.0.113.7", at(900)));
    }
    for wrong in ["", "ABCD", &"A".repeat(1000), &code.as_str()[1..], "ÄÖÜ"] {
        assert_eq!(store.pairing_by_code(wrong, at(1)).await.unwrap(), None);
        assert_eq!(store.claim_pairing(wrong, &ann, &name("Left"), at(1)).await.unwrap(), None);
    }
    let printer = store.claim_pairing(code.as_str(), &ann, &name("Left"), at(1)).await.unwrap().unwrap();
    assert!(matches!(store.authenticate_agent(&printer, &key).await.unwrap(), AgentAuth::Accepted { .. }));
    let linked = PairingState::Linked { printer: printer.clone(), name: "Left".to_owned() };
    assert_eq!(store.pairing_state(&key, at(DAY)).await.unwrap(), linked);
    assert_eq!(store.printers_of(&ann).await.unwrap()[0].summary.seen.software, "octoprint");

    // Once.
    assert_eq!(store.pairing_by_code(code.as_str(), at(2)).await.unwrap(), None);
    assert_eq!(store.claim_pairing(code.as_str(), &ann, &name("Left"), at(2)).await.unwrap(), None);
    assert!(!store.deny_pairing(code.as_str(), at(2)).await.unwrap());
    store.unlink_printer(&ann, &printer, at(3)).await.unwrap();
    assert_eq!(store.pairing_state(&key, at(3)).await.unwrap(), PairingState::Unknown);
}

#[tokio::test]
async fn a_code_expires_is_replaced_or_denied() {
    let Fresh { store, directory: _directory } = fresh().await;
    let ann = add_account(&store, "ann@example.org").await;
    let key = Secret::generate();
    let first = store.start_pairing(pairing_of(&key), at(0)).await.unwrap();
    let second = store.start_pairing(pairing_of(&key), at(1)).await.unwrap();
    assert_eq!(store.pairing_by_code(first.as_str(), at(1)).await.unwrap(), None);
    assert!(store.deny_pairing(second.as_str(), at(1)).await.unwrap());
    assert_eq!(store.pairing_state(&key, at(1)).await.unwrap(), PairingState::Denied);
    assert_eq!(store.claim_pairing(second.as_str(), &ann, &name("Left"), at(1)).await.unwrap(), None);

    let third = store.start_pairing(pairing_of(&key), at(2)).await.unwrap();
    assert_eq!(store.claim_pairing(third.as_str(), &ann, &name("Left"), at(902)).await.unwrap(), None);
    assert_eq!(store.pairing_state(&key, at(902)).await.unwrap(), PairingState::Unknown);
    assert_eq!(store.prune(at(902)).await.unwrap().n_pairings, 1);
    assert!(store.printers_of(&ann).await.unwrap().is_empty());
}

#[tokio::test]
async fn of_many_who_type_a_code_at_once_one_gets_the_printer() {
    let fresh = fresh().await;
    let mut accounts = Vec::new();
    for index in 0..8 {
        accounts.push(add_account(&fresh.store, &format!("owner{index}@example.org")).await);
    }
    let key = Secret::generate();
    let code = fresh.store.start_pairing(pairing_of(&key), at(0)).await.unwrap();
    let outcomes = at_once(&fresh, |store, index| {
        let (code, account) = (code.clone(), accounts[index].clone());
        async move { store.claim_pairing(code.as_str(), &account, &name("Left"), at(1)).await.unwrap() }
    })
    .await;
    assert_eq!(outcomes.iter().flatten().count(), 1);
    assert_eq!(fresh.store.printers(None).await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn agents_that_wait_are_bounded_in_number_and_size() {
    let Fresh { store, directory } = fresh().await;
    let key = Secret::generate();
    let long = NewPairing { host: format!("a\u{1b}[31m{}", "b".repeat(1 << 16)), ..pairing_of(&key) };
    let code = store.start_pairing(long, at(0)).await.unwrap();
    let record = store.pairing_by_code(code.as_str(), at(0)).await.unwrap().unwrap();
    assert_eq!(record.host.len(), 100);
    assert!(!record.host.contains('\u{1b}'));

    sql(
        directory.path(),
        "INSERT INTO pairing
         WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         SELECT CAST(i AS BLOB), CAST(i AS BLOB), state, printer_id, host, software, software_version, agent_version,
         lan_ip, address, created_at, expires_at, wanted_printer_id FROM n, pairing",
    )
    .await;
    let other = Secret::generate();
    let refused = store.start_pairing(pairing_of(&other), at(1)).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    // Who waits already may ask for another code, and time makes room.
    store.start_pairing(pairing_of(&key), at(1)).await.unwrap();
    store.start_pairing(pairing_of(&other), at(900)).await.unwrap();
}

#[tokio::test]
async fn a_plugin_keeps_the_id_that_it_gave_its_printer() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    let id: model::PrinterId = "P".repeat(60).parse().unwrap();
    let (first, second) = (Secret::new("a".repeat(80)), Secret::new("b".repeat(80)));
    let wanting = |key| NewPairing { printer: Some(id.clone()), ..pairing_of(key) };
    let code = store.start_pairing(wanting(&first), at(0)).await.unwrap();
    let copy = store.start_pairing(wanting(&second), at(0)).await.unwrap();
    assert_eq!(store.claim_pairing(code.as_str(), &ann, &name("Left"), at(1)).await.unwrap(), Some(id.clone()));
    assert!(matches!(store.authenticate_agent(&id, &first).await.unwrap(), AgentAuth::Accepted { .. }));

    // A copy of the installation with a key of its own, or somebody who knows the id.
    assert_eq!(store.claim_pairing(copy.as_str(), &bob, &name("Mine"), at(2)).await.unwrap(), None);
    assert_eq!(store.authenticate_agent(&id, &second).await.unwrap(), AgentAuth::WrongKey);
    assert!(matches!(store.authenticate_agent(&id, &first).await.unwrap(), AgentAuth::Accepted { .. }));

    // Given back, it can be somebody's again.
    store.unlink_printer(&ann, &id, at(3)).await.unwrap();
    assert_eq!(store.claim_pairing(copy.as_str(), &bob, &name("Mine"), at(4)).await.unwrap(), Some(id.clone()));
    assert!(matches!(store.authenticate_agent(&id, &second).await.unwrap(), AgentAuth::Accepted { .. }));
}
