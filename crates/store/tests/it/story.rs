//! The life of an account, from the first plan to the last stub.

use std::time::Duration;

use model::{Limits, Plan, WebcamWindow};
use store::{
    AgentAuth, AgentSeen, ConnectionCredentials, ConnectionKind, ConnectionLookup, DeathReason, EnrolOutcome,
    PasswordHash, SiteAddress, StoreError, Subject,
};

use crate::support::*;

#[tokio::test]
async fn an_account_from_beginning_to_end() {
    let Fresh { store, directory } = fresh().await;
    let ann = email("Ann@Example.org");
    let limits = Limits {
        max_upload_bytes: Some(1 << 40),
        max_download_bytes: Some(5),
        webcam_stream: Some(Duration::from_secs(60)),
        webcam_window: Some(WebcamWindow { window: Duration::from_secs(3600), total: Duration::from_secs(600) }),
    };

    // An operator sets up a plan, an account and a printer.
    let plan = store.set_plan("small", at(0), |plan| plan.limits = limits).await.unwrap();
    assert_eq!(plan, Plan { name: "small".to_owned(), supporter: true, limits });
    let password = PasswordHash::create(&secret("correct horse")).unwrap();
    let account = store.add_account(&ann, Some("small"), Some(&password), at(1)).await.unwrap();
    let printer = store.add_printer(&ann, &name("Left"), at(2)).await.unwrap();
    assert_eq!(printer.account, account);

    // Its agent enrols and connects.
    let key = secret("the agent's key");
    let enrolled = store.enrol_agent(&printer.token, &key, at(3)).await.unwrap();
    assert_eq!(enrolled, EnrolOutcome::Enrolled { printer: printer.id.clone(), name: "Left".to_owned() });
    let accepted = store.authenticate_agent(&printer.id, &key).await.unwrap();
    assert_eq!(accepted, AgentAuth::Accepted { name: "Left".to_owned(), account: account.clone() });
    let seen = AgentSeen {
        agent_version: "0.1.0".to_owned(),
        software: "octoprint".to_owned(),
        software_version: "1.11.3".to_owned(),
        lan_ip: "192.168.1.20".to_owned(),
    };
    store.record_agent_connected(&printer.id, at(4), &seen).await.unwrap();
    store.rename_printer(&printer.id, &name("Right"), at(5)).await.unwrap();

    // An app and a friend get in.
    let app = store.create_app_connection(&printer.id, &name("An app"), Some(at(100)), at(6)).await.unwrap();
    assert_eq!((app.printer_name.as_str(), app.printer_lan_ip.as_deref()), ("Right", Some("192.168.1.20")));
    let record = alive(&store, ConnectionKind::App, &app.label).await;
    assert_eq!((&record.id, &record.printer, &record.account), (&app.id, &printer.id, &account));
    assert_eq!((record.app_name.as_deref(), record.expires_at), (Some("An app"), Some(at(100))));
    assert_eq!(record.plan, plan);
    let ConnectionCredentials::App { basic_user, basic_password, bearer } = &record.credentials else {
        panic!("{:?}", record.credentials)
    };
    assert_eq!(*basic_user, app.basic_user);
    assert!(basic_password.matches(app.basic_password.expose()) && bearer.matches(app.bearer.expose()));

    let open_link = store.create_shared_connection(&printer.id, None, None, at(7)).await.unwrap();
    let record = alive(&store, ConnectionKind::Shared, &open_link.label).await;
    assert!(matches!(record.credentials, ConnectionCredentials::Open));
    let locked_link = store.create_shared_connection(&printer.id, Some(&password), None, at(8)).await.unwrap();
    let record = alive(&store, ConnectionKind::Shared, &locked_link.label).await;
    let ConnectionCredentials::Password(stored) = &record.credentials else { panic!("{:?}", record.credentials) };
    assert!(stored.verify(&secret("correct horse")) && !stored.verify(&secret("wrong horse")));

    // The process ends and another one takes over.
    store.close().await;
    let store = open(directory.path()).await;
    assert_eq!(alive(&store, ConnectionKind::App, &app.label).await.id, app.id);
    let listed = store.printer(&printer.id).await.unwrap();
    assert_eq!((listed.name.as_str(), &listed.seen, listed.is_enrolled), ("Right", &seen, true));

    // The plan shrinks, the friend's link is revoked, the printer goes, the account goes.
    store.set_plan("small", at(9), |plan| plan.supporter = false).await.unwrap();
    let record = alive(&store, ConnectionKind::App, &app.label).await;
    assert_eq!((record.plan.supporter, record.plan.limits), (false, limits));
    store.set_account_plan(&ann, Plan::DEFAULT_NAME, at(10)).await.unwrap();
    assert_eq!(alive(&store, ConnectionKind::App, &app.label).await.plan, Plan::unlimited());
    store.revoke_connection(ConnectionKind::Shared, &open_link.id, at(11)).await.unwrap();
    expect_dead(&store, ConnectionKind::Shared, &open_link.label, DeathReason::Revoked).await;
    store.remove_printer(&printer.id, at(12)).await.unwrap();
    expect_dead(&store, ConnectionKind::App, &app.label, DeathReason::PrinterRemoved).await;
    expect_dead(&store, ConnectionKind::Shared, &locked_link.label, DeathReason::PrinterRemoved).await;
    assert_eq!(store.authenticate_agent(&printer.id, &key).await.unwrap(), AgentAuth::Removed);
    store.delete_account(&ann, at(13)).await.unwrap();
    let by_id = store.connection_by_id(&app.id).await.unwrap();
    assert!(matches!(by_id, ConnectionLookup::Dead(DeathReason::PrinterRemoved)), "{by_id:?}");
    assert!(store.accounts().await.unwrap().rows.is_empty());
    expect_intact(directory.path()).await;
}

