//! The pages for those who write apps.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderValue, header};
use http_body_util::BodyExt as _;
use relay::ClientAddress;
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt as _;

use super::openapi;
use crate::browser::Browser;
use crate::failure::PageFailure;
use crate::form::OwnForm;
use crate::layout::Layout;
use crate::page::AppPage;
use crate::state::SiteState;

pub(super) fn routes() -> Router<SiteState> {
    Router::new()
        .route("/developers", get(overview))
        .route("/developers/try", post(try_out))
        .route("/developers/api", get(reference))
}

#[derive(Template)]
#[template(path = "developers/overview.html")]
struct Overview {
    layout: Layout,
    origin: String,
    connection_example: String,
    calls: Vec<PlaygroundCall>,
    answer: Option<Answer>,
}

/// What the playground's call was answered with.
struct Answer {
    call: String,
    status: u16,
    body: String,
}

#[derive(Template)]
#[template(path = "developers/reference.html")]
struct Reference {
    layout: Layout,
    calls: Vec<CallDescription>,
}

struct CallDescription {
    id: String,
    method: String,
    path: String,
    summary: String,
    description: String,
    arguments: Vec<Member>,
    results: Vec<Member>,
    failures: Vec<(u16, String, bool)>,
}

struct Member {
    name: String,
    kind: String,
    description: String,
}

async fn overview(State(state): State<SiteState>, layout: Layout) -> impl IntoResponse {
    overview_page(&state, layout, None)
}

fn overview_page(state: &SiteState, layout: Layout, answer: Option<Answer>) -> AppPage<Overview> {
    let names = &state.names;
    let connection_example = format!("{}://app-….{}", names.scheme, names.printers_domain);
    let (origin, calls) = (state.origin(), playground_calls());
    let template = Overview { layout: layout.clone(), origin, connection_example, calls, answer };
    AppPage::new(&layout, template)
}

#[derive(Deserialize)]
struct TryForm {
    token: String,
    /// The path of a call, as in the OpenAPI document.
    #[serde(default)]
    call: String,
    /// A JSON object, or nothing.
    #[serde(default)]
    body: String,
}

/// Makes one call of the App APIs as the app would, and shows the answer.
async fn try_out(
    State(state): State<SiteState>,
    browser: Browser,
    OwnForm(form): OwnForm<TryForm>,
) -> Result<Response, PageFailure> {
    let layout = Layout::of(&browser);
    let calls = playground_calls();
    let wanted = if form.call.is_empty() { FIRST_CALL } else { form.call.as_str() };
    let call = calls.iter().find(|call| call.path == wanted);
    let call = call.ok_or_else(|| PageFailure::BadRequest("the App APIs have no such call".to_owned()))?;
    let body = form.body.trim();
    if !body.is_empty() && !matches!(serde_json::from_str(body), Ok(Value::Object(_))) {
        return Err(PageFailure::BadRequest("the body has to be a JSON object, or empty".to_owned()));
    }
    let token = HeaderValue::from_str(form.token.trim());
    let token = token.map_err(|_| PageFailure::BadRequest("this is not a token".to_owned()))?;
    let request = Request::builder()
        .method(call.method)
        .uri(call.path.to_ascii_lowercase())
        .header(super::call::TOKEN, token)
        .header(header::CONTENT_TYPE, "application/json")
        .extension(ClientAddress(browser.address()))
        .body(Body::from(body.to_owned()))
        .map_err(|_| PageFailure::Internal("a call of the App APIs could not be made"))?;
    // The same routes as an app's, in this process.
    let response = super::routes().with_state(state.clone()).oneshot(request).await;
    let response = response.unwrap_or_else(|never| match never {});
    let status = response.status().as_u16();
    let body = response.into_body().collect().await;
    let body = body.map_err(|_| PageFailure::Internal("an answer of the App APIs could not be read"))?.to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let body = serde_json::to_string_pretty(&value).unwrap_or_default();
    let answer = Answer { call: format!("{} {}", call.method, call.path), status, body };
    Ok(overview_page(&state, layout, Some(answer)).into_response())
}

/// What the playground begins with.
const FIRST_CALL: &str = "/api/appconnection/info";

/// A call that the playground can make.
struct PlaygroundCall {
    method: &'static str,
    path: &'static str,
}

/// All calls that take an app's token.
fn playground_calls() -> Vec<PlaygroundCall> {
    let paths = openapi::DOCUMENT["paths"].as_object();
    let of_path = |(path, operations): (&'static String, &'static Value)| {
        let method = if operations["get"].is_object() { "GET" } else { "POST" };
        PlaygroundCall { method, path: path.as_str() }
    };
    let mut calls: Vec<_> = paths.into_iter().flatten().map(of_path).collect();
    // First what changes nothing.
    calls.sort_by_key(|call| call.path != FIRST_CALL);
    calls
}

async fn reference(layout: Layout) -> impl IntoResponse {
    let paths = openapi::DOCUMENT["paths"].as_object();
    let calls = paths
        .into_iter()
        .flatten()
        .flat_map(|(path, operations)| {
            let operations = operations.as_object().into_iter().flatten();
            operations.map(|(method, operation)| describe(path, method, operation))
        })
        .collect();
    AppPage::new(&layout, Reference { layout: layout.clone(), calls })
}

fn describe(path: &str, method: &str, operation: &Value) -> CallDescription {
    let text = |key: &str| operation[key].as_str().unwrap_or_default().to_owned();
    let json_schema = |content: &Value| content["content"]["application/json"]["schema"].clone();
    let result = openapi::properties(&json_schema(&operation["responses"]["200"]))["Result"].clone();
    let responses = operation["responses"].as_object().into_iter().flatten();
    let failures = responses.filter_map(|(code, response)| {
        let code: u16 = code.parse().ok().filter(|code| *code != 200)?;
        Some((code, response["description"].as_str().unwrap_or_default().to_owned(), code >= 600))
    });
    CallDescription {
        id: path.trim_start_matches("/api/").replace('/', "-").to_ascii_lowercase(),
        method: method.to_ascii_uppercase(),
        path: path.to_owned(),
        summary: text("summary").trim_end_matches('.').to_owned(),
        description: text("description"),
        arguments: members(&json_schema(&operation["requestBody"]), ""),
        results: members(&result, ""),
        failures: failures.collect(),
    }
}

fn members(schema: &Value, prefix: &str) -> Vec<Member> {
    let mut all = Vec::new();
    for (name, property) in openapi::properties(schema) {
        let inner = openapi::resolve(&property);
        let name = format!("{prefix}{name}");
        let described = property["description"].as_str().or(inner["description"].as_str()).unwrap_or_default();
        all.push(Member { name: name.clone(), kind: kind(inner), description: described.to_owned() });
        all.extend(members(&property, &format!("{name}.")));
    }
    all
}

fn kind(schema: &Value) -> String {
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", kind_of_items(schema)),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds: Vec<String> = kinds
                .iter()
                .filter_map(Value::as_str)
                .map(
                    |kind| if kind == "array" { format!("list of {}", kind_of_items(schema)) } else { kind.to_owned() },
                )
                .collect();
            kinds.join(" or ")
        }
        _ => "object".to_owned(),
    }
}

fn kind_of_items(schema: &Value) -> String {
    kind(&schema["items"])
}
