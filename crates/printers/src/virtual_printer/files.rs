//! Files over HTTP: list, upload, download, delete.

use std::io::SeekFrom;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::Shared;
use super::file_name::FileName;
use super::file_store::{FileDescription, StoredFile};
use super::range::{Selection, select};
use super::response::{ApiError, Body, bytes, empty, json, require_method, set};

/// Larger steps cost less, and this much is held per download.
const READ_BUFFER: usize = 64 * 1024;
/// An upload without a byte for this long has lost its sender.
const UPLOAD_IDLE: Duration = Duration::from_secs(60);

pub(super) fn list(shared: &Shared) -> Response<Body> {
    #[derive(Serialize)]
    struct Files {
        files: Vec<FileDescription>,
    }
    let files = shared.files.list().iter().map(|file| file.description()).collect();
    json(StatusCode::OK, &Files { files })
}

pub(super) async fn one(
    shared: &Shared,
    segment: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let name = FileName::from_path_segment(segment)?;
    require_method(request.method(), "GET, HEAD, PUT, POST, DELETE")?;
    match *request.method() {
        Method::PUT | Method::POST => upload(shared, name, request.into_body()).await,
        Method::DELETE => {
            if shared.is_in_use(&name) {
                return Err(ApiError::FileInUse);
            }
            shared.files.remove(&name).ok_or(ApiError::FileNotFound)?;
            shared.notify_changed();
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => {
            let file = shared.files.get(&name).ok_or(ApiError::FileNotFound)?;
            download(file, request.headers()).await
        }
    }
}

async fn upload(shared: &Shared, name: FileName, mut body: Incoming) -> Result<Response<Body>, ApiError> {
    if shared.is_in_use(&name) {
        return Err(ApiError::FileInUse);
    }
    let mut upload = shared.files.begin(name, body.size_hint().exact()).await?;
    loop {
        let frame = tokio::time::timeout(UPLOAD_IDLE, body.frame()).await.map_err(|_| ApiError::UploadTimeout)?;
        let Some(frame) = frame else { break };
        if let Ok(data) = frame.map_err(|_| ApiError::UploadIncomplete)?.into_data() {
            upload.write(&data).await?;
        }
    }
    let (stored, replaced) = shared.files.finish(upload).await?;
    shared.notify_changed();
    let mut response =
        json(if replaced.is_some() { StatusCode::OK } else { StatusCode::CREATED }, &stored.description());
    set(&mut response, header::ETAG, &stored.entity_tag());
    set(&mut response, header::LOCATION, &format!("/api/files/{}", stored.name().as_str().replace(' ', "%20")));
    Ok(response)
}

async fn download(file: Arc<StoredFile>, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let length = file.length();
    let tag = file.entity_tag();
    let mut response = match select(headers, length, &tag) {
        Selection::Whole => {
            let mut response = contents(&file, 0, length).await?;
            set(&mut response, header::CONTENT_LENGTH, &length.to_string());
            response
        }
        Selection::Part { first, last } => {
            let mut response = contents(&file, first, last - first + 1).await?;
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut response, header::CONTENT_LENGTH, &(last - first + 1).to_string());
            set(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
            response
        }
        Selection::NotModified => empty(StatusCode::NOT_MODIFIED),
        Selection::PreconditionFailed => empty(StatusCode::PRECONDITION_FAILED),
        Selection::Unsatisfiable => {
            let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{length}"));
            response
        }
    };
    set(&mut response, header::ETAG, &tag);
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    // A client asks whether its copy is still good each time: a file of the same name may be another one.
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    Ok(response)
}

/// `length` bytes from `first` on.
async fn contents(file: &Arc<StoredFile>, first: u64, length: u64) -> Result<Response<Body>, ApiError> {
    let mut opened = file.open().await.map_err(super::file_store::StoreError::from)?;
    opened.seek(SeekFrom::Start(first)).await.map_err(super::file_store::StoreError::from)?;
    // The store deletes a removed file when nobody holds it any more.
    let held = Arc::clone(file);
    let chunks = stream::try_unfold((opened, length, held), |(mut opened, left, held)| async move {
        let mut chunk = read_chunk(&mut opened, left).await?;
        if chunk.is_empty() {
            return Ok(None);
        }
        let left = left - chunk.len() as u64;
        Ok(Some((Frame::data(chunk.split().freeze()), (opened, left, held))))
    });
    let mut response = bytes("application/octet-stream", bytes::Bytes::new());
    *response.body_mut() = StreamBody::new(chunks).boxed_unsync();
    if file.name().is_gcode() {
        set(&mut response, header::CONTENT_TYPE, "text/x.gcode");
    }
    set(&mut response, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{}\"", file.name()));
    Ok(response)
}

async fn read_chunk(file: &mut File, left: u64) -> std::io::Result<BytesMut> {
    let mut chunk = BytesMut::new();
    if left > 0 {
        chunk.reserve(READ_BUFFER);
        file.take(left.min(READ_BUFFER as u64)).read_buf(&mut chunk).await?;
    }
    Ok(chunk)
}