#[tokio::test]
async fn deleting_an_account_ends_what_hangs_on_it_and_nothing_else() {
    let Fresh { store, directory } = fresh().await;
    let (ann, bob) = (email("ann@example.org"), email("bob@example.org"));
    let mut labels = Vec::new();
    for owner in [&ann, &bob] {
        store.add_account(owner, None, None, at(0)).await.unwrap();
        store.grant_beta(owner, &feature("gadget-api"), at(0)).await.unwrap();
        for printer in ["Left", "Right"] {
            let printer = store.add_printer(owner, &name(printer), at(0)).await.unwrap();
            labels.push(add_app(&store, &printer.id).await.label);
        }
    }
    store.delete_account(&ann, at(1)).await.unwrap();
    for label in &labels[..2] {
        expect_dead(&store, ConnectionKind::App, label, DeathReason::AccountDeleted).await;
    }
    for label in &labels[2..] {
        alive(&store, ConnectionKind::App, label).await;
    }
    assert_eq!(store.beta_grants().await.unwrap().rows.len(), 1);
    expect_intact(directory.path()).await;

    // The address is free again, and begins from nothing.
    store.add_account(&ann, None, None, at(2)).await.unwrap();
    assert!(store.printers(Some(&ann)).await.unwrap().rows.is_empty());
}

#[tokio::test]
async fn an_account_with_very_many_connections_can_be_deleted() {
    let Fresh { store, directory } = fresh().await;
    let printer = add_printer(&store).await;
    let app = add_app(&store, &printer.id).await;
    // More than SQLite takes values in one statement.
    sql(
        directory.path(),
        "INSERT INTO connection (id, kind, label, printer_id, app_name, basic_user, basic_password_hash, bearer_hash,
             app_token_hash, created_at)
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
         SELECT 'many' || i, kind, 'many' || i, printer_id, app_name, basic_user, basic_password_hash, bearer_hash,
             app_token_hash, created_at
         FROM n, connection",
    )
    .await;
    alive(&store, ConnectionKind::App, &"many40000".parse().unwrap()).await;
    store.delete_account(&email("ann@example.org"), at(1)).await.unwrap();
    for label in [app.label, "many1".parse().unwrap(), "many40000".parse().unwrap()] {
        expect_dead(&store, ConnectionKind::App, &label, DeathReason::AccountDeleted).await;
    }
}

