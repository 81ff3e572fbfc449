use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use web::{Readiness, ReadyCheck};

use crate::site::ask;

#[tokio::test]
async fn healthz_answers_even_while_the_service_is_not_ready() {
    let answer = ask(Method::GET, "/healthz", not_ready("the database does not answer")).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "ok"));
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn readyz_says_why_the_service_is_not_ready() {
    check(Arc::new(|| Box::pin(async { Readiness::Ready })), StatusCode::OK, json!({"ready": true})).await;
    check(
        not_ready("the database does not answer"),
        StatusCode::SERVICE_UNAVAILABLE,
        json!({"ready": false, "reason": "the database does not answer"}),
    )
    .await;
}

#[tokio::test]
async fn readyz_does_not_wait_for_a_check_that_hangs() {
    check(
        Arc::new(|| Box::pin(std::future::pending())),
        StatusCode::SERVICE_UNAVAILABLE,
        json!({"ready": false, "reason": "the check took too long"}),
    )
    .await;
}

async fn check(ready: ReadyCheck, status: StatusCode, body: Value) {
    let answer = ask(Method::GET, "/readyz", ready).await;
    assert_eq!(answer.status, status);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(serde_json::from_str::<Value>(&answer.body).expect("JSON"), body);
}

fn not_ready(reason: &'static str) -> ReadyCheck {
    Arc::new(move || Box::pin(async move { Readiness::NotReady { reason } }))
}
