//! Two tenants: what is the one's is not there for the other, exactly as if it did not exist.

use std::collections::BTreeMap;

use model::{AccountId, ConnectionId, LiveId, PrinterId, TokenId};
use store::{AppIdentity, LiveEnd, Role, Store, StoreError};

use crate::support::*;

struct Things {
    printer: PrinterId,
    connection: ConnectionId,
    live: LiveId,
    invitation: TokenId,
    session: model::SessionId,
    member: AccountId,
}

/// Does everything that takes an account and somebody's thing, and gives what was said.
async fn try_everything(store: &Store, account: &AccountId, things: &Things) -> BTreeMap<&'static str, String> {
    let mut said = BTreeMap::new();
    let mut note = |method, outcome: Result<(), StoreError>| {
        let error = outcome.expect_err(method);
        assert!(matches!(error, StoreError::NotFound { .. }), "{method}: {error}");
        said.insert(method, error.to_string());
    };
    let printer = &things.printer;
    let app = AppIdentity { app_id: None, name: name("Gadget") };
    let end = LiveEnd::At(at(100));
    let friend = email("friend@example.org");
    note("printer_of", store.printer_of(account, printer).await.map(drop));
    note("rename", store.rename_own_printer(account, printer, &name("Mine"), at(1)).await);
    note("unlink", store.unlink_printer(account, printer, at(1)).await);
    note("members", store.members(account, printer).await.map(drop));
    note("remove_member", store.remove_member(account, printer, &things.member, at(1)).await);
    note("leave", store.leave_printer(account, printer, at(1)).await);
    note("invite", store.invite_member(account, printer, &friend, Role::Viewer, at(1)).await.map(drop));
    note("invitations", store.printer_invitations(account, printer, at(1)).await.map(drop));
    note("withdraw", store.withdraw_printer_invitation(account, printer, &things.invitation).await);
    note("create_app", store.create_app_connection_of(account, printer, &app, None, at(1)).await.map(drop));
    note("create_shared", store.create_shared_connection_of(account, printer, None, None, at(1)).await.map(drop));
    note("connections", store.connections_of(account, Some(printer)).await.map(drop));
    note("full_control", store.set_full_control_of(account, &things.connection, true, at(1)).await.map(drop));
    note("revoke", store.revoke_connection_of(account, &things.connection, at(1)).await.map(drop));
    note("create_live", store.create_live_link(account, printer, end, None, at(1)).await.map(drop));
    note("live_links", store.live_links_of(account, Some(printer)).await.map(drop));
    note("revoke_live", store.revoke_live_link(account, &things.live, at(1)).await);
    note("end_session", store.end_session(account, &things.session, at(1)).await);
    said
}

#[tokio::test]
async fn what_is_another_s_is_answered_as_if_it_was_not_there() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (add_account(&store, "ann@example.org").await, add_account(&store, "bob@example.org").await);
    let eve = add_account(&store, "eve@example.org").await;
    let printer = link_printer(&store, &ann).await;
    let token = store.invite_member(&ann, &printer, &email("eve@example.org"), Role::Viewer, at(0)).await.unwrap();
    store.accept_printer_invitation(&eve, &token, at(0)).await.unwrap().unwrap();
    store.invite_member(&ann, &printer, &email("guest@example.org"), Role::Viewer, at(0)).await.unwrap();
    let of_ann = Things {
        connection: store.create_shared_connection_of(&ann, &printer, None, None, at(0)).await.unwrap().id,
        live: store.create_live_link(&ann, &printer, LiveEnd::At(at(100)), None, at(0)).await.unwrap(),
        invitation: store.printer_invitations(&ann, &printer, at(0)).await.unwrap()[0].id.clone(),
        session: store.create_session(&ann, browser(), at(0)).await.unwrap().0,
        member: eve.clone(),
        printer,
    };
    let unknown = Things {
        printer: PrinterId::generate(),
        connection: ConnectionId::generate(),
        live: LiveId::generate(),
        invitation: TokenId::generate(),
        session: model::SessionId::generate(),
        member: AccountId::generate(),
    };
    // Somebody with a printer of his own, so that nothing is refused merely because he has none.
    link_printer(&store, &bob).await;
    let seq = store.latest_change().await.unwrap();
    let about_ann_s = try_everything(&store, &bob, &of_ann).await;
    let about_unknown = try_everything(&store, &bob, &unknown).await;
    assert_eq!(about_ann_s.len(), 18);
    for (method, said) in about_ann_s {
        // The message names what was asked for and nothing else.
        let said = said.split('`').next().unwrap().to_owned();
        assert_eq!(Some(said.as_str()), about_unknown[method].split('`').next(), "{method}");
    }
    assert_eq!(store.latest_change().await.unwrap(), seq, "nothing was changed");
    assert!(store.connections_of(&bob, None).await.unwrap().is_empty());
    assert!(store.live_links_of(&bob, None).await.unwrap().is_empty());
    assert_eq!(store.printers_of(&bob).await.unwrap().len(), 1);
    assert!(!store.has_session(&bob, &of_ann.session, at(1)).await.unwrap());

    // A viewer sees the printer, and may do no more of it than leave.
    assert_eq!(store.printer_of(&eve, &of_ann.printer).await.unwrap().role, Role::Viewer);
    expect_not_found(store.connections_of(&eve, Some(&of_ann.printer)).await);
    expect_not_found(store.live_links_of(&eve, Some(&of_ann.printer)).await);
    expect_not_found(store.revoke_connection_of(&eve, &of_ann.connection, at(1)).await);
    expect_not_found(store.revoke_live_link(&eve, &of_ann.live, at(1)).await);
    store.leave_printer(&eve, &of_ann.printer, at(1)).await.unwrap();
    store.revoke_connection_of(&ann, &of_ann.connection, at(1)).await.unwrap();
    store.revoke_live_link(&ann, &of_ann.live, at(1)).await.unwrap();
}
