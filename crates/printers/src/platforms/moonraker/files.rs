//! Moonraker's files.

use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Moonraker;
use crate::platforms::{
    CommandFailure, Download, FileChange, FileDetails, FileEntry, Listing, Outcome, Root, Upload, VirtualPath,
};
use crate::software_client::{Answer, Form};

/// Names that the interface and Moonraker have for the same numbers and texts.
const NAMES: [(&str, &str, Kind); 16] = [
    ("EstPrintTimeSec", "estimated_time", Kind::Number),
    ("EstFilamentUsedMm", "filament_total", Kind::Number),
    ("EstFilamentWeightMg", "filament_weight_total", Kind::Grams),
    ("LayerCount", "layer_count", Kind::Number),
    ("LayerHeightMm", "layer_height", Kind::Number),
    ("FirstLayerHeightMm", "first_layer_height", Kind::Number),
    ("ObjectHeightMm", "object_height", Kind::Number),
    ("NozzleDiameterMm", "nozzle_diameter", Kind::Number),
    ("FilamentType", "filament_type", Kind::Text),
    ("FilamentName", "filament_name", Kind::Text),
    ("BedTempC", "first_layer_bed_temp", Kind::Number),
    ("HotendTempC", "first_layer_extr_temp", Kind::Number),
    ("ChamberTempC", "chamber_temp", Kind::Number),
    ("PrintStartTimeSec", "print_start_time", Kind::Number),
    ("Slicer", "slicer", Kind::Text),
    ("SlicerVersion", "slicer_version", Kind::Text),
];

#[derive(Clone, Copy)]
enum Kind {
    Number,
    Text,
    /// The interface counts milligrams.
    Grams,
}

#[derive(Deserialize)]
struct Listed {
    result: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    modified: Option<f64>,
    #[serde(default)]
    permissions: Option<String>,
}

impl Moonraker {
    pub(super) async fn list(&self, root: Root) -> Outcome<Listing> {
        let answer = self.client.get_list(&format!("/server/files/list?root={}", own_name(root))).await?;
        self.check_file(&answer)?;
        let listed: Listed = answer.json()?;
        let entry = |entry: Entry| FileEntry {
            platform_path: format!("{}/{}", own_name(root), entry.path),
            relative: entry.path,
            size: entry.size,
            modified: entry.modified,
            permissions: entry.permissions,
        };
        Ok(Listing { files: listed.result.into_iter().map(entry).collect(), folders: vec![] })
    }

    pub(super) async fn details(&self, path: &VirtualPath) -> Outcome<FileDetails> {
        let native = self.call("server.files.metadata", json!({"filename": path.relative()})).await?;
        Ok(FileDetails {
            platform_path: own_path(path),
            size: native["size"].as_u64(),
            modified: native["modified"].as_f64(),
            known: known(&native),
            platform_details: Some(native),
        })
    }

    pub(super) async fn store(&self, path: &VirtualPath, upload: Upload) -> Outcome<FileChange> {
        let (folder, name) = path.folder_and_name();
        let form = Form::new(&[("root", own_name(path.root())), ("path", folder)]);
        let mut headers = HeaderMap::new();
        let kind = form.content_type().map_err(|error| CommandFailure::Failed(error.to_string()))?;
        headers.insert(header::CONTENT_TYPE, kind);
        let (body, length) = form.with_file(name, upload);
        let answer = self.client.upload("/server/files/upload", Method::POST, headers, body, length).await?;
        self.check_file(&answer)?;
        let native = answer.json::<Value>().ok();
        // Some versions wrap this answer as all others, and some do not.
        let item = native.as_ref().map(|native| native.pointer("/result/item").unwrap_or(&native["item"]));
        let stored = item.and_then(|item| item["path"].as_str()).map(str::to_owned);
        let relative = stored.as_deref().unwrap_or(path.relative());
        let platform_path = format!("{}/{relative}", own_name(path.root()));
        Ok(FileChange { platform_path, stored_as: stored, printer_response: native })
    }

    pub(super) async fn open(&self, path: &VirtualPath) -> Outcome<Download> {
        match self.client.download(&url(path)).await? {
            Ok(download) => Ok(download),
            Err(answer) => Err(self.file_failure(&answer)),
        }
    }

    pub(super) async fn remove(&self, path: &VirtualPath) -> Outcome<FileChange> {
        let answer = self.client.delete(&url(path)).await?;
        self.check_file(&answer)?;
        Ok(FileChange { platform_path: own_path(path), stored_as: None, printer_response: answer.json::<Value>().ok() })
    }

    fn check_file(&self, answer: &Answer) -> Outcome<()> {
        if answer.status.is_success() { Ok(()) } else { Err(self.file_failure(answer)) }
    }

    fn file_failure(&self, answer: &Answer) -> CommandFailure {
        let said = answer.json::<Value>().ok();
        let said = said.as_ref().and_then(|said| said["error"]["message"].as_str()).unwrap_or("no reason");
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.key_failure(),
            StatusCode::NOT_FOUND => CommandFailure::NotFound("Moonraker has no such file".to_owned()),
            status if status.as_u16() >= 400 => {
                CommandFailure::Software(status.as_u16(), format!("Moonraker answers: {said}"))
            }
            status => CommandFailure::Software(502, format!("Moonraker answers {}", status.as_u16())),
        }
    }
}

/// Moonraker's own name of a root.
fn own_name(root: Root) -> &'static str {
    match root {
        Root::Gcode => "gcodes",
        Root::Config => "config",
        Root::Logs => "logs",
    }
}

fn own_path(path: &VirtualPath) -> String {
    format!("{}/{}", own_name(path.root()), path.relative())
}

fn url(path: &VirtualPath) -> String {
    format!("/server/files/{}/{}", own_name(path.root()), path.encoded())
}

fn known(native: &Value) -> Map<String, Value> {
    let mut known = Map::new();
    for (name, own, kind) in NAMES {
        let value = &native[own];
        let number = || value.as_f64().filter(|number| number.is_finite() && *number >= 0.0);
        let value = match kind {
            Kind::Number => number().map(|_| value.clone()),
            Kind::Grams => number().map(|grams| json!(grams * 1000.0)),
            Kind::Text => value.as_str().filter(|text| !text.is_empty()).map(|text| json!(text)),
        };
        if let Some(value) = value {
            known.insert(name.to_owned(), value);
        }
    }
    if let Some(thumbnails) = native["thumbnails"].as_array() {
        known.insert("ThumbnailCount".to_owned(), json!(thumbnails.len()));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slicers_words_are_translated() {
        let native = json!({"size": 5, "estimated_time": 60, "filament_weight_total": 2.5, "filament_type": "",
            "slicer": "PrusaSlicer", "layer_height": 0.2, "thumbnails": [{}, {}], "nozzle_diameter": "x",
            "print_start_time": null});
        let expected = json!({"EstPrintTimeSec": 60, "EstFilamentWeightMg": 2500.0, "Slicer": "PrusaSlicer",
            "LayerHeightMm": 0.2, "ThumbnailCount": 2});
        assert_eq!(Value::Object(known(&native)), expected);
    }
}
