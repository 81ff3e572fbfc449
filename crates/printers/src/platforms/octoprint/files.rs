//! OctoPrint's files and logs.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::OctoPrint;
use super::state::refused;
use crate::platforms::{
    CommandFailure, Download, FileChange, FileDetails, FileEntry, Listing, Outcome, Root, StartOrder, Upload,
    VirtualPath, encode_path,
};
use crate::software_client::{Answer, Form};

/// Folders in folders; OctoPrint's own limit is the file system's.
const MAX_DEPTH: usize = 32;
/// The log that people ask for.
const LOG: &str = "octoprint.log";

#[derive(Deserialize)]
struct Files {
    #[serde(default)]
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    name: String,
    #[serde(default)]
    path: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    date: Option<f64>,
    #[serde(default)]
    children: Vec<Entry>,
}

impl OctoPrint {
    pub(super) async fn list(&self, root: Root) -> Outcome<Listing> {
        let path = if root == Root::Logs { "/plugin/logging/logs" } else { "/api/files/local?recursive=true" };
        let answer = self.client.get_list(path).await?;
        self.check_file(&answer)?;
        let mut listing = Listing::default();
        let files: Files = answer.json()?;
        collect(&mut listing, files.files, root, 0);
        Ok(listing)
    }

    pub(super) async fn details(&self, path: &VirtualPath) -> Outcome<FileDetails> {
        let answer = self.client.get(&api_path(path)).await?;
        self.check_file(&answer)?;
        let native: Value = answer.json()?;
        Ok(FileDetails {
            platform_path: path.relative().to_owned(),
            size: native["size"].as_u64(),
            modified: native["date"].as_f64(),
            known: known(&native),
            platform_details: Some(native),
        })
    }

    pub(super) async fn store(&self, path: &VirtualPath, upload: Upload) -> Outcome<FileChange> {
        let (folder, name) = path.folder_and_name();
        let form = Form::new(&[("path", folder)]);
        let mut headers = HeaderMap::new();
        let kind = form.content_type().map_err(|error| CommandFailure::Failed(error.to_string()))?;
        headers.insert(header::CONTENT_TYPE, kind);
        let (body, length) = form.with_file(name, upload);
        let answer = self.client.upload("/api/files/local", Method::POST, headers, body, length).await?;
        self.check_file(&answer)?;
        let native = answer.json::<Value>().ok();
        let stored = native.as_ref().and_then(|native| native["files"]["local"]["path"].as_str()).map(str::to_owned);
        let platform_path = stored.clone().unwrap_or_else(|| path.relative().to_owned());
        Ok(FileChange { platform_path, stored_as: stored, printer_response: native })
    }

    pub(super) async fn open(&self, path: &VirtualPath) -> Outcome<Download> {
        let place = if path.root() == Root::Logs { "logs" } else { "files/local" };
        match self.client.download(&format!("/downloads/{place}/{}", path.encoded())).await? {
            Ok(download) => Ok(download),
            Err(answer) => Err(self.file_failure(&answer)),
        }
    }

    pub(super) async fn open_log(&self) -> Outcome<Download> {
        match self.client.download(&format!("/downloads/logs/{LOG}")).await? {
            Ok(download) => Ok(download),
            Err(answer) => Err(self.file_failure(&answer)),
        }
    }

    pub(super) async fn remove(&self, path: &VirtualPath) -> Outcome<FileChange> {
        let url = if path.root() == Root::Logs {
            format!("/plugin/logging/logs/{}", encode_path(path.relative()))
        } else {
            api_path(path)
        };
        let answer = self.client.delete(&url).await?;
        self.check_file(&answer)?;
        Ok(FileChange { platform_path: path.relative().to_owned(), ..FileChange::default() })
    }

