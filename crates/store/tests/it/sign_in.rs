//! Accounts, sessions and second factors.

use model::{Secret, SessionId};
use store::{ChangeSubject, NewSession, PasswordHash, TokenPurpose};

use crate::support::*;

#[tokio::test]
async fn a_login_shows_what_to_check() {
    let Fresh { store, directory: _directory } = fresh().await;
    let ann = email("ann@example.org");
    assert!(store.account_for_login(&ann).await.unwrap().is_none());
    let password = PasswordHash::create(&secret("correct horse")).unwrap();
    let account = store.add_account(&ann, None, Some(&password), at(0)).await.unwrap();
    let login = store.account_for_login(&ann).await.unwrap().unwrap();
    assert_eq!((&login.account, login.is_admin, login.has_passkeys), (&account, false, false));
    assert!(login.password.unwrap().verify(&secret("correct horse")));
    assert!(login.totp.is_none());

    store.start_totp(&account, b"secret").await.unwrap();
    assert!(store.account_for_login(&ann).await.unwrap().unwrap().totp.is_none(), "it was not confirmed");
    assert_eq!(store.pending_totp(&account).await.unwrap().unwrap(), b"secret");
    store.confirm_totp(&account, 100, &[], at(1)).await.unwrap();
    store.add_passkey(&account, b"credential", &name("Key"), "{}".to_owned(), at(1)).await.unwrap();
    store.set_admin(&ann, true, at(1)).await.unwrap();
    let login = store.login_of(&account).await.unwrap();
    assert!(login.is_admin && login.has_passkeys);
    let totp = login.totp.unwrap();
    assert_eq!((totp.secret.as_deref(), totp.last_step), (Some(b"secret".as_slice()), Some(100)));
    assert!(!format!("{totp:?}").contains("115"), "the secret's bytes are not logged");

    let profile = store.account(&account).await.unwrap();
    assert_eq!((profile.email, profile.created_at), (ann, at(0)));
    assert!(profile.has_password && profile.has_totp && profile.is_admin && !profile.email_verified);
    assert_eq!(profile.plan, model::Plan::unlimited());
}

#[tokio::test]
async fn a_session_lasts_thirty_days_and_two_idle_weeks() {
    let Fresh { store, directory: _directory } = fresh().await;
    let account = add_account(&store, "ann@example.org").await;
    let (id, token) = store.create_session(&account, browser(), at(0)).await.unwrap();
    let found = store.session_by_token(&token, at(30)).await.unwrap().unwrap();
    assert_eq!((&found.id, &found.account.id), (&id, &account));
    assert_eq!((found.created_at, found.last_seen_at, found.authenticated_at), (at(0), at(0), at(0)));
    assert!(store.session_by_token(&Secret::generate(), at(30)).await.unwrap().is_none());

    // Noted to the minute.
    assert_eq!(store.session_by_token(&token, at(60)).await.unwrap().unwrap().last_seen_at, at(60));
    assert_eq!(store.sessions(&account, at(60)).await.unwrap()[0].last_seen_at, at(60));
    store.session_by_token(&token, at(119)).await.unwrap().unwrap();
    assert_eq!(store.sessions(&account, at(119)).await.unwrap()[0].last_seen_at, at(60));
    store.reauthenticated(&id, at(119)).await.unwrap();
    assert_eq!(store.session_by_token(&token, at(119)).await.unwrap().unwrap().authenticated_at, at(119));

    assert!(store.session_by_token(&token, at(60 + 14 * DAY)).await.unwrap().is_none(), "idle for too long");
    for day in [13, 26] {
        assert!(store.session_by_token(&token, at(day * DAY)).await.unwrap().is_some());
    }
    assert!(store.session_by_token(&token, at(30 * DAY - 1)).await.unwrap().is_some());
    assert!(store.session_by_token(&token, at(30 * DAY)).await.unwrap().is_none(), "too old");
    assert!(store.sessions(&account, at(30 * DAY)).await.unwrap().is_empty());
    assert!(!store.has_session(&account, &id, at(30 * DAY)).await.unwrap());
    assert_eq!(store.prune(at(30 * DAY)).await.unwrap().n_sessions, 1);

    // Nobody gets a longer one.
    let forever = NewSession { lifetime: hours(24 * 365), ..browser() };
    let (_, token) = store.create_session(&account, forever, at(0)).await.unwrap();
    assert!(store.session_by_token(&token, at(13 * DAY)).await.unwrap().is_some());
    assert!(store.session_by_token(&token, at(26 * DAY)).await.unwrap().is_some());
    assert!(store.session_by_token(&token, at(30 * DAY)).await.unwrap().is_none());
}

