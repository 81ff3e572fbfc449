//! The webhook of a connection: set, taken away, tested.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use store::{AppConnectionRecord, AuditKind};
use url::Url;
use utoipa::ToSchema;

use super::Paces;
use super::arguments::Arguments;
use super::call::{ApiFailure, Call};
use crate::outbound::{MAX_URL, Outbound, OutboundError};
use crate::state::SiteState;

/// There are 16 kinds of events; the rest is room for newer ones.
const MAX_FILTER: usize = 64;
/// The event "test".
const TEST_EVENT: u8 = 16;

/// Where notifications go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetWebhook {
    /// An `https` URL without user name, called exactly as given.
    #[schema(
        max_length = 2048,
        format = "uri",
        pattern = "^https://",
        example = "https://webhook.example/printer?id=1"
    )]
    webhook_url: String,
    /// The event types to deliver; all of them if it is empty or absent. Unknown ones are ignored.
    inclusive_event_types_filter: Option<Vec<i64>>,
}

/// There is nothing to say.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {}

/// How the webhook's host answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TestResult {
    /// Its HTTP status; null if it did not answer.
    #[schema(required)]
    webhook_status_code: Option<u16>,
    /// Why it did not answer.
    #[schema(required)]
    webhook_error: Option<String>,
}

/// What is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Event<'a> {
    printer_id: &'a str,
    secret_key: &'static str,
    print_id: &'a str,
    event_type: u8,
    printer_name: &'a str,
    quick_view_url: &'a str,
}

/// Sets or replaces the connection's webhook.
#[utoipa::path(
    post, operation_id = "setWebhook", path = "/api/appconnection/SetNotificationWebhook", tag = "Webhooks",
    request_body = SetWebhook, responses((status = 200, body = Done)),
    description = "One webhook for each connection: every call replaces the one before. It lives for 180 days from the \
                   last call."
)]
pub(super) async fn set(State(state): State<SiteState>, call: Call) -> Response {
    let outcome = replace(&state, &call).await;
    call.respond(&state, outcome)
}

/// Takes the connection's webhook away.
#[utoipa::path(
    post, operation_id = "deleteWebhook", path = "/api/appconnection/DeleteNotificationWebhook", tag = "Webhooks",
    responses((status = 200, body = Done)), description = "It is no error if there was none."
)]
pub(super) async fn delete(State(state): State<SiteState>, call: Call) -> Response {
    let outcome = remove(&state, &call).await;
    call.respond(&state, outcome)
}

/// Sends event 16 to the webhook, whatever its filter says.
#[utoipa::path(
    get, operation_id = "testWebhook", path = "/api/appconnection/TestWebhook", tag = "Webhooks", responses((status = 200, body = TestResult)),
    description = "400 if there is no webhook. At most six calls in ten seconds."
)]
pub(super) async fn test(
    State(state): State<SiteState>,
    Extension(paces): Extension<Arc<Paces>>,
    call: Call,
) -> Response {
    let outcome = try_out(&state, &paces, &call).await;
    call.respond(&state, outcome)
}

async fn replace(state: &SiteState, call: &Call) -> Result<Done, ApiFailure> {
    let connection = call.authenticate(state).await?;
    let arguments = call.arguments()?;
    let asked = SetWebhook::read(&arguments)?;
    check_url(&asked.webhook_url, &state.outbound)?;
    let filter = asked.inclusive_event_types_filter.unwrap_or_default();
    state.store.set_webhook(&connection.id, &asked.webhook_url, &filter, SystemTime::now()).await?;
    call.note(state, &connection, AuditKind::WebhookSet).await;
    Ok(Done {})
}

async fn remove(state: &SiteState, call: &Call) -> Result<Done, ApiFailure> {
    let connection = call.authenticate(state).await?;
    call.arguments()?;
    state.store.delete_webhook(&connection.id).await?;
    call.note(state, &connection, AuditKind::WebhookRemoved).await;
    Ok(Done {})
}

