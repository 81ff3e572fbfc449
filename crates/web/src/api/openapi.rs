//! The App APIs as an OpenAPI document, made from the handlers.
//!
//! What the handlers cannot say is added here: the envelope around every result, the failures, and how the token is
//! sent.

use std::sync::LazyLock;

use model::RelayError;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::{gadget, info, live_links, webhook};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Spoolway App APIs",
        version = "1",
        description = "What an app that was given an App Connection can ask the service. Paths are the same in any \
                       letter case.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(info::info, live_links::create, gadget::status, webhook::set, webhook::delete, webhook::test)
)]
struct AppApis;

/// What a call can fail with, besides what all of them can: 400, 600, 603, 604, 605, and 413 if it has a body.
const FAILURES: [(&str, &[u16]); 6] = [
    ("/api/appconnection/info", &[]),
    ("/api/live/createfromappconnection", &[601, 610, 613]),
    ("/api/gadget/GetStatusFromAppConnection", &[429, 611]),
    ("/api/appconnection/SetNotificationWebhook", &[]),
    ("/api/appconnection/DeleteNotificationWebhook", &[]),
    ("/api/appconnection/TestWebhook", &[429]),
];
const COMMON_FAILURES: [u16; 5] = [400, 600, 603, 604, 605];

/// The document. It is the same everywhere: its server is wherever it was fetched from.
pub(super) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::to_value(AppApis::openapi()).unwrap_or_default();
    document["servers"] = json!([{ "url": "/" }]);
    document["components"]["securitySchemes"] = json!({
        "AppToken": {
            "type": "apiKey", "in": "header", "name": "AppToken",
            "description": "The `appApiToken` that the portal handed to the app. It wins over one in the body."
        }
    });
    document["components"]["schemas"]["Failure"] = failure_schema();
    for (path, codes) in FAILURES {
        for method in ["get", "post"] {
            if let Some(operation) = document["paths"][path].get_mut(method) {
                complete(operation, method == "post", codes);
            }
        }
    }
    document
});

fn complete(operation: &mut Value, has_body: bool, codes: &[u16]) {
    let result = operation["responses"]["200"]["content"]["application/json"]["schema"].take();
    operation["responses"]["200"] = json!({
        "description": "Success",
        "content": { "application/json": { "schema": success_schema(&result) } }
    });
    let too_large = if has_body { &[413][..] } else { &[] };
    for code in COMMON_FAILURES.iter().chain(codes).chain(too_large) {
        operation["responses"][code.to_string()] = json!({
            "description": describe(*code),
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Failure" } } }
        });
    }
    if has_body {
        operation["security"] = json!([{ "AppToken": [] }, {}]);
        let token = json!({ "type": "string", "description": "The app's token, if it is not in the header." });
        let body = operation["requestBody"]["content"]["application/json"]["schema"].take();
        let with_token = json!({ "type": "object", "properties": { "AppToken": token } });
        let schema = if body.is_null() { with_token } else { json!({ "allOf": [body, with_token] }) };
        operation["requestBody"] =
            json!({ "required": false, "content": { "application/json": { "schema": schema } } });
    } else {
        operation["security"] = json!([{ "AppToken": [] }]);
    }
}

fn success_schema(result: &Value) -> Value {
    let mut envelope = json!({
        "type": "object",
        "required": ["Status", "Error", "IsUserError", "Result"],
        "properties": {
            "Status": { "type": "integer", "const": 200 },
            "Error": { "type": "string", "description": "Empty." },
            "IsUserError": { "type": "boolean", "const": false },
            "Result": result
        }
    });
    if result["$ref"].as_str().is_some_and(|name| name.ends_with("/GadgetStatus")) {
        envelope["description"] = json!("The keys of `Result` stand beside it too, all but its `Status`.");
        return envelope;
    }
    json!({ "allOf": [envelope, result], "description": "The keys of `Result` stand beside it too." })
}

fn failure_schema() -> Value {
    json!({
        "type": "object",
        "description": "What went wrong. More keys may be added.",
        "required": ["Status", "Error", "IsUserError", "Result"],
        "properties": {
            "Status": { "type": "integer", "description": "The HTTP status again, or the code where a plain status was asked for." },
            "Error": { "type": "string", "description": "For people." },
            "IsUserError": { "type": "boolean", "description": "Whether the caller can fix the cause." },
            "Result": { "type": "null" },
            "Name": { "type": "string", "description": "A stable name." },
            "Temporary": { "type": "boolean", "description": "Whether the same call may succeed later." },
            "RetryAfterSec": { "type": ["integer", "null"], "description": "The header `Retry-After`." },
            "HelpUrl": { "type": "string", "description": "A page for people." },
            "RequestId": { "type": "string", "description": "What the service's operator can search for." }
        }
    })
}

pub(super) fn describe(code: u16) -> String {
    match (code, RelayError::from_code(code)) {
        (_, Some(error)) => error.message().to_owned(),
        (400, None) => "The token is missing, or an argument is wrong; `Error` says which.".to_owned(),
        (413, None) => "The body has more than 64 KiB.".to_owned(),
        (429, None) => "The connection calls too often; `Retry-After` says when to come back.".to_owned(),
        _ => String::new(),
    }
}

/// The schema that a schema refers to, or itself.
pub(super) fn resolve(schema: &Value) -> &Value {
    let name = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/components/schemas/"));
    name.map_or(schema, |name| &DOCUMENT["components"]["schemas"][name])
}

/// The properties of an object's schema, with those of its parts.
pub(super) fn properties(schema: &Value) -> Map<String, Value> {
    let schema = resolve(schema);
    let mut all = schema["properties"].as_object().cloned().unwrap_or_default();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        all.extend(properties(part));
    }
    all
}