#[tokio::test]
async fn sessions_end_one_by_one_or_all_but_one() {
    let Fresh { store, directory: _directory } = fresh().await;
    let account = add_account(&store, "ann@example.org").await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(store.create_session(&account, browser(), at(0)).await.unwrap());
    }
    let seq = store.latest_change().await.unwrap();
    store.end_session(&account, &sessions[0].0, at(1)).await.unwrap();
    expect_not_found(store.end_session(&account, &sessions[0].0, at(1)).await);
    assert!(store.session_by_token(&sessions[0].1, at(1)).await.unwrap().is_none());
    store.end_sessions_but(&account, Some(&sessions[1].0), at(1)).await.unwrap();
    let left = store.sessions(&account, at(1)).await.unwrap();
    assert_eq!(left.iter().map(|session| &session.id).collect::<Vec<_>>(), [&sessions[1].0]);

    // Who has something open with them hears of each.
    let mut ended: Vec<SessionId> = Vec::new();
    for change in store.changes_since(seq).await.unwrap() {
        let ChangeSubject::Session(id) = change.subject else { panic!("{change:?}") };
        ended.push(id);
    }
    ended.sort();
    let mut expected = [0, 2, 3].map(|index: usize| sessions[index].0.clone());
    expected.sort();
    assert_eq!(ended, expected);
    store.end_sessions_but(&account, None, at(1)).await.unwrap();
    assert!(store.sessions(&account, at(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_longest_idle_sessions_make_room() {
    let Fresh { store, directory: _directory } = fresh().await;
    let account = add_account(&store, "ann@example.org").await;
    let mut tokens = Vec::new();
    for second in 0..102 {
        let new = NewSession { user_agent: "x".repeat(10_000), ..browser() };
        tokens.push(store.create_session(&account, new, at(second)).await.unwrap().1);
    }
    let listed = store.sessions(&account, at(200)).await.unwrap();
    assert_eq!((listed.len(), listed[0].user_agent.len()), (100, 200));
    assert!(store.session_by_token(&tokens[1], at(200)).await.unwrap().is_none());
    assert!(store.session_by_token(&tokens[2], at(200)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_new_password_ends_other_sessions_and_open_resets() {
    let Fresh { store, directory: _directory } = fresh().await;
    let account = add_account(&store, "ann@example.org").await;
    let (kept, kept_token) = store.create_session(&account, browser(), at(0)).await.unwrap();
    let (_, ended) = store.create_session(&account, browser(), at(0)).await.unwrap();
    let reset =
        store.issue_token(TokenPurpose::ResetPassword, Some(&account), None, None, hours(1), at(0)).await.unwrap();
    let verify =
        store.issue_token(TokenPurpose::VerifyEmail, Some(&account), None, None, hours(1), at(0)).await.unwrap();
    let password = PasswordHash::create(&secret("correct horse")).unwrap();
    store.set_password(&account, &password, Some(&kept), at(1)).await.unwrap();
    assert!(store.session_by_token(&kept_token, at(1)).await.unwrap().is_some());
    assert!(store.session_by_token(&ended, at(1)).await.unwrap().is_none());
    assert!(store.use_token(TokenPurpose::ResetPassword, &reset, at(1)).await.unwrap().is_none());
    assert!(store.peek_token(TokenPurpose::VerifyEmail, &verify, at(1)).await.unwrap().is_some());
    store.set_password(&account, &password, None, at(1)).await.unwrap();
    assert!(store.session_by_token(&kept_token, at(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn an_address_changes_to_a_free_one_only() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    let verify = store.issue_token(TokenPurpose::VerifyEmail, Some(&ann), None, None, hours(1), at(0)).await.unwrap();
    expect_conflict(store.change_email(&ann, &email("bob@example.org"), true, at(1)).await);
    store.set_email_verified(&bob, at(1)).await.unwrap();
    assert!(store.account(&bob).await.unwrap().email_verified);
    store.change_email(&ann, &email("new@example.org"), false, at(1)).await.unwrap();
    store.change_email(&bob, &email("ann@example.org"), true, at(1)).await.unwrap();
    assert!(!store.account(&ann).await.unwrap().email_verified);
    assert!(store.account(&bob).await.unwrap().email_verified);
    assert!(store.use_token(TokenPurpose::VerifyEmail, &verify, at(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    assert!(!store.has_any_admin().await.unwrap());
    store.set_admin(&email("ann@example.org"), true, at(1)).await.unwrap();
    assert!(store.has_any_admin().await.unwrap());
    let refused = store.delete_account_by_id(&ann, at(1)).await;
    assert_eq!(refused.as_ref().unwrap_err().to_string(), "`ann@example.org` is the last administrator");
    expect_conflict(refused);
    expect_conflict(store.set_admin(&email("ann@example.org"), false, at(1)).await);
    store.set_admin(&email("bob@example.org"), true, at(1)).await.unwrap();
    let (_, token) = store.create_session(&ann, browser(), at(1)).await.unwrap();
    store.delete_account_by_id(&ann, at(1)).await.unwrap();
    assert!(store.session_by_token(&token, at(1)).await.unwrap().is_none());
    expect_not_found(store.account(&ann).await);
    expect_not_found(store.delete_account_by_id(&ann, at(1)).await);
    expect_not_found(store.create_session(&ann, browser(), at(1)).await);
    expect_conflict(store.delete_account_by_id(&bob, at(1)).await);
}

#[tokio::test]
async fn of_two_administrators_that_leave_at_once_one_stays() {
    let fresh = fresh().await;
    let ann = add_account(&fresh.store, "ann@example.org").await;
    let bob = add_account(&fresh.store, "bob@example.org").await;
    for address in ["ann@example.org", "bob@example.org"] {
        fresh.store.set_admin(&email(address), true, at(0)).await.unwrap();
    }
    let outcomes = at_once(&fresh, |store, index| {
        let account = if index < 4 { ann.clone() } else { bob.clone() };
        async move { store.delete_account_by_id(&account, at(1)).await.is_ok() }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|left| **left).count(), 1);
    assert!(fresh.store.has_any_admin().await.unwrap());
}

#[tokio::test]
async fn a_code_works_once() {
    let fresh = fresh().await;
    let account = add_account(&fresh.store, "ann@example.org").await;
    let store = &fresh.store;
    assert!(!store.accept_totp_step(&account, 1).await.unwrap());
    expect_invalid(store.confirm_totp(&account, 1, &[], at(0)).await);
    store.start_totp(&account, b"abandoned").await.unwrap();
    assert!(!store.accept_totp_step(&account, 1).await.unwrap(), "it was not confirmed");
    store.start_totp(&account, b"secret").await.unwrap();
    let codes: Vec<Secret> = (0..10).map(|_| Secret::generate()).collect();
    store.confirm_totp(&account, 100, &codes, at(0)).await.unwrap();
    expect_invalid(store.start_totp(&account, b"another").await);
    assert!(store.pending_totp(&account).await.unwrap().is_none());
    for (step, accepted) in [(99, false), (100, false), (101, true), (101, false), (103, true), (102, false)] {
        assert_eq!(store.accept_totp_step(&account, step).await.unwrap(), accepted, "{step}");
    }
    let outcomes = at_once(&fresh, |store, _| {
        let account = account.clone();
        async move { store.accept_totp_step(&account, 200).await.unwrap() }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|accepted| **accepted).count(), 1);

    let outcomes = at_once(&fresh, |store, _| {
        let (account, code) = (account.clone(), codes[0].clone());
        async move { store.use_recovery_code(&account, &code, at(1)).await.unwrap() }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|accepted| **accepted).count(), 1);
    assert!(!store.use_recovery_code(&account, &Secret::generate(), at(1)).await.unwrap());
    assert_eq!(store.recovery_codes_left(&account).await.unwrap(), 9);
    store.replace_recovery_codes(&account, &codes[..2]).await.unwrap();
    assert_eq!(store.recovery_codes_left(&account).await.unwrap(), 2);
    store.disable_totp(&account).await.unwrap();
    assert_eq!(store.recovery_codes_left(&account).await.unwrap(), 0);
    assert!(!store.accept_totp_step(&account, 300).await.unwrap());
    assert!(!store.account(&account).await.unwrap().has_totp);
}

#[tokio::test]
async fn passkeys_and_identities_are_one_account_s() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    store.add_passkey(&ann, b"one", &name("Phone"), "{\"n\":1}".to_owned(), at(0)).await.unwrap();
    expect_conflict(store.add_passkey(&bob, b"one", &name("Phone"), "{}".to_owned(), at(0)).await);
    assert_eq!(store.passkey_by_credential(b"one").await.unwrap(), Some((ann.clone(), "{\"n\":1}".to_owned())));
    assert_eq!(store.passkey_by_credential(b"two").await.unwrap(), None);
    store.update_passkey(b"one", "{\"n\":2}".to_owned(), at(5)).await.unwrap();
    let listed = store.passkeys(&ann).await.unwrap();
    assert_eq!((listed.len(), listed[0].data.as_str(), listed[0].last_used_at), (1, "{\"n\":2}", Some(at(5))));
    assert!(store.passkeys(&bob).await.unwrap().is_empty());
    expect_not_found(store.remove_passkey(&bob, b"one").await);
    store.remove_passkey(&ann, b"one").await.unwrap();
    expect_not_found(store.update_passkey(b"one", "{}".to_owned(), at(6)).await);
    expect_invalid(store.add_passkey(&ann, b"", &name("Phone"), "{}".to_owned(), at(0)).await);
    expect_invalid(store.add_passkey(&ann, b"one", &name("Phone"), "x".repeat(1 << 20), at(0)).await);

    let issuer = "https://login.example";
    store.link_identity(&ann, issuer, "17", at(0)).await.unwrap();
    store.link_identity(&ann, issuer, "17", at(1)).await.unwrap();
    expect_conflict(store.link_identity(&bob, issuer, "17", at(0)).await);
    assert_eq!(store.account_by_identity(issuer, "17").await.unwrap(), Some(ann.clone()));
    assert_eq!(store.account_by_identity("https://other.example", "17").await.unwrap(), None);
    let listed = store.identities(&ann).await.unwrap();
    assert_eq!((listed.len(), listed[0].subject.as_str(), listed[0].created_at), (1, "17", at(0)));
    expect_not_found(store.unlink_identity(&bob, issuer, "17").await);
    store.unlink_identity(&ann, issuer, "17").await.unwrap();
    assert_eq!(store.account_by_identity(issuer, "17").await.unwrap(), None);

    let eve = email("eve@example.org");
    let account = store.add_account_with_identity(&eve, true, issuer, "18", at(0)).await.unwrap();
    assert!(store.account(&account).await.unwrap().email_verified);
    // Neither half is made alone.
    expect_conflict(store.add_account_with_identity(&email("mal@example.org"), true, issuer, "18", at(0)).await);
    assert!(store.account_for_login(&email("mal@example.org")).await.unwrap().is_none());
    expect_conflict(store.add_account_with_identity(&eve, true, issuer, "19", at(0)).await);
}
