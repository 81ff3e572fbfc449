//! Each code on each surface of the table in the specification, through real clients.

use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;
use testkit::{Client, Exchange, Protocol};

use crate::codes_scenes::{Cause, Scene, ending, scene};

/// What the specification says of a code.
struct Expected {
    cause: Cause,
    code: u16,
    name: &'static str,
    reason: &'static str,
    is_user_error: bool,
    plain_status: u16,
    /// The least and the most of `Retry-After`; temporary codes have one.
    retry_after: Option<(u32, u32)>,
    /// Whether a WebSocket handshake can meet it.
    on_handshake: bool,
}

const CODES: [Expected; 12] = [
    expected(Cause::StoreDown, 600, "unknown", "Unknown error", false, 502, Some((5, 5)), true),
    expected(Cause::NeverLinked, 601, "printer_offline", "Printer offline", false, 503, Some((60, 60)), true),
    expected(Cause::LinkLost, 601, "printer_offline", "Printer offline", false, 503, Some((15, 15)), true),
    expected(Cause::PrinterDead, 602, "printer_timeout", "Printer timeout", false, 504, Some((5, 5)), true),
    expected(Cause::NoSuchLabel, 603, "connection_not_found", "Connection not found", true, 404, None, true),
    expected(Cause::Revoked, 604, "connection_revoked", "Connection revoked", true, 410, None, true),
    expected(Cause::PlanLost, 605, "not_supporter", "Not a supporter", true, 403, Some((3600, 3600)), true),
    expected(Cause::NoCredentials, 606, "invalid_credentials", "Invalid credentials", true, 401, None, true),
    expected(Cause::LargeDownload, 607, "download_too_large", "Download too large", true, 413, None, false),
    expected(Cause::LargeUpload, 608, "upload_too_large", "Upload too large", true, 413, None, false),
    expected(Cause::WebcamUsedUp, 609, "webcam_limit", "Webcam limit", true, 503, Some((1, 600)), false),
    expected(Cause::NoHttp, 612, "plugin_error", "Plugin error", false, 502, Some((5, 5)), true),
];

#[expect(clippy::too_many_arguments, reason = "the columns of a table")]
const fn expected(
    cause: Cause,
    code: u16,
    name: &'static str,
    reason: &'static str,
    is_user_error: bool,
    plain_status: u16,
    retry_after: Option<(u32, u32)>,
    on_handshake: bool,
) -> Expected {
    Expected { cause, code, name, reason, is_user_error, plain_status, retry_after, on_handshake }
}

#[tokio::test]
async fn every_code_on_relayed_http() {
    for expected in &CODES {
        let scene = scene(expected.cause).await;
        for protocol in Protocol::ALL {
            check_json(&scene, expected, protocol).await;
            check_page(&scene, expected, protocol).await;
            check_head(&scene, expected, protocol).await;
            check_plain_status(&scene, expected, protocol).await;
        }
        check_connection_closes_behind_a_body(&scene, expected).await;
    }
}

#[tokio::test]
async fn every_code_on_a_handshake() {
    for expected in CODES.iter().filter(|expected| expected.on_handshake) {
        let scene = scene(expected.cause).await;
        for protocol in Protocol::ALL {
            let context = format!("{} on a handshake in {protocol:?}", expected.code);
            let refused = handshake(&scene, protocol, scene.path, &[]).await;
            assert_eq!(refused.status.as_u16(), expected.code, "{context}");
            check_status_line(&refused, expected, protocol, &context);
            check_common(&refused, expected, &context);
            check_json_body(&refused, expected, &scene, &context);

            // A widely used app asks again with a plain request of the same path to learn the code.
            let again = exchange(&scene, protocol, Method::GET, scene.path, &[]).await;
            assert_eq!(again.status, refused.status, "{context}");

            let separator = if scene.path.contains('?') { '&' } else { '?' };
            let path = format!("{}{separator}spoolway-plain-status=1", scene.path);
            let plain = handshake(&scene, protocol, &path, &[]).await;
            assert_eq!(plain.status.as_u16(), expected.plain_status, "{context}");
            check_common(&plain, expected, &context);
            check_json_body(&plain, expected, &scene, &context);
        }
    }
}