#[tokio::test]
async fn what_is_missing_or_in_the_way_is_named() {
    let Fresh { store, directory: _directory } = fresh().await;
    let printer = add_printer(&store).await;
    let (ann, nobody) = (email("ann@example.org"), email("nobody@example.org"));

    let conflict = store.add_account(&email("ANN@example.org"), None, None, at(0)).await.unwrap_err();
    assert!(matches!(&conflict, StoreError::Conflict { subject: Subject::Account, key } if key == "ann@example.org"));
    let no_plan = store.add_account(&nobody, Some("gold"), None, at(0)).await.unwrap_err();
    assert!(matches!(&no_plan, StoreError::NotFound { subject: Subject::Plan, key } if key == "gold"));
    let stranger = "strange".parse().unwrap();
    let missing = [
        (store.set_account_plan(&ann, "gold", at(0)).await, Subject::Plan),
        (store.set_account_plan(&nobody, "unlimited", at(0)).await, Subject::Account),
        (store.delete_account(&nobody, at(0)).await, Subject::Account),
        (store.add_printer(&nobody, &name("Left"), at(0)).await.map(drop), Subject::Account),
        (store.rename_printer(&stranger, &name("Left"), at(0)).await, Subject::Printer),
        (store.remove_printer(&stranger, at(0)).await, Subject::Printer),
        (store.issue_enrolment(&stranger, at(0)).await.map(drop), Subject::Printer),
        (store.create_app_connection(&stranger, &name("App"), None, at(0)).await.map(drop), Subject::Printer),
        (store.create_shared_connection(&stranger, None, None, at(0)).await.map(drop), Subject::Printer),
        (store.connections(ConnectionKind::App, Some(&stranger)).await.map(drop), Subject::Printer),
        (store.grant_beta(&nobody, &feature("gadget-api"), at(0)).await, Subject::Account),
        (store.revoke_beta(&ann, &feature("gadget-api"), at(0)).await, Subject::BetaGrant),
    ];
    for (outcome, expected) in missing {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::NotFound { subject, .. } if *subject == expected), "{error}");
        assert!(!error.is_infrastructure());
    }

    // A connection of the other kind is not there, and lives on.
    let app = add_app(&store, &printer.id).await;
    let error = store.revoke_connection(ConnectionKind::Shared, &app.id, at(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { subject: Subject::SharedConnection, .. }));
    alive(&store, ConnectionKind::App, &app.label).await;

    let past = store.create_app_connection(&printer.id, &name("App"), Some(at(5)), at(5)).await.unwrap_err();
    assert!(matches!(past, StoreError::Invalid(_)));
}

#[tokio::test]
async fn plans_refuse_limits_that_make_no_sense() {
    let Fresh { store, directory: _directory } = fresh().await;
    let window =
        |window, total| Some(WebcamWindow { window: Duration::from_secs(window), total: Duration::from_secs(total) });
    let refused = [
        Limits { max_upload_bytes: Some(u64::MAX), ..Limits::default() },
        Limits { webcam_stream: Some(Duration::ZERO), ..Limits::default() },
        Limits { webcam_window: window(10, 11), ..Limits::default() },
        Limits { webcam_window: window(0, 0), ..Limits::default() },
        Limits { webcam_window: window(u64::from(u32::MAX), 1), ..Limits::default() },
    ];
    for limits in refused {
        let error = store.set_plan("odd", at(0), |plan| plan.limits = limits).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)), "{limits:?}: {error}");
    }
    for bad in ["", "a b", "ä", &"a".repeat(65)] {
        assert!(matches!(store.set_plan(bad, at(0), |_| ()).await, Err(StoreError::Invalid(_))), "{bad:?}");
    }
    let plans = store.plans().await.unwrap().rows;
    assert_eq!(plans.into_iter().map(|row| row.plan).collect::<Vec<_>>(), [Plan::unlimited()]);
}

#[tokio::test]
async fn the_site_address_is_the_last_one_set() {
    let Fresh { store, directory: _directory } = fresh().await;
    assert_eq!(store.site_address().await.unwrap(), None);
    let mut address = SiteAddress {
        scheme: "http".to_owned(),
        domain: "localhost:8080".to_owned(),
        printers_domain: "localhost:8080".to_owned(),
    };
    store.set_site_address(&address).await.unwrap();
    address.scheme = "https".to_owned();
    address.printers_domain = "printers.example".to_owned();
    store.set_site_address(&address).await.unwrap();
    assert_eq!(store.site_address().await.unwrap(), Some(address.clone()));
    let label = "abc".parse().unwrap();
    assert_eq!(address.connection_url(ConnectionKind::App, &label), "https://app-abc.printers.example");
    assert_eq!(address.connection_url(ConnectionKind::Shared, &label), "https://shared-abc.printers.example");
}
