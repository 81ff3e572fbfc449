//! How answers look.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::BoxError;

use crate::platforms::CommandFailure;

/// As the existing plugin calls it.
const JSON: HeaderValue = HeaderValue::from_static("text/json");
/// Characters of a text of the printer's; a page full of words does not travel.
const MAX_ERROR: usize = 240;

/// The answer to a JSON command, which is always 200 on the outside.
pub(super) fn json_answer(outcome: Result<Value, CommandFailure>) -> Response<ServiceBody> {
    match outcome {
        Ok(result) => json_response(StatusCode::OK, &json!({"Status": 200, "Result": object(result)})),
        Err(failure) => json_response(StatusCode::OK, &failed(&failure)),
    }
}

/// The failure of a raw command: the outside tells it too, as far as HTTP has such a number.
pub(super) fn raw_failure(failure: &CommandFailure) -> Response<ServiceBody> {
    let status = Some(failure.code()).filter(|code| (100..600).contains(code));
    let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_REQUEST);
    json_response(status, &failed(failure))
}

fn failed(failure: &CommandFailure) -> Value {
    let text: String = failure.to_string().chars().filter(|letter| !letter.is_control()).take(MAX_ERROR).collect();
    json!({"Status": failure.code(), "Error": text})
}

fn object(result: Value) -> Value {
    if result.is_object() { result } else { Value::Object(Map::new()) }
}

fn json_response(status: StatusCode, envelope: &Value) -> Response<ServiceBody> {
    let mut response = Response::new(whole(Bytes::from(envelope.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn whole(body: Bytes) -> ServiceBody {
    Full::new(body).map_err(BoxError::from).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(response: Response<ServiceBody>) -> (u16, String, String) {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let kind = parts.headers[header::CONTENT_TYPE].to_str().unwrap_or_default().to_owned();
        (parts.status.as_u16(), kind, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_command_fails_inside_and_a_raw_one_outside_too() {
        let text = |text: &str| text.to_owned();
        let ok = read(json_answer(Ok(Value::Null))).await;
        assert_eq!(ok, (200, text("text/json"), text(r#"{"Result":{},"Status":200}"#)));
        let failure = CommandFailure::NotSupported;
        let (status, _, body) = read(json_answer(Err(failure.clone()))).await;
        assert!(status == 200 && body.contains("\"Status\":788") && !body.contains("Result"), "{body}");
        let (status, kind, body) = read(raw_failure(&failure)).await;
        assert_eq!((status, kind.as_str()), (400, "text/json"));
        assert!(body.contains("\"Status\":788"));
        assert_eq!(read(raw_failure(&CommandFailure::NotFound(text("no")))).await.0, 404);
        let long = read(json_answer(Err(CommandFailure::Software(507, "x\n".repeat(5000))))).await.2;
        assert!(long.len() < 300 && long.contains("\"Status\":507"), "{long}");
    }
}
