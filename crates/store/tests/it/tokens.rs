//! Tokens that work once.

use model::Secret;
use store::{PasswordHash, TokenPurpose};

use crate::support::*;

#[tokio::test]
async fn a_token_says_what_it_was_given_and_works_once() {
    let Fresh { store, directory: _directory } = fresh().await;
    let account = add_account(&store, "ann@example.org").await;
    let new = email("new@example.org");
    let purpose = TokenPurpose::ChangeEmail;
    let token =
        store.issue_token(purpose, Some(&account), Some(&new), Some("data".to_owned()), hours(1), at(0)).await.unwrap();
    let peeked = store.peek_token(purpose, &token, at(1)).await.unwrap().unwrap();
    assert_eq!((&peeked.account, &peeked.email), (&Some(account.clone()), &Some(new)));
    assert_eq!((peeked.data.as_deref(), peeked.created_at, peeked.expires_at), (Some("data"), at(0), at(3600)));
    // For another purpose it is nothing.
    assert!(store.use_token(TokenPurpose::ResetPassword, &token, at(1)).await.unwrap().is_none());
    assert_eq!(store.use_token(purpose, &token, at(1)).await.unwrap(), Some(peeked));
    assert!(store.use_token(purpose, &token, at(1)).await.unwrap().is_none());
    assert!(store.peek_token(purpose, &token, at(1)).await.unwrap().is_none());

    let token = store.issue_token(purpose, Some(&account), None, None, hours(1), at(0)).await.unwrap();
    assert!(store.use_token(purpose, &token, at(3600)).await.unwrap().is_none(), "it has expired");
    assert_eq!(store.prune(at(3600)).await.unwrap().n_tokens, 1);
    expect_invalid(store.issue_token(purpose, Some(&account), None, Some("x".repeat(5000)), hours(1), at(0)).await);
    expect_invalid(store.issue_token(TokenPurpose::PrinterInvitation, None, None, None, hours(1), at(0)).await);
}

#[tokio::test]
async fn of_many_that_use_a_token_at_once_one_succeeds() {
    let fresh = fresh().await;
    let account = add_account(&fresh.store, "ann@example.org").await;
    for _ in 0..5 {
        let purpose = TokenPurpose::ResetPassword;
        let token = fresh.store.issue_token(purpose, Some(&account), None, None, hours(1), at(0)).await.unwrap();
        let outcomes = at_once(&fresh, |store, _| {
            let token = token.clone();
            async move { store.use_token(purpose, &token, at(1)).await.unwrap().is_some() }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|used| **used).count(), 1);
    }
}

#[tokio::test]
async fn only_the_newest_tokens_of_an_account_work() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    let purpose = TokenPurpose::ResetPassword;
    let of_bob = store.issue_token(purpose, Some(&bob), None, None, hours(1), at(0)).await.unwrap();
    let mut tokens = Vec::new();
    for second in 0..6 {
        tokens.push(store.issue_token(purpose, Some(&ann), None, None, hours(1), at(second)).await.unwrap());
    }
    assert!(store.peek_token(purpose, &tokens[0], at(10)).await.unwrap().is_none());
    for token in tokens[1..].iter().chain([&of_bob]) {
        assert!(store.peek_token(purpose, token, at(10)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn the_set_up_token_makes_one_administrator() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let password = PasswordHash::create(&secret("correct horse")).unwrap();
    assert!(!store.setup_token_outstanding(at(0)).await.unwrap());
    let old = store.issue_token(TokenPurpose::Setup, None, None, None, hours(1), at(0)).await.unwrap();
    let token = store.issue_token(TokenPurpose::Setup, None, None, None, hours(1), at(0)).await.unwrap();
    assert!(store.setup_token_outstanding(at(0)).await.unwrap());
    assert!(!store.setup_token_outstanding(at(3600)).await.unwrap());
    let ann = email("ann@example.org");
    for wrong in [&old, &Secret::generate()] {
        let made = store.create_administrator_with_setup_token(wrong, &ann, &password, at(1)).await.unwrap();
        assert_eq!(made, None);
    }
    let late = store.create_administrator_with_setup_token(&token, &ann, &password, at(3600)).await.unwrap();
    assert_eq!(late, None);
    // An address that is taken does not cost the token.
    add_account(store, "bob@example.org").await;
    let taken = email("bob@example.org");
    expect_conflict(store.create_administrator_with_setup_token(&token, &taken, &password, at(1)).await);

    let outcomes = at_once(&fresh, |store, index| {
        let (token, password) = (token.clone(), password.clone());
        let address = email(&format!("admin{index}@example.org"));
        async move { store.create_administrator_with_setup_token(&token, &address, &password, at(1)).await.unwrap() }
    })
    .await;
    let made: Vec<_> = outcomes.into_iter().flatten().collect();
    assert_eq!(made.len(), 1);
    let profile = store.account(&made[0]).await.unwrap();
    assert!(profile.is_admin && profile.has_password && !profile.email_verified);
    assert!(!store.setup_token_outstanding(at(1)).await.unwrap());
    assert_eq!(store.accounts().await.unwrap().rows.len(), 2);
}

#[tokio::test]
async fn invitations_are_for_one_address_and_can_be_withdrawn() {
    let Fresh { store, directory: _directory } = fresh().await;
    let admin = add_account(&store, "admin@example.org").await;
    let password = PasswordHash::create(&secret("correct horse")).unwrap();
    let ann = email("ann@example.org");
    let purpose = TokenPurpose::Invitation;
    let mut tokens = Vec::new();
    for second in 0..8 {
        let address = Some(&ann).filter(|_| second > 0);
        tokens.push(store.issue_token(purpose, Some(&admin), address, None, hours(1), at(second)).await.unwrap());
    }
    let listed = store.invitations(at(10)).await.unwrap();
    assert_eq!(listed.len(), 8);
    assert_eq!((listed[0].email.as_ref(), listed[1].email.as_ref()), (None, Some(&ann)));

    let stranger = email("eve@example.org");
    assert_eq!(store.sign_up_with_invitation(&tokens[1], &stranger, &password, at(10)).await.unwrap(), None);
    let account = store.sign_up_with_invitation(&tokens[1], &ann, &password, at(10)).await.unwrap().unwrap();
    let profile = store.account(&account).await.unwrap();
    assert!(profile.email_verified && !profile.is_admin);
    assert_eq!(store.sign_up_with_invitation(&tokens[1], &ann, &password, at(10)).await.unwrap(), None);
    // One without an address is for everybody, once.
    let account = store.sign_up_with_invitation(&tokens[0], &stranger, &password, at(10)).await.unwrap().unwrap();
    assert!(!store.account(&account).await.unwrap().email_verified);

    store.withdraw_invitation(&listed[2].id).await.unwrap();
    expect_not_found(store.withdraw_invitation(&listed[2].id).await);
    assert!(store.peek_token(purpose, &tokens[2], at(10)).await.unwrap().is_none());
    assert_eq!(store.invitations(at(10)).await.unwrap().len(), 5);
    assert!(store.invitations(at(4000)).await.unwrap().is_empty());
}