#[tokio::test]
async fn every_code_on_an_open_websocket() {
    for (cause, code, reason) in [
        (Cause::LinkLost, 4601, "printer_offline"),
        (Cause::PrinterDead, 4602, "printer_timeout"),
        (Cause::Revoked, 4604, "connection_revoked"),
        (Cause::PlanLost, 4605, "not_supporter"),
        (Cause::NoHttp, 4612, "plugin_error"),
    ] {
        for protocol in Protocol::ALL {
            let ending = ending(cause, protocol).await;
            assert_eq!(ending, testkit::Ending::closed(code, reason), "{cause:?} in {protocol:?}");
        }
    }
}

async fn check_json(scene: &Scene, expected: &Expected, protocol: Protocol) {
    for accept in [None, Some("*/*"), Some("application/json"), Some("text/html;q=0.5, application/json;q=0.6")] {
        let context = format!("{} in {protocol:?} for {accept:?}", expected.code);
        let headers: Vec<_> = accept.map(|accept| ("accept", accept)).into_iter().collect();
        let exchange = exchange(scene, protocol, scene.method(), scene.path, &headers).await;
        assert_eq!(exchange.status.as_u16(), expected.code, "{context}");
        check_status_line(&exchange, expected, protocol, &context);
        check_common(&exchange, expected, &context);
        check_json_body(&exchange, expected, scene, &context);
    }
}

async fn check_page(scene: &Scene, expected: &Expected, protocol: Protocol) {
    for accept in ["text/html", "text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"] {
        let context = format!("{} in {protocol:?} for {accept:?}", expected.code);
        let exchange = exchange(scene, protocol, scene.method(), scene.path, &[("accept", accept)]).await;
        assert_eq!(exchange.status.as_u16(), expected.code, "{context}");
        check_status_line(&exchange, expected, protocol, &context);
        check_common(&exchange, expected, &context);
        assert_eq!(exchange.header("content-type"), "text/html; charset=utf-8", "{context}");
        let policy = exchange.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("script-src"), "{context}: {policy}");
        let page = exchange.text();
        assert!(page.contains(&format!("<title>{} {}</title>", expected.code, expected.reason)), "{context}: {page}");
        assert!(page.contains(&scene.help_url(expected.code)), "{context}: {page}");
        assert!(!page.contains("<script"), "{context}: {page}");
        assert_eq!(page.contains("can pass by itself"), expected.retry_after.is_some(), "{context}: {page}");
    }
}

async fn check_head(scene: &Scene, expected: &Expected, protocol: Protocol) {
    // A HEAD has no body that could be too large.
    if matches!(expected.cause, Cause::LargeDownload | Cause::LargeUpload) {
        return;
    }
    let context = format!("{} on HEAD in {protocol:?}", expected.code);
    let exchange = exchange(scene, protocol, Method::HEAD, scene.path, &[]).await;
    assert_eq!(exchange.status.as_u16(), expected.code, "{context}");
    check_status_line(&exchange, expected, protocol, &context);
    check_common(&exchange, expected, &context);
    assert_eq!(exchange.text(), "", "{context}");
}

async fn check_plain_status(scene: &Scene, expected: &Expected, protocol: Protocol) {
    let separator = if scene.path.contains('?') { '&' } else { '?' };
    let with_query = format!("{}{separator}spoolway-plain-status=1", scene.path);
    for (path, headers) in [(scene.path, &[("x-spoolway-plain-status", "1")][..]), (with_query.as_str(), &[])] {
        let context = format!("{} in {protocol:?} at {path} with {headers:?}", expected.code);
        let exchange = exchange(scene, protocol, scene.method(), path, headers).await;
        assert_eq!(exchange.status.as_u16(), expected.plain_status, "{context}");
        assert_eq!(exchange.reason, None, "{context}");
        check_common(&exchange, expected, &context);
        check_json_body(&exchange, expected, scene, &context);
    }
    let unasked = exchange(scene, protocol, scene.method(), scene.path, &[("x-spoolway-plain-status", "0")]).await;
    assert_eq!(unasked.status.as_u16(), expected.code);
}