    pub(super) async fn start_print(&self, order: &StartOrder) -> Outcome<FileChange> {
        let answer = self.client.post(&api_path(&order.path), &json!({"command": "select", "print": true})).await?;
        if answer.status == StatusCode::CONFLICT {
            let problem = "OctoPrint cannot print that now: a print is under way, or the printer is not connected";
            return Err(CommandFailure::WrongState(problem.to_owned()));
        }
        self.check_file(&answer)?;
        Ok(FileChange { platform_path: order.path.relative().to_owned(), ..FileChange::default() })
    }

    fn check_file(&self, answer: &Answer) -> Outcome<()> {
        if answer.status.is_success() { Ok(()) } else { Err(self.file_failure(answer)) }
    }

    fn file_failure(&self, answer: &Answer) -> CommandFailure {
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => refused(&self.client),
            StatusCode::NOT_FOUND => CommandFailure::NotFound("OctoPrint has no such file".to_owned()),
            status if status.as_u16() >= 400 => {
                CommandFailure::Software(status.as_u16(), format!("OctoPrint answers: {}", message(answer.body())))
            }
            status => CommandFailure::Software(502, format!("OctoPrint answers {}", status.as_u16())),
        }
    }
}

fn api_path(path: &VirtualPath) -> String {
    format!("/api/files/local/{}", path.encoded())
}

/// What OctoPrint says is wrong, as far as it is a text.
fn message(body: &Bytes) -> String {
    let said = serde_json::from_slice::<Value>(body).ok();
    let said = said.as_ref().and_then(|said| said["error"].as_str()).map(str::to_owned);
    said.unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(1000)]).into_owned())
}

fn collect(listing: &mut Listing, entries: Vec<Entry>, root: Root, depth: usize) {
    for entry in entries {
        // Logs have names only.
        let path = if root == Root::Logs { entry.name } else { entry.path };
        if path.is_empty() {
            continue;
        }
        if entry.kind == "folder" {
            if depth < MAX_DEPTH {
                collect(listing, entry.children, root, depth + 1);
            }
            listing.folders.push(path);
            continue;
        }
        listing.files.push(FileEntry {
            platform_path: path.clone(),
            relative: path,
            size: entry.size,
            modified: entry.date,
            permissions: None,
        });
    }
}

/// What OctoPrint's analysis says of a file, by the names of the interface.
fn known(native: &Value) -> Map<String, Value> {
    let analysis = &native["gcodeAnalysis"];
    let filament = analysis["filament"].as_object().map(|tools| {
        tools.values().filter_map(|tool| tool["length"].as_f64()).filter(|length| length.is_finite()).sum::<f64>()
    });
    let numbers = [
        ("EstPrintTimeSec", analysis["estimatedPrintTime"].as_f64()),
        ("EstFilamentUsedMm", filament),
        ("ObjectHeightMm", analysis["dimensions"]["height"].as_f64()),
    ];
    numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_walked_and_odd_entries_passed_over() {
        let text = r#"{"files":[{"name":"a.gcode","path":"a.gcode","type":"machinecode","size":5,"date":7},
            {"name":"f","path":"f","type":"folder","children":[{"name":"b","path":"f/b","type":"model","x":[1]},
            {"type":"machinecode"}]}]}"#;
        let files: Files = serde_json::from_str(text).expect("it is OctoPrint's form");
        let mut listing = Listing::default();
        collect(&mut listing, files.files, Root::Gcode, 0);
        let paths: Vec<_> = listing.files.iter().map(|file| (file.relative.as_str(), file.size)).collect();
        assert_eq!((paths, listing.folders), (vec![("a.gcode", Some(5)), ("f/b", None)], vec!["f".to_owned()]));
    }

    #[test]
    fn the_analysis_is_summed() {
        let native = json!({"gcodeAnalysis": {"estimatedPrintTime": 60.5, "dimensions": {"height": 12},
            "filament": {"tool0": {"length": 100.0}, "tool1": {"length": 50.5}, "tool2": null}}});
        let expected = json!({"EstPrintTimeSec": 60.5, "EstFilamentUsedMm": 150.5, "ObjectHeightMm": 12.0});
        assert_eq!(Value::Object(known(&native)), expected);
        assert!(known(&json!({})).is_empty());
    }
}
