//! Printers with more than one who may use them.

use std::collections::HashSet;

use model::Secret;
use store::{ConnectionKind, DeathReason, EnrolOutcome, LiveEnd, Role, StoreError};

use crate::support::*;

#[tokio::test]
async fn a_printer_is_seen_by_its_owner_and_members() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    let printer = link_printer(&store, &ann).await;
    let own = store.printer_of(&ann, &printer).await.unwrap();
    assert_eq!((own.role, &own.summary.account, own.summary.is_enrolled), (Role::Owner, &ann, true));
    assert_eq!(store.printers_of(&ann).await.unwrap(), std::slice::from_ref(&own));
    assert_eq!(store.printer_by_owner_label(&own.owner_label).await.unwrap(), Some(printer.clone()));
    assert_eq!(store.printer_by_owner_label(&model::Label::generate()).await.unwrap(), None);
    assert!(store.printers_of(&bob).await.unwrap().is_empty());

    let token = store.invite_member(&ann, &printer, &email("bob@example.org"), Role::Viewer, at(1)).await.unwrap();
    let shown = store.printer_invitation(&token, at(2)).await.unwrap().unwrap();
    assert_eq!((shown.printer_name.as_str(), shown.role), ("Left", Role::Viewer));
    assert_eq!(shown.invited_by, email("ann@example.org"));
    assert_eq!(
        store.printer_invitations_for(&email("bob@example.org"), at(2)).await.unwrap(),
        std::slice::from_ref(&shown)
    );
    assert_eq!(store.printer_invitations(&ann, &printer, at(2)).await.unwrap(), [shown]);
    let accepted = store.accept_printer_invitation(&bob, &token, at(2)).await.unwrap();
    assert_eq!(accepted, Some((printer.clone(), Role::Viewer)));
    assert_eq!(store.accept_printer_invitation(&bob, &token, at(2)).await.unwrap(), None);
    let seen = store.printers_of(&bob).await.unwrap();
    assert_eq!((seen.len(), seen[0].role, &seen[0].summary.account), (1, Role::Viewer, &ann));
    assert_eq!(store.printer_of(&bob, &printer).await.unwrap(), seen[0]);
    let members = store.members(&ann, &printer).await.unwrap();
    assert_eq!((members.len(), &members[0].account, members[0].role), (1, &bob, Role::Viewer));

    // Another invitation is another role.
    let token = store.invite_member(&ann, &printer, &email("bob@example.org"), Role::Operator, at(3)).await.unwrap();
    store.accept_printer_invitation(&bob, &token, at(3)).await.unwrap().unwrap();
    assert_eq!(store.printer_of(&bob, &printer).await.unwrap().role, Role::Operator);

    expect_not_found(store.leave_printer(&ann, &printer, at(4)).await);
    store.leave_printer(&bob, &printer, at(4)).await.unwrap();
    expect_not_found(store.printer_of(&bob, &printer).await);
    expect_not_found(store.remove_member(&ann, &printer, &bob, at(4)).await);
}