/// What follows a refused request's unread body could be taken for the next request.
async fn check_connection_closes_behind_a_body(scene: &Scene, expected: &Expected) {
    let body = if scene.body.is_empty() { "body" } else { scene.body };
    let authorization = scene.authorization.as_ref();
    let authorization = authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Length: {}\r\n\r\n{body}\
         GET / HTTP/1.1\r\nHost: {}\r\n\r\n",
        scene.path,
        scene.host,
        body.len(),
        scene.host,
    );
    let (answer, closed) =
        testkit::raw_exchange(scene.address(), request.as_bytes(), std::time::Duration::from_secs(20)).await;
    let answer = String::from_utf8_lossy(&answer);
    let context = format!("{} behind a body: {answer}", expected.code);
    let line = format!("HTTP/1.1 {} {}\r\n", expected.code, expected.reason);
    assert!(answer.starts_with(&line), "{context}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{context}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{context}");
    assert!(closed, "{context}");
}

fn check_status_line(exchange: &Exchange, expected: &Expected, protocol: Protocol, context: &str) {
    let reason = (protocol == Protocol::Http1).then_some(expected.reason);
    assert_eq!(exchange.reason.as_deref(), reason, "{context}");
}

fn check_common(exchange: &Exchange, expected: &Expected, context: &str) {
    assert_eq!(exchange.header("x-spoolway-error"), expected.code.to_string(), "{context}");
    assert_eq!(exchange.header("cache-control"), "no-store", "{context}");
    assert_eq!(exchange.header("vary"), "Accept", "{context}");
    assert_eq!(exchange.header("x-content-type-options"), "nosniff", "{context}");
    assert_eq!(exchange.header("access-control-allow-origin"), "*", "{context}");
    assert_eq!(exchange.header("access-control-expose-headers"), "X-Spoolway-Error, Retry-After", "{context}");
    assert!(!exchange.headers.contains_key("www-authenticate"), "{context}");
    let retry_after = exchange.header("retry-after");
    match expected.retry_after {
        Some((least, most)) => {
            let seconds: u32 = retry_after.parse().unwrap_or_else(|_| panic!("{context}: {retry_after:?}"));
            assert!((least..=most).contains(&seconds), "{context}: {seconds}");
        }
        None => assert_eq!(retry_after, "", "{context}"),
    }
}

fn check_json_body(exchange: &Exchange, expected: &Expected, scene: &Scene, context: &str) {
    assert_eq!(exchange.header("content-type"), "application/json", "{context}");
    let body: Value = serde_json::from_str(&exchange.text()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let mut keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected_keys =
        ["Error", "HelpUrl", "IsUserError", "Name", "RequestId", "Result", "RetryAfterSec", "Status", "Temporary"];
    assert_eq!(keys, expected_keys, "{context}");
    assert_eq!(body["Status"], expected.code, "{context}");
    assert_eq!(body["Name"], expected.name, "{context}");
    assert_eq!(body["IsUserError"], expected.is_user_error, "{context}");
    assert_eq!(body["Temporary"], expected.retry_after.is_some(), "{context}");
    assert_eq!(body["Result"], Value::Null, "{context}");
    assert_eq!(body["HelpUrl"], scene.help_url(expected.code), "{context}");
    let retry_after: Option<u32> = exchange.header("retry-after").parse().ok();
    assert_eq!(body["RetryAfterSec"], serde_json::json!(retry_after), "{context}");
    let message = body["Error"].as_str().unwrap();
    assert!(message.ends_with('.') && !message.contains("localhost") && !message.contains("127."), "{context}");
    let request_id = body["RequestId"].as_str().unwrap();
    assert!(request_id.len() >= 12 && request_id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{context}");
}

async fn exchange(scene: &Scene, protocol: Protocol, method: Method, path: &str, headers: &[(&str, &str)]) -> Exchange {
    let mut request = Request::builder().method(method.clone()).uri(path).header("host", &scene.host);
    if let Some(authorization) = &scene.authorization {
        request = request.header("authorization", authorization);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if method == Method::POST { scene.body } else { "" };
    Client::speaking(protocol, scene.address()).exchange(request.body(Full::from(body)).unwrap()).await
}

async fn handshake(scene: &Scene, protocol: Protocol, path: &str, headers: &[(&str, &str)]) -> Exchange {
    let mut headers = headers.to_vec();
    if let Some(authorization) = &scene.authorization {
        headers.push(("authorization", authorization));
    }
    match Client::speaking(protocol, scene.address()).websocket(&scene.host, path, &headers).await {
        Ok(_) => panic!("the WebSocket was accepted"),
        Err(refused) => *refused,
    }
}
