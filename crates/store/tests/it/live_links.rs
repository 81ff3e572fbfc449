//! Links by which everybody may watch.

use model::LiveId;
use store::{ChangeSubject, LiveEnd, StoreError};

use crate::support::*;

fn with_print(print_id: &str) -> LiveEnd {
    LiveEnd::WithPrint { print_id: print_id.to_owned() }
}

#[tokio::test]
async fn a_live_link_ends_with_a_result_and_a_picture() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let ann = add_account(store, "ann@example.org").await;
    let printer = link_printer(store, &ann).await;
    let by: model::ConnectionId = "app1".parse().unwrap();
    let timed = store.create_live_link(&ann, &printer, LiveEnd::At(at(100)), None, at(0)).await.unwrap();
    let id = store.create_live_link(&ann, &printer, with_print("p1"), Some(by.clone()), at(1)).await.unwrap();
    assert_eq!(id.as_str().len(), 32);
    let record = store.live_link(&id).await.unwrap().unwrap();
    assert_eq!((&record.printer, &record.account, record.printer_name.as_str()), (&printer, &ann, "Left"));
    assert_eq!((&record.end, record.by, record.created_at), (&with_print("p1"), Some(by), at(1)));
    assert_eq!((record.ended_at, record.result_json, record.picture), (None, None, None));
    assert_eq!(store.live_link(&timed).await.unwrap().unwrap().end, LiveEnd::At(at(100)));
    assert_eq!(store.live_link(&LiveId::generate()).await.unwrap(), None);
    let waiting = store.live_links_with_print(&printer).await.unwrap();
    assert_eq!(waiting.iter().map(|link| &link.id).collect::<Vec<_>>(), [&id]);

    let seq = store.latest_change().await.unwrap();
    let outcomes = at_once(&fresh, |store, index| {
        let (id, picture) = (id.clone(), vec![u8::try_from(index).unwrap(); 2 << 20]);
        async move { store.end_live_link(&id, Some("{}".to_owned()), Some(picture), at(2)).await.unwrap() }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|ended| **ended).count(), 1);
    let changes = store.changes_since(seq).await.unwrap();
    assert_eq!(
        changes.iter().map(|change| &change.subject).collect::<Vec<_>>(),
        [&ChangeSubject::Printer(printer.clone())]
    );
    let record = store.live_link(&id).await.unwrap().unwrap();
    assert_eq!((record.ended_at, record.result_json.as_deref()), (Some(at(2)), Some("{}")));
    assert_eq!(record.picture.unwrap().len(), 2 << 20);
    assert!(store.live_links_with_print(&printer).await.unwrap().is_empty());
    let listed = store.live_links_of(&ann, Some(&printer)).await.unwrap();
    assert_eq!(listed.iter().map(|link| &link.id).collect::<Vec<_>>(), [&id, &timed]);

    expect_invalid(store.end_live_link(&timed, None, Some(vec![0; (2 << 20) + 1]), at(3)).await);
    expect_invalid(store.create_live_link(&ann, &printer, LiveEnd::At(at(5)), None, at(5)).await);
    expect_invalid(store.create_live_link(&ann, &printer, with_print(""), None, at(5)).await);
    expect_not_found(store.end_live_link(&LiveId::generate(), None, None, at(3)).await);
    store.revoke_live_link(&ann, &timed, at(3)).await.unwrap();
    assert_eq!(store.live_link(&timed).await.unwrap(), None);
    let error = store.revoke_live_link(&ann, &timed, at(3)).await.unwrap_err();
    assert!(!error.to_string().contains(timed.as_str()), "what opens a link is not written out");

    assert_eq!(store.prune(at(30 * DAY)).await.unwrap().n_live_links, 0);
    assert_eq!(store.prune(at(31 * DAY)).await.unwrap().n_live_links, 1);
}

#[tokio::test]
async fn live_links_are_bounded_and_go_with_the_printer() {
    let Fresh { store, directory: _directory } = fresh().await;
    let ann = add_account(&store, "ann@example.org").await;
    let printer = link_printer(&store, &ann).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(store.create_live_link(&ann, &printer, with_print("p1"), None, at(0)).await.unwrap());
    }
    let refused = store.create_live_link(&ann, &printer, with_print("p1"), None, at(0)).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    store.end_live_link(&ids[0], None, None, at(1)).await.unwrap();
    store.create_live_link(&ann, &printer, with_print("p1"), None, at(1)).await.unwrap();
    store.unlink_printer(&ann, &printer, at(2)).await.unwrap();
    assert_eq!(store.live_link(&ids[1]).await.unwrap(), None);
}
