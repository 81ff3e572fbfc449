//! Which failure is told when several apply.

use http::StatusCode;
use store::ConnectionKind;

use super::fixture::{Site, now};

const INFO: &str = "/api/appconnection/info";
const LIVE: &str = "/api/live/createfromappconnection";
const SET: &str = "/api/appconnection/SetNotificationWebhook";

/// Every call that takes a body.
const POSTS: [&str; 4] =
    [LIVE, "/api/gadget/GetStatusFromAppConnection", SET, "/api/appconnection/DeleteNotificationWebhook"];
const GETS: [&str; 2] = [INFO, "/api/appconnection/TestWebhook"];

#[tokio::test]
async fn no_token_is_400_whatever_else_is_wrong() {
    let site = Site::new().await;
    for path in GETS {
        for headers in [&[][..], &[("AppToken", "")], &[("AppToken", "  ")]] {
            site.get(path, headers).await.assert_code(400);
        }
    }
    for path in POSTS {
        for body in [
            "",
            "{}",
            "{",
            "[]",
            r#"{"AppToken": ""}"#,
            r#"{"AppToken": null}"#,
            r#"{"AppToken": 5}"#,
            r#"{"apptoken": "x"}"#,
        ] {
            site.post(path, &[], body).await.assert_code(400);
        }
    }
}

#[tokio::test]
async fn what_became_of_the_token_comes_before_the_arguments() {
    let site = Site::new().await;
    let bad = r#"{"ExpirationHours": "x", "WebhookUrl": 5, }"#;
    for path in POSTS {
        for body in ["", "{", bad] {
            site.post(path, &[("AppToken", "unknown")], body).await.assert_code(603);
        }
        site.post(path, &[], r#"{"AppToken": "unknown"}"#).await.assert_code(603);
    }
    for path in GETS {
        site.get(path, &[("AppToken", "unknown")]).await.assert_code(603);
        site.get(path, &[("AppToken", "un known'--")]).await.assert_code(603);
    }
}

#[tokio::test]
async fn the_header_wins_over_the_body() {
    let site = Site::new().await;
    let app = site.connect().await;
    let right = app.app_token.expose();
    let body = |token: &str| format!(r#"{{"AppToken": "{token}"}}"#);
    assert_eq!(site.post(LIVE, &[("AppToken", right)], &body("wrong")).await.status, StatusCode::OK);
    site.post(LIVE, &[("AppToken", "wrong")], &body(right)).await.assert_code(603);
    assert_eq!(site.post(LIVE, &[], &body(right)).await.status, StatusCode::OK);
    assert_eq!(site.post(LIVE, &[("AppToken", "")], &body(right)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_end_of_a_connection_comes_before_its_plan_and_the_plan_before_the_arguments() {
    let site = Site::new().await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    let with_print = r#"{"EndWhenCurrentPrintIsComplete": true}"#;
    site.post(LIVE, &token, "{").await.assert_code(400);
    site.post(LIVE, &token, with_print).await.assert_code(601);
    site.store.set_plan("unlimited", now(), |plan| plan.supporter = false).await.expect("the plan exists");
    for body in ["{", "{}", with_print] {
        site.post(LIVE, &token, body).await.assert_code(605);
    }
    let answer = site.get(INFO, &token).await;
    answer.assert_code(605);
    assert_eq!(answer.header("retry-after"), "3600");
    site.store.revoke_connection(ConnectionKind::App, &app.id, now()).await.expect("it lives");
    for body in ["{", "{}"] {
        site.post(LIVE, &token, body).await.assert_code(604);
    }
    site.get(INFO, &token).await.assert_code(604);
}

#[tokio::test]
async fn plans_come_back_and_connections_with_them() {
    let site = Site::new().await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    for (supporter, expected) in [(false, 605), (true, 200)] {
        site.store.set_plan("unlimited", now(), |plan| plan.supporter = supporter).await.expect("the plan exists");
        assert_eq!(site.get(INFO, &token).await.status.as_u16(), expected);
    }
}

#[tokio::test]
async fn all_that_ends_a_connection_is_604() {
    for cause in ["printer removed", "account deleted", "expired"] {
        let site = Site::new().await;
        let app = site.connect().await;
        let token = match cause {
            "expired" => {
                let (soon, name) = (now() + std::time::Duration::from_millis(1), "An app".parse().expect("a name"));
                let new = site.store.create_app_connection(&site.printer, &name, Some(soon), now()).await;
                while now() <= soon {
                    tokio::task::yield_now().await;
                }
                new.expect("the printer exists").app_token
            }
            "printer removed" => {
                site.store.remove_printer(&site.printer, now()).await.expect("it exists");
                app.app_token
            }
            _ => {
                site.store.delete_account(&site.email, now()).await.expect("it exists");
                app.app_token
            }
        };
        site.get(INFO, &[("AppToken", token.expose())]).await.assert_code(604);
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_600_and_proves_nothing() {
    let site = Site::new().await;
    let app = site.connect().await;
    site.store.close().await;
    for token in [app.app_token.expose(), "unknown"] {
        let answer = site.get(INFO, &[("AppToken", token)]).await;
        answer.assert_code(600);
        assert_eq!(answer.header("retry-after"), "5");
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let site = Site::new().await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    let body = |length: usize| format!(r#"{{"Other": "{}"}}"#, "a".repeat(length - 13));
    assert_eq!(site.post(LIVE, &token, &body(64 * 1024)).await.status, StatusCode::OK);
    site.post(LIVE, &token, &body(64 * 1024 + 1)).await.assert_code(413);
    site.post(LIVE, &[("AppToken", "unknown")], &body(64 * 1024 + 1)).await.assert_code(603);
}
