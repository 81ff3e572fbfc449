//! The virtual printer's addresses.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::camera::BOUNDARY;
use super::file_name::FileName;
use super::response::{ApiError, Body, bytes, empty, json, never, require_method, set};
use super::{SERVER_NAME, Shared, files, live};

const PAGE: &str = include_str!("page.html");
/// A job order is a short JSON text.
const MAX_ORDER: usize = 4 * 1024;
/// For an order to arrive, and for the camera's first picture.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    Ok(route(&shared, request).await.unwrap_or_else(ApiError::into_response))
}

async fn route(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let path = request.uri().path().to_owned();
    if let Some(segment) = path.strip_prefix("/api/files/") {
        return files::one(shared, segment, request).await;
    }
    if path == "/api/job" {
        require_method(request.method(), "POST")?;
        return job(shared, request).await;
    }
    let reading = || require_method(request.method(), "GET, HEAD");
    match path.as_str() {
        "/" => reading().map(|()| page()),
        "/api/version" => reading().map(|()| version()),
        "/api/printer" => reading().map(|()| json_text(shared.state_json())),
        "/api/files" => reading().map(|()| files::list(shared)),
        "/events" => {
            reading()?;
            Ok(streamed("text/event-stream", live::events(Arc::clone(shared)), request.method()))
        }
        "/websocket" => {
            require_method(request.method(), "GET")?;
            live::websocket(shared, request)
        }
        "/webcam/stream" => reading().map(|()| camera_stream(shared, request.method())),
        "/webcam/snapshot" => {
            reading()?;
            snapshot(shared).await
        }
        "/webcam" | "/webcam/" => {
            reading()?;
            match action(request.uri().query()) {
                Some("stream") => Ok(camera_stream(shared, request.method())),
                Some("snapshot") => snapshot(shared).await,
                _ => Err(ApiError::NotFound),
            }
        }
        _ => Err(ApiError::NotFound),
    }
}

fn page() -> Response<Body> {
    let mut response = bytes("text/html; charset=utf-8", Bytes::from_static(PAGE.as_bytes()));
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    response
}

fn version() -> Response<Body> {
    #[derive(Serialize)]
    struct Version {
        server: &'static str,
        version: &'static str,
        text: String,
    }
    let version = env!("CARGO_PKG_VERSION");
    json(StatusCode::OK, &Version { server: SERVER_NAME, version, text: format!("Virtual printer {version}") })
}

fn json_text(text: String) -> Response<Body> {
    let mut response = bytes("application/json", text.into());
    set(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

async fn job(shared: &Shared, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    #[derive(Deserialize)]
    #[serde(tag = "command", rename_all = "snake_case")]
    enum Order {
        Start { file: String },
        Pause,
        Resume,
        Cancel,
        LightOn,
        LightOff,
    }
    let malformed = |error: &dyn std::fmt::Display| ApiError::JobMalformed(error.to_string());
    let body = timeout(PATIENCE, Limited::new(request.into_body(), MAX_ORDER).collect())
        .await
        .map_err(|_| ApiError::UploadTimeout)?
        .map_err(|error| malformed(&error))?;
    match serde_json::from_slice(&body.to_bytes()).map_err(|error| malformed(&error))? {
        Order::Start { file } => {
            let name: FileName = file.parse()?;
            if !name.is_gcode() {
                return Err(ApiError::NotGcode);
            }
            let file = shared.files.get(&name).ok_or(ApiError::FileNotFound)?;
            shared.machine.lock().start(shared.now(), file.gcode())?;
        }
        Order::Pause => shared.machine.lock().pause(shared.now())?,
        Order::Resume => shared.machine.lock().resume(shared.now())?,
        Order::Cancel => shared.machine.lock().cancel(shared.now())?,
        Order::LightOn => shared.machine.lock().set_light(true),
        Order::LightOff => shared.machine.lock().set_light(false),
    }
    shared.notify_changed();
    Ok(json_text(shared.state_json()))
}

fn action(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|argument| argument.strip_prefix("action="))
}

fn camera_stream(shared: &Shared, method: &Method) -> Response<Body> {
    let content_type = format!("multipart/x-mixed-replace;boundary={BOUNDARY}");
    streamed(&content_type, shared.camera.parts(), method)
}

async fn snapshot(shared: &Shared) -> Result<Response<Body>, ApiError> {
    let picture = timeout(PATIENCE, shared.camera.snapshot()).await.ok().flatten().ok_or(ApiError::NoPicture)?;
    let mut response = bytes("image/jpeg", picture);
    set(&mut response, header::CACHE_CONTROL, "no-store");
    Ok(response)
}

fn streamed(
    content_type: &str,
    stream: impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static,
    method: &Method,
) -> Response<Body> {
    // Nobody reads the body of an answer to `HEAD`, so nobody must be counted as watching.
    let mut response = if *method == Method::HEAD {
        empty(StatusCode::OK)
    } else {
        Response::new(StreamBody::new(stream).map_err(never).boxed_unsync())
    };
    set(&mut response, header::CONTENT_TYPE, content_type);
    set(&mut response, header::CACHE_CONTROL, "no-store");
    response
}