#[tokio::test]
async fn members_do_not_own() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    let printer = link_printer(&store, &ann).await;
    let token = store.invite_member(&ann, &printer, &email("bob@example.org"), Role::Operator, at(1)).await.unwrap();
    store.accept_printer_invitation(&bob, &token, at(1)).await.unwrap().unwrap();
    let shared = store.create_shared_connection_of(&ann, &printer, None, None, at(1)).await.unwrap();
    expect_not_found(store.rename_own_printer(&bob, &printer, &name("Mine"), at(2)).await);
    expect_not_found(store.unlink_printer(&bob, &printer, at(2)).await);
    expect_not_found(store.members(&bob, &printer).await);
    expect_not_found(store.remove_member(&bob, &printer, &bob, at(2)).await);
    expect_not_found(store.invite_member(&bob, &printer, &email("eve@example.org"), Role::Viewer, at(2)).await);
    expect_not_found(store.create_shared_connection_of(&bob, &printer, None, None, at(2)).await);
    expect_not_found(store.revoke_connection_of(&bob, &shared.id, at(2)).await);
    expect_not_found(store.connections_of(&bob, Some(&printer)).await);
    assert!(store.connections_of(&bob, None).await.unwrap().is_empty());
    // Operators hand out live links, viewers do not.
    let end = LiveEnd::At(at(100));
    store.create_live_link(&bob, &printer, end.clone(), None, at(2)).await.unwrap();
    let token = store.invite_member(&ann, &printer, &email("bob@example.org"), Role::Viewer, at(3)).await.unwrap();
    store.accept_printer_invitation(&bob, &token, at(3)).await.unwrap().unwrap();
    expect_not_found(store.create_live_link(&bob, &printer, end, None, at(3)).await);
    assert!(store.live_links_of(&bob, None).await.unwrap().is_empty());
    assert_eq!(store.live_links_of(&ann, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_invitation_is_for_one_address_one_week_and_one_owner() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    let eve = add_account(&store, "eve@example.org").await;
    let printer = link_printer(&store, &ann).await;
    let to_bob = email("bob@example.org");
    expect_invalid(store.invite_member(&ann, &printer, &email("ann@example.org"), Role::Viewer, at(0)).await);

    let first = store.invite_member(&ann, &printer, &to_bob, Role::Viewer, at(0)).await.unwrap();
    let token = store.invite_member(&ann, &printer, &to_bob, Role::Viewer, at(0)).await.unwrap();
    assert_eq!(store.accept_printer_invitation(&bob, &first, at(1)).await.unwrap(), None, "it was replaced");
    assert_eq!(store.accept_printer_invitation(&eve, &token, at(1)).await.unwrap(), None, "it is not hers");
    assert_eq!(store.accept_printer_invitation(&bob, &token, at(7 * DAY)).await.unwrap(), None, "it has expired");
    let listed = store.printer_invitations(&ann, &printer, at(1)).await.unwrap();
    expect_not_found(store.withdraw_printer_invitation(&eve, &printer, &listed[0].id).await);
    store.withdraw_printer_invitation(&ann, &printer, &listed[0].id).await.unwrap();
    expect_not_found(store.withdraw_printer_invitation(&ann, &printer, &listed[0].id).await);
    assert_eq!(store.accept_printer_invitation(&bob, &token, at(1)).await.unwrap(), None, "it was withdrawn");

    // The printer goes, and the invitation with it.
    let token = store.invite_member(&ann, &printer, &to_bob, Role::Viewer, at(1)).await.unwrap();
    store.unlink_printer(&ann, &printer, at(2)).await.unwrap();
    assert_eq!(store.printer_invitation(&token, at(2)).await.unwrap(), None);
    assert_eq!(store.accept_printer_invitation(&bob, &token, at(2)).await.unwrap(), None);
    assert!(store.printer_invitations_for(&to_bob, at(2)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_printer_that_is_handed_over_starts_clean() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let (ann, bob) = (add_account(store, "ann@example.org").await, add_account(store, "bob@example.org").await);
    let eve = add_account(store, "eve@example.org").await;
    let printer = link_printer(store, &ann).await;
    let label = store.printer_of(&ann, &printer).await.unwrap().owner_label;
    let shared = store.create_shared_connection_of(&ann, &printer, None, None, at(1)).await.unwrap();
    let live = store.create_live_link(&ann, &printer, LiveEnd::At(at(100)), None, at(1)).await.unwrap();
    let to_eve = store.invite_member(&ann, &printer, &email("eve@example.org"), Role::Viewer, at(1)).await.unwrap();
    store.accept_printer_invitation(&eve, &to_eve, at(1)).await.unwrap().unwrap();
    let enrolment = store.issue_enrolment(&printer, at(1)).await.unwrap().token;
    let open = store.invite_member(&ann, &printer, &email("eve@example.org"), Role::Operator, at(1)).await.unwrap();
    let token = store.invite_member(&ann, &printer, &email("bob@example.org"), Role::Owner, at(1)).await.unwrap();
    let (session, _) = store.create_session(&ann, browser(), at(1)).await.unwrap();
    let visit = store.create_owner_visit(&session, &printer, at(1)).await.unwrap();

    let outcomes = at_once(&fresh, |store, _| {
        let (bob, token) = (bob.clone(), token.clone());
        async move { store.accept_printer_invitation(&bob, &token, at(2)).await.unwrap() }
    })
    .await;
    assert_eq!(outcomes.iter().flatten().count(), 1);
    let own = store.printer_of(&bob, &printer).await.unwrap();
    assert_eq!((own.role, &own.summary.account), (Role::Owner, &bob));
    assert_ne!(own.owner_label, label);
    expect_not_found(store.printer_of(&ann, &printer).await);
    expect_not_found(store.printer_of(&eve, &printer).await);
    expect_dead(store, ConnectionKind::Shared, &shared.label, DeathReason::Revoked).await;
    assert_eq!(store.live_link(&live).await.unwrap(), None);
    assert_eq!(store.accept_printer_invitation(&eve, &open, at(2)).await.unwrap(), None);
    assert_eq!(store.owner_visit(&visit, at(2)).await.unwrap(), None);
    let enrolled = store.enrol_agent(&enrolment, &Secret::generate(), at(2)).await.unwrap();
    assert_eq!(enrolled, EnrolOutcome::InvalidToken, "the owner before cannot put another agent in its place");
}

#[tokio::test]
async fn members_are_bounded() {
    let Fresh { store, directory: _directory } = fresh().await;
    let ann = add_account(&store, "ann@example.org").await;
    let printer = link_printer(&store, &ann).await;
    let mut tokens = HashSet::new();
    for index in 0..100 {
        let to = email(&format!("friend{index}@example.org"));
        let token = store.invite_member(&ann, &printer, &to, Role::Viewer, at(0)).await.unwrap();
        tokens.insert(token.expose().to_owned());
    }
    assert_eq!(tokens.len(), 100);
    let one_more = email("one-more@example.org");
    let refused = store.invite_member(&ann, &printer, &one_more, Role::Viewer, at(0)).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    store.invite_member(&ann, &printer, &one_more, Role::Viewer, at(7 * DAY)).await.unwrap();
}

#[tokio::test]
async fn an_owner_visit_hangs_on_session_and_role() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    let printer = link_printer(&store, &ann).await;
    let (session, _) = store.create_session(&bob, browser(), at(0)).await.unwrap();
    expect_not_found(store.create_owner_visit(&session, &printer, at(0)).await);
    expect_not_found(store.create_owner_visit(&"nobody".parse().unwrap(), &printer, at(0)).await);
    let accept = async |role| {
        let token = store.invite_member(&ann, &printer, &email("bob@example.org"), role, at(0)).await.unwrap();
        store.accept_printer_invitation(&bob, &token, at(0)).await.unwrap().unwrap();
    };
    accept(Role::Viewer).await;
    expect_not_found(store.create_owner_visit(&session, &printer, at(0)).await);
    accept(Role::Operator).await;
    let visit = store.create_owner_visit(&session, &printer, at(0)).await.unwrap();
    let found = store.owner_visit(&visit, at(1)).await.unwrap().unwrap();
    assert_eq!((&found.session, &found.account, &found.printer), (&session, &bob, &printer));
    assert_eq!((found.role, found.plan), (Role::Operator, model::Plan::unlimited()));
    assert_eq!(store.printer_by_owner_label(&found.label).await.unwrap(), Some(printer.clone()));
    assert!(store.owner_visit(&Secret::generate(), at(1)).await.unwrap().is_none());
    assert!(store.owner_visit(&visit, at(14 * DAY)).await.unwrap().is_none(), "the session was idle for too long");

    // The role shrinks and grows again.
    accept(Role::Viewer).await;
    assert!(store.owner_visit(&visit, at(1)).await.unwrap().is_none());
    accept(Role::Operator).await;
    assert!(store.owner_visit(&visit, at(1)).await.unwrap().is_some());
    // Two tabs may enter at once; a browser does not fill the table.
    let mut visits = Vec::new();
    for second in 1..=5 {
        visits.push(store.create_owner_visit(&session, &printer, at(second)).await.unwrap());
    }
    assert!(store.owner_visit(&visit, at(6)).await.unwrap().is_none());
    assert!(store.owner_visit(&visits[0], at(6)).await.unwrap().is_some());
    store.end_session(&bob, &session, at(6)).await.unwrap();
    assert!(store.owner_visit(&visits[4], at(6)).await.unwrap().is_none());
    expect_not_found(store.create_owner_visit(&session, &printer, at(6)).await);
}

#[test]
fn roles_are_ordered_and_have_names() {
    assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Owner);
    for role in [Role::Viewer, Role::Operator, Role::Owner] {
        assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
    }
    expect_invalid("admin".parse::<Role>());
}
