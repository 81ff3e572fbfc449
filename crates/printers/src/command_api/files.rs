//! Commands about files.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Response, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tracing::warn;
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::BoxError;

use super::arguments::{Arguments, missing};
use super::listing::tree;
use super::{BODY_LIMIT, CommandApi, FILES_LIMIT};
use crate::platforms::{CommandFailure, FileChange, FileDetails, Outcome, Root, Upload, VirtualPath};

impl CommandApi {
    pub(super) async fn list_files(&self, arguments: &Arguments) -> Outcome<Value> {
        let name = match arguments.text(&["root"])? {
            Some(root) => Some(root),
            None => arguments.text(&["path"])?.map(first_segment),
        };
        let wanted = match name.map(str::trim).filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => Some(Root::from_name(name).ok_or_else(|| bad("there is no such root"))?),
        };
        let platform = self.platform()?;
        let listed = platform.facts().files.list;
        if listed.is_empty() {
            return Err(CommandFailure::NotSupported);
        }
        let roots: Vec<Root> = match wanted {
            Some(root) if listed.contains(&root) => vec![root],
            Some(_) => return Err(bad("this printer has no such root")),
            None => listed.to_vec(),
        };
        let mut nodes = Vec::new();
        for root in &roots {
            match platform.list_files(*root).await {
                Ok(listing) => nodes.push(tree(*root, listing)),
                // Files to print are what people come for; a log that cannot be listed must not hide them.
                Err(failure) if *root == Root::Gcode || wanted.is_some() => return Err(failure),
                Err(failure) => warn!("the files below {} cannot be listed: {failure}", root.as_str()),
            }
        }
        Ok(json!({"Root": nodes}))
    }

    pub(super) async fn file_details(&self, arguments: &Arguments) -> Outcome<Value> {
        let path = path_argument(arguments, &["path"])?;
        let platform = self.platform()?;
        allow(&path, platform.facts().files.details)?;
        let details = platform.file_details(&path).await?;
        Ok(details_result(&path, details))
    }

    pub(super) async fn delete_file(&self, arguments: &Arguments) -> Outcome<Value> {
        let path = path_argument(arguments, &["path"])?;
        let platform = self.platform()?;
        allow(&path, platform.facts().files.delete)?;
        let change = platform.delete(&path).await?;
        Ok(change_result(&path, change, None))
    }

    pub(super) async fn upload<B>(&self, arguments: &Arguments, body: B) -> Outcome<Value>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let path = path_argument(arguments, &["path"])?;
        let platform = self.platform()?;
        allow(&path, platform.facts().files.upload)?;
        let length = body.size_hint().exact();
        let mut body = Box::pin(body);
        let first = timeout(BODY_LIMIT, first_data(&mut body)).await;
        let first = first.map_err(|_| bad("the file has not come in time"))??;
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let counter = std::sync::Arc::clone(&sent);
        let rest = stream::unfold(body, |mut body| async move {
            let frame = body.frame().await?;
            Some((frame.map_err(Into::into), body))
        });
        let frames = stream::iter([Ok(Frame::data(first))]).chain(rest).inspect(move |frame: &Result<_, BoxError>| {
            if let Ok(data) = frame.as_ref().map(|frame: &Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len)) {
                counter.fetch_add(data as u64, std::sync::atomic::Ordering::Relaxed);
            }
        });
        let upload = Upload { body: StreamBody::new(frames).boxed_unsync(), length };
        let change = platform.upload(&path, upload).await?;
        Ok(change_result(&path, change, Some(sent.load(std::sync::atomic::Ordering::Relaxed))))
    }

    pub(super) async fn download(&self, arguments: &Arguments) -> Outcome<Response<ServiceBody>> {
        let path = path_argument(arguments, &["path"])?;
        let platform = self.platform()?;
        allow(&path, platform.facts().files.download)?;
        let opened = timeout(FILES_LIMIT, platform.download(&path)).await;
        let download =
            opened.map_err(|_| CommandFailure::Failed("the printer has not opened the file in time".to_owned()))??;
        let mut response = Response::new(download.body);
        let headers = response.headers_mut();
        // Whatever the printer says it is, a browser must not show it as a page of this host.
        let kind = download.content_type.filter(|kind| !kind.as_bytes().to_ascii_lowercase().starts_with(b"text/html"));
        headers.insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/octet-stream")));
        let (_, name) = path.folder_and_name();
        let encoded = crate::platforms::encode_path(name);
        if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{encoded}")) {
            headers.insert(header::CONTENT_DISPOSITION, disposition);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(length) = download.length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        Ok(response)
    }
}

/// A path by any of its names.
pub(super) fn path_argument(arguments: &Arguments, names: &[&str]) -> Outcome<VirtualPath> {
    let name = names.first().copied().unwrap_or_default();
    let text = arguments.text(names)?.ok_or_else(|| missing(name))?;
    VirtualPath::parse(text).map_err(|error| bad(&error.to_string()))
}

/// What came of a file, as it is answered.
pub(super) fn change_result(path: &VirtualPath, change: FileChange, size: Option<u64>) -> Value {
    let stored = change.stored_as.map(|stored| format!("{}/{stored}", path.root().as_str()));
    let mut result = Map::new();
    result.insert("VirtualPath".to_owned(), json!(stored.unwrap_or_else(|| path.to_string())));
    result.insert("PlatformPath".to_owned(), json!(change.platform_path));
    if let Some(size) = size {
        result.insert("SizeBytes".to_owned(), json!(size));
    }
    if let Some(response) = change.printer_response {
        result.insert("PrinterResponse".to_owned(), response);
    }
    Value::Object(result)
}

fn details_result(path: &VirtualPath, details: FileDetails) -> Value {
    let mut result = details.known;
    result.insert("VirtualPath".to_owned(), json!(path.to_string()));
    result.insert("PlatformPath".to_owned(), json!(details.platform_path));
    result.insert("FileName".to_owned(), json!(path.folder_and_name().1));
    if let Some(size) = details.size {
        result.insert("SizeBytes".to_owned(), json!(size));
    }
    if let Some(modified) = details.modified {
        result.insert("ModifiedTimeSec".to_owned(), json!(modified));
    }
    if let Some(native) = details.platform_details {
        result.insert("PlatformDetails".to_owned(), native);
    }
    Value::Object(result)
}

/// Whether a platform does that below this root.
fn allow(path: &VirtualPath, roots: &[Root]) -> Outcome<()> {
    match roots {
        [] => Err(CommandFailure::NotSupported),
        roots if roots.contains(&path.root()) => Ok(()),
        _ => Err(bad(&format!("that is not possible below `{}`", path.root().as_str()))),
    }
}

fn first_segment(path: &str) -> &str {
    path.split(['/', '\\']).find(|segment| !segment.trim().is_empty()).unwrap_or_default()
}

/// The first bytes of a file; an empty file is none.
async fn first_data<B>(body: &mut B) -> Outcome<Bytes>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    loop {
        let frame = body.frame().await.ok_or_else(|| bad("the file is empty"))?;
        let data = frame.map_err(|_| bad("the file broke off"))?.into_data().unwrap_or_default();
        if !data.is_empty() {
            return Ok(data);
        }
    }
}

fn bad(message: &str) -> CommandFailure {
    CommandFailure::BadArguments(message.to_owned())
}
