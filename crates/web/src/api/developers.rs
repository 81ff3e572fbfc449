//! The pages for those who write apps.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt as _;
use model::Secret;
use serde::Deserialize;
use serde_json::Value;

use super::call::Call;
use super::{info, openapi};
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
    answer: Option<Answer>,
}

/// What the playground's call was answered with.
struct Answer {
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
    let template = Overview { layout: layout.clone(), origin: state.origin(), connection_example, answer };
    AppPage::new(&layout, template)
}

#[derive(Deserialize)]
struct TryForm {
    token: String,
}

/// Calls the info API as the app would, and shows the answer.
async fn try_out(
    State(state): State<SiteState>,
    layout: Layout,
    OwnForm(form): OwnForm<TryForm>,
) -> Result<Response, PageFailure> {
    let response = info::info(State(state.clone()), Call::with_token(Secret::new(form.token.trim()))).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await;
    let body = body.map_err(|_| PageFailure::Internal("an answer of the info API could not be read"))?.to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let body = serde_json::to_string_pretty(&value).unwrap_or_default();
    Ok(overview_page(&state, layout, Some(Answer { status, body })).into_response())
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
