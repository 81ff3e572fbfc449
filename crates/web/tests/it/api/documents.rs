//! The OpenAPI document and the pages for developers.

use http::StatusCode;

use super::fixture::Site;

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

/// A changed document is a changed interface. `UPDATE_SNAPSHOTS=1` writes it anew.
#[tokio::test]
async fn the_document_is_the_one_in_the_repository() {
    let answer = Site::new().await.get("/api/openapi.json", &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(SNAPSHOT, answer.text()).expect("it can be written");
    }
    let snapshot = std::fs::read_to_string(SNAPSHOT).expect("it is in the repository");
    let snapshot: serde_json::Value = serde_json::from_str(&snapshot).expect("it is JSON");
    // Not their texts: the order of keys depends on what else is compiled.
    assert!(answer.json() == snapshot, "docs/openapi.json is out of date; UPDATE_SNAPSHOTS=1 writes it anew");
}

#[tokio::test]
async fn every_call_of_the_document_is_there() {
    let site = Site::new().await;
    let document = site.get("/api/openapi.json", &[]).await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 6);
    for (path, operations) in paths {
        for method in operations.as_object().expect("operations").keys() {
            let answer = match method.as_str() {
                "get" => site.get(path, &[]).await,
                _ => site.post(path, &[], "").await,
            };
            answer.assert_code(400);
        }
    }
}

#[tokio::test]
async fn the_reference_has_every_call_with_its_keys() {
    let site = Site::new().await;
    let page = site.get("/developers/api", &[]).await;
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    for expected in [
        "GET /api/appconnection/info",
        "POST /api/live/createfromappconnection",
        "PrinterLimits.MaxDownloadFileSizeBytes",
        "ExpirationHours",
        "InclusiveEventTypesFilter",
        "WebhookStatusCode",
        "list of integer",
        "href=\"/errors/613\"",
    ] {
        assert!(text.contains(expected), "{expected}");
    }
}

#[tokio::test]
async fn a_token_can_be_tried_and_is_not_repeated() {
    let site = Site::new().await;
    let app = site.connect().await;
    let page = site.page("/developers").await;
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    let token = text.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let token = token.expect("the form has a token");
    let answer = site.submit("/developers/try", &[("form_token", token), ("token", app.app_token.expose())]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(answer.text().contains("status 200") && answer.text().contains("My printer"));
    assert!(!answer.text().contains(app.app_token.expose()));
    let answer = site.submit("/developers/try", &[("form_token", token), ("token", "unknown")]).await;
    assert!(answer.text().contains("status 603"));
    let form = [("form_token", token), ("token", app.app_token.expose())];
    let create = ("call", "/api/live/createfromappconnection");
    let answer =
        site.submit("/developers/try", &[&form[..], &[create, ("body", r#"{"ExpirationHours": 2}"#)]].concat()).await;
    assert!(answer.text().contains("status 200") && answer.text().contains("8080/live/"), "{}", answer.text());
    let answer =
        site.submit("/developers/try", &[&form[..], &[create, ("body", r#"{"ExpirationHours": 0}"#)]].concat()).await;
    assert!(answer.text().contains("status 400"), "{}", answer.text());
    for (body, call) in [("[1]", create.1), ("{", create.1), ("\"x\"", "/api/appconnection/info")] {
        let answer = site.submit("/developers/try", &[&form[..], &[("call", call), ("body", body)]].concat()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
    }
    // Only calls of the document can be made.
    let answer = site.submit("/developers/try", &[&form[..], &[("call", "/settings/export")]].concat()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}