async fn try_out(state: &SiteState, paces: &Paces, call: &Call) -> Result<TestResult, ApiFailure> {
    let connection = call.authenticate(state).await?;
    let webhook = state.store.webhook(&connection.id, SystemTime::now()).await?;
    let Some(webhook) = webhook else {
        return Err(ApiFailure::bad_request("The connection has no webhook; call SetNotificationWebhook first."));
    };
    paces.webhook_tests.handle_call(&connection.id, Instant::now()).map_err(ApiFailure::too_many_requests)?;
    let event = test_event(state, &connection).await;
    Ok(match state.outbound.post_json(&webhook.url, event).await {
        Ok(answer) => TestResult { webhook_status_code: Some(answer.status.as_u16()), webhook_error: None },
        Err(error) => TestResult { webhook_status_code: None, webhook_error: Some(error.to_string()) },
    })
}

async fn test_event(state: &SiteState, connection: &AppConnectionRecord) -> Vec<u8> {
    let printer = &connection.printer;
    let printing = state.live.status(&printer.id).await.and_then(|status| status.state);
    let event = Event {
        printer_id: printer.id.as_str(),
        secret_key: "",
        print_id: &printing.and_then(|printing| printing.print_id).unwrap_or_default(),
        event_type: TEST_EVENT,
        printer_name: &printer.name,
        quick_view_url: &state.url(&format!("/view/{}", printer.id)),
    };
    serde_json::to_vec(&event).unwrap_or_default()
}

impl SetWebhook {
    fn read(arguments: &Arguments) -> Result<Self, ApiFailure> {
        let url = arguments.text("WebhookUrl")?;
        let url = url.ok_or_else(|| ApiFailure::bad_request("`WebhookUrl` is missing."))?;
        let filter = arguments.integers("InclusiveEventTypesFilter")?;
        if filter.len() > MAX_FILTER {
            return Err(ApiFailure::bad_request("`InclusiveEventTypesFilter` has too many members."));
        }
        Ok(Self { webhook_url: url.to_owned(), inclusive_event_types_filter: Some(filter) })
    }
}

/// What can be said of a URL without asking where its name leads, which may change until it is called.
fn check_url(text: &str, outbound: &Outbound) -> Result<(), ApiFailure> {
    let wrong = |why: &'static str| Err(ApiFailure::bad_request(format!("`WebhookUrl` cannot be used: {why}.")));
    if text.len() > MAX_URL {
        return wrong("it has more than 2048 characters");
    }
    // The parser would drop these silently, and something else would be called than was given.
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return wrong("it has spaces or control characters");
    }
    if Url::parse(text).is_ok_and(|url| url.scheme() != "https") {
        return wrong("it has to be https");
    }
    match outbound.check(text) {
        Ok(_) => Ok(()),
        Err(OutboundError::Url(why)) => wrong(why),
        Err(_) => wrong("its host is not public"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::OutboundOptions;

    #[test]
    fn webhooks_are_public_and_https() {
        let outbound = Outbound::new(OutboundOptions::default()).expect("a client can be made");
        for (url, is_valid) in [
            ("https://example.org/hook?key=a%20b&x=", true),
            ("https://example.org:8443/", true),
            ("HTTPS://EXAMPLE.ORG/", true),
            ("http://example.org/", false),
            ("https://user@example.org/", false),
            ("https://user:pass@example.org/", false),
            ("https://127.0.0.1/", false),
            ("https://[::1]/", false),
            ("https://10.0.0.1/", false),
            ("https://example.org:22/", false),
            ("https://exa mple.org/", false),
            ("https://example.org/\n", false),
            (" https://example.org/", false),
            ("ftp://example.org/", false),
            ("example.org", false),
            ("", false),
            (&format!("https://example.org/{}", "a".repeat(2048)), false),
        ] {
            assert_eq!(check_url(url, &outbound).is_ok(), is_valid, "{url}");
        }
    }
}
