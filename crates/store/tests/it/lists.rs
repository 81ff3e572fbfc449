//! Lists, and the texts that are let into them.

use store::{ConnectionKind, EmailAddress, Feature, Name, PasswordHash, PasswordRefused};

use crate::support::*;

#[tokio::test]
async fn lists_show_what_was_made_oldest_first() {
    let Fresh { store, directory: _directory } = fresh().await;
    let (ann, bob) = (email("ann@example.org"), email("bob@example.org"));
    let password = PasswordHash::create(&secret("correct horse")).unwrap();
    store.set_plan("small", at(1), |plan| plan.limits.max_upload_bytes = Some(0)).await.unwrap();
    store.add_account(&bob, Some("small"), None, at(1)).await.unwrap();
    store.add_account(&ann, None, Some(&password), at(2)).await.unwrap();
    let left = store.add_printer(&ann, &name("Left"), at(3)).await.unwrap();
    let right = store.add_printer(&ann, &name("Right"), at(4)).await.unwrap();
    let app = store.create_app_connection(&left.id, &name("App"), Some(at(90)), at(5)).await.unwrap();
    let open = store.create_shared_connection(&right.id, None, None, at(6)).await.unwrap();
    let locked = store.create_shared_connection(&left.id, Some(&password), None, at(7)).await.unwrap();
    store.grant_beta(&ann, &feature("gadget-api"), at(8)).await.unwrap();
    store.grant_beta(&ann, &feature("gadget-api"), at(9)).await.unwrap();

    let accounts = store.accounts().await.unwrap();
    assert!(!accounts.is_cut_off);
    let accounts: Vec<_> = accounts
        .rows
        .iter()
        .map(|row| (row.email.as_str(), row.plan.as_str(), row.has_password, row.n_printers, row.created_at))
        .collect();
    assert_eq!(
        accounts,
        [("bob@example.org", "small", false, 0, at(1)), ("ann@example.org", "unlimited", true, 2, at(2))]
    );

    let plans = store.plans().await.unwrap().rows;
    let plans: Vec<_> = plans.iter().map(|row| (row.plan.name.as_str(), row.n_accounts)).collect();
    assert_eq!(plans, [("unlimited", 1), ("small", 1)]);

    let printers = store.printers(None).await.unwrap().rows;
    assert_eq!(printers.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), [left.id.clone(), right.id.clone()]);
    assert!(printers.iter().all(|row| row.owner == ann && !row.is_enrolled && row.last_connected_at.is_none()));
    assert!(store.printers(Some(&bob)).await.unwrap().rows.is_empty());

    let apps = store.connections(ConnectionKind::App, None).await.unwrap().rows;
    assert_eq!(apps.len(), 1);
    assert_eq!((&apps[0].id, &apps[0].label, &apps[0].owner), (&app.id, &app.label, &ann));
    assert_eq!((apps[0].app_name.as_deref(), apps[0].expires_at), (Some("App"), Some(at(90))));
    let shared = store.connections(ConnectionKind::Shared, None).await.unwrap().rows;
    let shared: Vec<_> = shared.iter().map(|row| (&row.id, row.has_credentials, row.printer_name.as_str())).collect();
    assert_eq!(shared, [(&open.id, false, "Right"), (&locked.id, true, "Left")]);
    let of_right = store.connections(ConnectionKind::Shared, Some(&right.id)).await.unwrap().rows;
    assert_eq!(of_right.iter().map(|row| row.id.clone()).collect::<Vec<_>>(), [open.id]);

    let grants = store.beta_grants().await.unwrap().rows;
    assert_eq!(grants.len(), 1);
    assert_eq!((&grants[0].email, grants[0].feature.as_str(), grants[0].granted_at), (&ann, "gadget-api", at(8)));
    let account = store.accounts().await.unwrap().rows[1].id.clone();
    assert!(store.has_beta(&account, &feature("gadget-api")).await.unwrap());
    assert!(!store.has_beta(&account, &feature("other")).await.unwrap());
    store.revoke_beta(&ann, &feature("gadget-api"), at(10)).await.unwrap();
    assert!(!store.has_beta(&account, &feature("gadget-api")).await.unwrap());
}

#[tokio::test]
async fn a_list_that_is_too_long_says_so() {
    let Fresh { store, directory } = fresh().await;
    let fill = |from: u32, to: u32| {
        format!(
            "INSERT INTO account (id, email, plan, created_at)
             WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})
             SELECT 'a' || i, 'a' || i || '@example.org', 'unlimited', i FROM n"
        )
    };
    sql(directory.path(), &fill(1, 10_000)).await;
    let all = store.accounts().await.unwrap();
    assert_eq!((all.rows.len(), all.is_cut_off), (10_000, false));
    sql(directory.path(), &fill(10_001, 10_001)).await;
    let cut = store.accounts().await.unwrap();
    assert_eq!((cut.rows.len(), cut.is_cut_off), (10_000, true));
}

#[test]
fn texts_are_checked_before_they_get_in() {
    assert_eq!(" Ann@Example.ORG ".parse::<EmailAddress>().unwrap().as_str(), "ann@example.org");
    for bad in ["", "ann", "@example.org", "ann@", "a b@example.org", "a\u{7}@b", &format!("{}@b", "a".repeat(254))] {
        assert!(bad.parse::<EmailAddress>().is_err(), "{bad:?}");
    }
    assert_eq!("  Prusa der Große 🖨 ".parse::<Name>().unwrap().as_str(), "Prusa der Große 🖨");
    for bad in ["", "  ", "a\nb", "a\u{1b}[31mb", &"ä".repeat(101)] {
        assert!(bad.parse::<Name>().is_err(), "{bad:?}");
    }
    for bad in ["", "Gadget", "a b", &"a".repeat(65)] {
        assert!(bad.parse::<Feature>().is_err(), "{bad:?}");
    }
}

#[test]
fn passwords_are_of_some_length_and_never_shown() {
    assert_eq!(PasswordHash::create(&secret("1234567")), Err(PasswordRefused::TooShort));
    assert_eq!(PasswordHash::create(&secret(&"a".repeat(1025))), Err(PasswordRefused::TooLong));
    let hash = PasswordHash::create(&secret("pässwörd")).unwrap();
    assert_ne!(hash, PasswordHash::create(&secret("pässwörd")).unwrap());
    assert_eq!(format!("{hash:?}"), "PasswordHash(…)");
    assert!(hash.verify(&secret("pässwörd")));
    for wrong in ["", "passwort", "pässwörd ", &"a".repeat(5000)] {
        assert!(!hash.verify(&secret(wrong)), "{wrong:?}");
        assert!(!PasswordHash::dummy().verify(&secret(wrong)), "{wrong:?}");
    }
}
