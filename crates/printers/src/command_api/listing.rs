//! Lists of files as trees of folders.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::platforms::{FileEntry, Listing, Root};

/// Entries of one list. A printer that says more is not listed further.
const MAX_ENTRIES: usize = 20_000;
/// Folders in folders; serialising is recursive.
const MAX_DEPTH: usize = 32;

#[derive(Default)]
struct Folder {
    folders_by_name: BTreeMap<String, Folder>,
    files: Vec<(String, FileEntry)>,
}

/// The tree below a root: folders first, names without case.
pub(super) fn tree(root: Root, listing: Listing) -> Value {
    let mut top = Folder::default();
    for folder in listing.folders.iter().take(MAX_ENTRIES) {
        descend(&mut top, folder);
    }
    for file in listing.files.into_iter().take(MAX_ENTRIES) {
        let (folder, name) = file.relative.rsplit_once('/').unwrap_or(("", &file.relative));
        let name = name.to_owned();
        if let Some(folder) = descend(&mut top, folder) {
            folder.files.push((name, file));
        }
    }
    node(root.as_str(), root.as_str().to_owned(), top)
}

/// The folder of that path, made where it is not there; `None` if it is too deep.
fn descend<'a>(top: &'a mut Folder, path: &str) -> Option<&'a mut Folder> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.len() > MAX_DEPTH {
        return None;
    }
    let step = |folder: &'a mut Folder, name: &&str| folder.folders_by_name.entry((*name).to_owned()).or_default();
    Some(segments.iter().fold(top, step))
}

fn node(name: &str, path: String, folder: Folder) -> Value {
    let mut folders: Vec<(String, Folder)> = folder.folders_by_name.into_iter().collect();
    folders.sort_by_key(|(name, _)| name.to_lowercase());
    let mut files = folder.files;
    files.sort_by_key(|(name, _)| name.to_lowercase());
    let folders = folders.into_iter().map(|(name, folder)| {
        let path = format!("{path}/{name}");
        node(&name, path, folder)
    });
    let mut children: Vec<Value> = folders.collect();
    children.extend(files.into_iter().map(|(name, file)| {
        json!({
            "Type": "file", "Name": name, "VirtualPath": format!("{path}/{name}"), "PlatformPath": file.platform_path,
            "SizeBytes": file.size, "ModifiedTimeSec": file.modified, "Permissions": file.permissions,
        })
    }));
    json!({"Type": "folder", "Name": name, "VirtualPath": path, "Children": children})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_go_first_and_case_does_not_matter() {
        let file = |relative: &str| FileEntry { relative: relative.to_owned(), size: Some(1), ..FileEntry::default() };
        let listing = Listing {
            files: vec![file("b.gcode"), file("A.gcode"), file("Zoo/x.gcode"), file("zebra/in/y.gcode")],
            folders: vec!["empty".to_owned(), String::new()],
        };
        let tree = tree(Root::Gcode, listing);
        let names = |node: &Value| -> Vec<String> {
            let children = node["Children"].as_array().cloned().unwrap_or_default();
            children.iter().map(|child| child["Name"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(names(&tree), ["empty", "zebra", "Zoo", "A.gcode", "b.gcode"]);
        assert_eq!((&tree["Type"], &tree["VirtualPath"]), (&json!("folder"), &json!("gcode")));
        let deep = &tree["Children"][1]["Children"][0]["Children"][0];
        assert_eq!((&deep["VirtualPath"], &deep["SizeBytes"]), (&json!("gcode/zebra/in/y.gcode"), &json!(1)));
        assert!(deep["Permissions"].is_null());
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let file = |relative: String| FileEntry { relative, ..FileEntry::default() };
        let mut files: Vec<FileEntry> = (0..30_000).map(|number| file(format!("{number}.gcode"))).collect();
        files.insert(0, file("d/".repeat(5000) + "x"));
        let tree = tree(Root::Gcode, Listing { files, folders: vec!["e/".repeat(5000)] });
        assert_eq!(tree["Children"].as_array().map(Vec::len), Some(MAX_ENTRIES - 1));
    }
}
