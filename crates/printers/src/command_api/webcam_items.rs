//! Cameras that the owner has added at the agent, and which camera is the default: kept in a small file.

use std::path::PathBuf;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::warn;

use crate::platforms::{CommandFailure, Outcome};

/// Cameras of one printer; more than a few nobody has.
const MAX_ITEMS: usize = 16;
/// Characters of a name, as it is shown.
const MAX_NAME: usize = 20;
/// Characters of an address; browsers take none much longer.
const MAX_URL: usize = 2048;
/// What is kept is far shorter; a larger file is not ours.
const MAX_FILE: u64 = 256 * 1024;

/// Where the cameras are kept; nowhere, by default.
#[derive(Clone, Debug, Default)]
pub struct WebcamMemory {
    /// A file that only this agent writes.
    pub path: Option<PathBuf>,
}

/// A camera that the owner has added. All of it must be said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WebcamItem {
    pub(super) name: String,
    pub(super) flip_h: bool,
    pub(super) flip_v: bool,
    /// Clockwise degrees: 0, 90, 180 or 270.
    pub(super) rotation: u16,
    pub(super) enabled: bool,
    pub(super) snapshot_url: String,
    pub(super) stream_url: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    default_name: Option<String>,
    items: Vec<WebcamItem>,
}

/// The owner's cameras.
pub(super) struct WebcamSettings {
    memory: WebcamMemory,
    kept: Mutex<Kept>,
}

impl WebcamSettings {
    /// Goes on from what was kept, if it can be read.
    pub(super) fn open(memory: WebcamMemory) -> Self {
        let read = memory.path.as_ref().and_then(|path| {
            let is_small = std::fs::metadata(path).is_ok_and(|file| file.len() <= MAX_FILE);
            is_small.then(|| std::fs::read(path).ok())?
        });
        let kept = read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { memory, kept: Mutex::new(kept) }
    }

    /// As they are answered, those that are switched off too.
    pub(super) fn items(&self) -> Value {
        json!({"LocalPluginWebcams": self.kept.lock().items})
    }

    /// Those that are switched on.
    pub(super) fn enabled(&self) -> Vec<WebcamItem> {
        self.kept.lock().items.iter().filter(|item| item.enabled).cloned().collect()
    }

    /// The name of the default camera, in lower case.
    pub(super) fn default_name(&self) -> Option<String> {
        self.kept.lock().default_name.clone()
    }

    pub(super) fn set_default(&self, name: &str) -> Outcome<()> {
        let name = name.trim().to_lowercase().chars().filter(|letter| !letter.is_control()).take(MAX_NAME).collect();
        let kept = Kept { default_name: Some(name), ..self.kept.lock().clone() };
        self.keep(kept)
    }

    /// Replaces all cameras, or none if one of them is no good. `is_allowed` says whether an address may be used.
    pub(super) fn replace(&self, items: &[Value], is_allowed: impl Fn(&str) -> bool) -> Outcome<()> {
        if items.len() > MAX_ITEMS {
            return Err(CommandFailure::BadArguments(format!("at most {MAX_ITEMS} cameras can be added")));
        }
        let items: Result<Vec<WebcamItem>, _> = items.iter().map(|item| read(item, &is_allowed)).collect();
        let kept = Kept { items: items?, ..self.kept.lock().clone() };
        self.keep(kept)
    }

    fn keep(&self, kept: Kept) -> Outcome<()> {
        if let Some(path) = &self.memory.path {
            let failed = |error: &dyn std::fmt::Display| {
                warn!("the cameras cannot be kept: {error}");
                CommandFailure::Failed("the agent cannot keep that: see its log".to_owned())
            };
            let bytes = serde_json::to_vec(&kept).map_err(|error| failed(&error))?;
            crate::whole_file::write_whole(path, &bytes).map_err(|error| failed(&error))?;
        }
        *self.kept.lock() = kept;
        Ok(())
    }
}

