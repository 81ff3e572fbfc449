//! What each call answers.

use http::{Method, StatusCode};
use model::printing::{Phase, PrinterState};
use serde_json::{Value, json};
use web::SiteSettings;
use web::outbound::OutboundOptions;

use super::fixture::{Site, now, request};

const INFO: &str = "/api/appconnection/info";
const LIVE: &str = "/api/live/createfromappconnection";
const GADGET: &str = "/api/gadget/GetStatusFromAppConnection";

#[tokio::test]
async fn info_has_the_envelope_and_the_bare_keys() {
    let site = Site::new().await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    let answer = site.get(INFO, &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    let body = answer.json();
    let result = json!({
        "PrinterName": "My printer",
        "PrinterLocalIp": "",
        "IsOnline": false,
        "LastDisconnectTimeUtc": "0001-01-01T00:00:00",
        "LastConnectionTimeUtc": "0001-01-01T00:00:00",
        "UserFacingPrinterUrl": format!("http://localhost:8080/view/{}", site.printer),
        "PrinterLimits": {
            "MaxDownloadFileSizeBytes": 9_007_199_254_740_991_u64,
            "MaxUploadFileSizeBytes": 9_007_199_254_740_991_u64,
            "MaxSingleWebcamStreamLengthSeconds": 2_147_483_647,
            "MaxTotalWebcamStreamTimePerTimeWindowSeconds": null,
            "WebcamStreamTimeWindow": null
        }
    });
    assert_eq!(body["Result"], result);
    let mut envelope = json!({ "Status": 200, "Error": "", "IsUserError": false, "Result": result });
    for (key, value) in result.as_object().expect("an object") {
        envelope[key] = value.clone();
    }
    assert_eq!(body, envelope);
}

#[tokio::test]
async fn info_tells_whether_the_printer_is_there() {
    let site = Site::new().await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    site.say_seen("octoprint").await;
    site.link(None);
    let body = site.get(INFO, &token).await.json();
    assert_eq!((&body["IsOnline"], &body["PrinterLocalIp"]), (&json!(true), &json!("192.168.1.20")));
    let connected = body["LastConnectionTimeUtc"].as_str().expect("a text");
    assert!(connected.ends_with('Z') && connected.starts_with("20"), "{connected}");
}

#[tokio::test]
async fn a_connection_that_is_used_shows_it() {
    let site = Site::new().await;
    let app = site.connect().await;
    site.get(INFO, &[("AppToken", app.app_token.expose())]).await;
    let listing = site.store.connections(store::ConnectionKind::App, None).await.expect("a list");
    assert!(listing.rows[0].last_used_at.is_some());
}

#[tokio::test]
async fn paths_have_any_case() {
    let site = Site::new().await;
    let app = site.connect().await;
    let token = [("apptoken", app.app_token.expose())];
    for path in ["/API/AppConnection/Info", "/Api/appconnection/INFO?x=Y"] {
        assert_eq!(site.get(path, &token).await.status, StatusCode::OK, "{path}");
    }
    let path = "/api/gadget/getstatusfromappconnection";
    assert_eq!(site.post(path, &token, "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn live_links_last_as_long_as_asked() {
    let site = Site::new().await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    for body in
        ["", "{}", r#"{"ExpirationHours": 1}"#, r#"{"ExpirationHours": 17520.0,}"#, r#"{"ExpirationHours": null}"#]
    {
        let answer = site.post(LIVE, &token, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.text());
        let result = answer.json();
        let id = result["LiveId"].as_str().expect("an id").to_owned();
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert_eq!(result["Url"], format!("http://localhost:8080/live/{id}"));
        assert_eq!(result["Result"]["ShortUrl"], format!("http://localhost:8080/l/{id}"));
        let link = site.store.live_link(&id.parse().expect("an id")).await.expect("the store answers");
        assert_eq!(link.expect("the link is there").printer, site.printer);
    }
    for body in [
        r#"{"ExpirationHours": 0}"#,
        r#"{"ExpirationHours": 0.5}"#,
        r#"{"ExpirationHours": 17521}"#,
        r#"{"ExpirationHours": "24"}"#,
        r#"{"EndWhenCurrentPrintIsComplete": 1}"#,
        "[]",
        "{",
    ] {
        site.post(LIVE, &token, body).await.assert_code(400);
    }
}

#[tokio::test]
async fn a_link_that_ends_with_the_print_needs_one() {
    let site = Site::new().await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    let body = r#"{"EndWhenCurrentPrintIsComplete": true, "ExpirationHours": 0}"#;
    site.post(LIVE, &token, body).await.assert_code(601);
    // An agent that never says what its printer does is too old.
    site.link(None);
    site.post(LIVE, &token, body).await.assert_code(610);
    let printing = |phase| PrinterState { phase, print_id: Some("PRINT".to_owned()), ..PrinterState::default() };
    for phase in [Phase::Unknown, Phase::Idle, Phase::Complete, Phase::Cancelled, Phase::Error] {
        site.link(Some(printing(phase)));
        let answer = site.post(LIVE, &token, body).await;
        answer.assert_code(613);
        assert_eq!(answer.header("retry-after"), "60");
    }
    for phase in [Phase::WarmingUp, Phase::Printing, Phase::Paused, Phase::Resuming] {
        site.link(Some(printing(phase)));
        let answer = site.post(LIVE, &token, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{phase:?}: {}", answer.text());
        let id = answer.json()["LiveId"].as_str().expect("an id").parse().expect("an id");
        let link = site.store.live_link(&id).await.expect("the store answers").expect("the link is there");
        assert!(matches!(link.end, store::LiveEnd::WithPrint { print_id } if print_id == "PRINT"));
    }
    // Without the flag nothing has to print, and nobody has to be there.
    assert_eq!(Site::new().await.post(LIVE, &[], "{}").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_gadget_says_that_there_is_none() {
    let site = Site::new().await;
    let app = site.connect().await;
    let body = format!(r#"{{"AppToken": "{}",}}"#, app.app_token.expose());
    let answer = site.post(GADGET, &[], &body).await;
    let expected = json!({
        "Status": 200, "Error": "", "IsUserError": false,
        "Result": { "State": 0, "Status": "", "StatusColor": "w", "Rating": 10 },
        "State": 0, "StatusColor": "w", "Rating": 10
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn whoever_polls_too_fast_is_told_when_to_come_back() {
    let site = Site::new().await;
    let (one, other) = (site.connect().await, site.connect().await);
    let token = [("AppToken", one.app_token.expose())];
    for _ in 0..6 {
        assert_eq!(site.post(GADGET, &token, "").await.status, StatusCode::OK);
    }
    let refused = site.post(GADGET, &token, "").await;
    refused.assert_code(429);
    let seconds: u32 = refused.header("retry-after").parse().expect("whole seconds");
    assert!((1..=10).contains(&seconds));
    assert_eq!(refused.json()["RetryAfterSec"], seconds);
    let other = [("AppToken", other.app_token.expose())];
    assert_eq!(site.post(GADGET, &other, "").await.status, StatusCode::OK);
    assert_eq!(site.get(INFO, &token).await.status, StatusCode::OK, "other calls have no such pace");
}

#[tokio::test]
async fn a_beta_feature_needs_a_grant_only_where_the_operator_says_so() {
    let settings = SiteSettings { beta_features: vec!["gadget-api".to_owned()], ..SiteSettings::default() };
    let site = Site::with(settings, OutboundOptions::default()).await;
    let app = site.connect().await;
    let token = [("AppToken", app.app_token.expose())];
    site.post(GADGET, &token, "").await.assert_code(611);
    let feature = "gadget-api".parse().expect("a feature");
    site.store.grant_beta(&site.email, &feature, now()).await.expect("the account exists");
    assert_eq!(site.post(GADGET, &token, "").await.status, StatusCode::OK);
    assert_eq!(site.get(INFO, &token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn pages_of_every_origin_may_call_without_cookies() {
    let site = Site::new().await;
    let app = site.connect().await;
    for (path, method) in [(INFO, "GET"), (LIVE, "POST"), (GADGET, "POST")] {
        let headers = [
            ("origin", "https://app.example"),
            ("access-control-request-method", method),
            ("access-control-request-headers", "apptoken,content-type"),
        ];
        let answer = site.send(request(Method::OPTIONS, path, &headers, "")).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(answer.header("access-control-allow-methods").contains(method));
        let allowed = answer.header("access-control-allow-headers").to_ascii_lowercase();
        assert!(["apptoken", "content-type", "x-spoolway-plain-status"].iter().all(|name| allowed.contains(name)));
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
    let headers = [("origin", "https://app.example"), ("AppToken", app.app_token.expose())];
    let answer = site.get(INFO, &headers).await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(answer.header("access-control-expose-headers").contains("X-Spoolway-Error"));
    assert_eq!(answer.header("set-cookie"), "");
    // A cross-origin POST is no forged form here.
    let answer = site.post(GADGET, &[("sec-fetch-site", "cross-site"), headers[0], headers[1]], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    // A session opens nothing.
    let session = site.signed_in(http::Request::builder().uri(INFO)).body(axum::body::Body::empty());
    site.send(session.expect("a request")).await.assert_code(400);
}

#[tokio::test]
async fn plain_statuses_are_sent_to_those_who_ask() {
    let site = Site::new().await;
    for (path, headers) in [
        (INFO.to_owned(), vec![("AppToken", "unknown"), ("X-Spoolway-Plain-Status", "1")]),
        (format!("{INFO}?spoolway-plain-status=1"), vec![("AppToken", "unknown")]),
    ] {
        let answer = site.get(&path, &headers).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.header("x-spoolway-error"), "603");
        assert_eq!(answer.json()["Status"], 603);
    }
}

#[tokio::test]
async fn failures_have_the_shape_that_relayed_ones_have() {
    let site = Site::new().await;
    let answer = site.get(INFO, &[("AppToken", "unknown")]).await;
    let body = answer.json();
    let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
    let expected =
        ["Status", "Error", "IsUserError", "Result", "Name", "Temporary", "RetryAfterSec", "HelpUrl", "RequestId"];
    assert!(expected.iter().all(|key| keys.contains(&&(*key).to_owned())), "{keys:?}");
    assert_eq!(body["HelpUrl"], "http://localhost:8080/errors/603");
    let refused = site.get(INFO, &[]).await.json();
    let keys: Vec<&String> = refused.as_object().expect("an object").keys().collect();
    assert!(expected.iter().all(|key| keys.contains(&&(*key).to_owned())), "{keys:?}");
    let page = site.get(INFO, &[("AppToken", "unknown"), ("accept", "text/html")]).await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.text().contains("unknown token"));
}

#[tokio::test]
async fn other_methods_are_refused_and_what_is_allowed_is_said() {
    let site = Site::new().await;
    for (method, path, allowed) in
        [(Method::POST, INFO, "GET,HEAD"), (Method::GET, LIVE, "POST"), (Method::DELETE, GADGET, "POST")]
    {
        let answer = site.send(request(method, path, &[], "")).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.header("allow"), allowed, "{path}");
        assert_eq!(answer.json()["Result"], Value::Null);
    }
}