fn read(item: &Value, is_allowed: &impl Fn(&str) -> bool) -> Outcome<WebcamItem> {
    let bad = |message: &str| CommandFailure::BadArguments(message.to_owned());
    let mut item = WebcamItem::deserialize(item).map_err(|error| bad(&format!("a camera cannot be read: {error}")))?;
    item.name = display_name(&item.name);
    if item.name.is_empty() {
        return Err(bad("a camera needs a name"));
    }
    if !matches!(item.rotation, 0 | 90 | 180 | 270) {
        return Err(bad("`Rotation` must be 0, 90, 180 or 270"));
    }
    let urls: Vec<&String> = [&item.snapshot_url, &item.stream_url].into_iter().filter(|url| !url.is_empty()).collect();
    if urls.is_empty() || urls.iter().any(|url| url.len() > MAX_URL) {
        return Err(bad("a camera needs an address"));
    }
    // Else whoever may use this connection could look around in the agent's network.
    if urls.iter().any(|url| !is_allowed(url)) {
        return Err(bad("a camera's address must lead to the printer's host, or to one that `camera_hosts` allows"));
    }
    Ok(item)
}

/// A name as apps want it: short, its first letter upper case, without slashes.
pub(super) fn display_name(name: &str) -> String {
    let mut letters = name.chars().filter(|letter| *letter != '/' && !letter.is_control());
    let first = letters.find(|letter| !letter.is_whitespace());
    let upper = first.into_iter().flat_map(char::to_uppercase);
    upper.chain(letters).take(MAX_NAME).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn item(change: impl Fn(&mut Value)) -> Value {
        let mut item = json!({"Name": "top", "FlipH": false, "FlipV": true, "Rotation": 90, "Enabled": true,
            "SnapshotUrl": "", "StreamUrl": "/cam"});
        change(&mut item);
        item
    }

    #[test]
    fn one_bad_camera_changes_nothing_and_good_ones_survive() {
        let directory = tempfile::tempdir().unwrap();
        let memory = WebcamMemory { path: Some(directory.path().join("webcams.json")) };
        let settings = WebcamSettings::open(memory.clone());
        let allowed = |url: &str| url.starts_with('/');
        settings.replace(&[item(|_| {}), item(|item| item["Enabled"] = json!(false))], allowed).unwrap();
        settings.set_default("TOP ").unwrap();
        let kept = settings.items();
        for bad in [
            item(|item| item["Name"] = json!("/")),
            item(|item| item["Name"] = Value::Null),
            item(|item| item["Rotation"] = json!(45)),
            item(|item| item["Rotation"] = json!("90")),
            item(|item| item["FlipH"] = json!(1)),
            item(|item| item["StreamUrl"] = json!("")),
            item(|item| item["StreamUrl"] = json!("http://192.168.1.1/")),
            item(|item| item["StreamUrl"] = json!(format!("/{}", "a".repeat(5000)))),
            item(|item| drop(item.as_object_mut().unwrap().remove("SnapshotUrl"))),
            json!(7),
        ] {
            let refused = settings.replace(&[item(|_| {}), bad.clone()], allowed);
            assert!(matches!(refused, Err(CommandFailure::BadArguments(_))), "{bad}");
            assert_eq!(settings.items(), kept);
        }
        assert!(settings.replace(&vec![item(|_| {}); 17], allowed).is_err());
        let again = WebcamSettings::open(memory.clone());
        assert_eq!((again.items(), again.default_name()), (kept, Some("top".to_owned())));
        assert_eq!(again.enabled().len(), 1);
        std::fs::write(memory.path.as_ref().unwrap(), "{").unwrap();
        assert_eq!(WebcamSettings::open(memory).enabled(), []);
    }

    #[test]
    fn names_fit_apps() {
        for (name, expected) in [
            ("front", "Front"),
            (" a/b ", "Ab"),
            ("ärger", "Ärger"),
            ("a-very-long-name-indeed", "A-very-long-name-ind"),
            ("//", ""),
        ] {
            assert_eq!(display_name(name), expected, "{name:?}");
        }
    }
}
