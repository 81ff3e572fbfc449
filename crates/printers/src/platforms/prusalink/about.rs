//! What PrusaLink says of itself and its printer.

use serde_json::{Map, Value};

use super::check;
use crate::platforms::Outcome;
use crate::software_client::SoftwareClient;

/// Characters of a version with a name; they are shown to people.
const MAX_VERSION: usize = 100;

/// What hardly ever changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    /// As `PlatformVersion` has it.
    pub(super) version: String,
    /// Whether a camera is in use.
    pub(super) has_camera: bool,
}

pub(super) async fn ask(client: &SoftwareClient) -> Outcome<About> {
    let version = client.get("/api/version").await?;
    check(client, &version)?;
    let info = client.get("/api/v1/info").await?;
    check(client, &info)?;
    Ok(read(&version.json()?, &info.json()?))
}

fn read(version: &Map<String, Value>, info: &Map<String, Value>) -> About {
    let text = |object: &Map<String, Value>, key: &str| {
        object.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    // The firmware of some printers has no name for them, but one in the network.
    let name = text(info, "name").or_else(|| text(info, "hostname"));
    let parts: Vec<String> = [text(version, "text"), name].into_iter().flatten().collect();
    let version = parts.join("-").chars().filter(|letter| !letter.is_control()).take(MAX_VERSION).collect();
    About { version, has_camera: info.get("active_camera").is_some_and(says_yes) }
}

/// Whether a camera's mark, which may be its id or a plain yes, says that there is one.
pub(super) fn says_yes(mark: &Value) -> bool {
    match mark {
        Value::Bool(is) => *is,
        Value::String(id) => !id.is_empty(),
        Value::Number(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_version_is_text_and_name() {
        let about = |version: Value, info: Value| {
            let of = |value: Value| value.as_object().cloned().unwrap_or_default();
            let About { version, has_camera } = read(&of(version), &of(info));
            (version, has_camera)
        };
        let text = json!({"text": "PrusaLink", "server": "2.1.2"});
        let named = json!({"name": "MK4", "hostname": "prusa-mk4", "active_camera": true});
        assert_eq!(about(text.clone(), named), ("PrusaLink-MK4".to_owned(), true));
        let firmware = json!({"hostname": "prusa-\nxl", "active_camera": false});
        assert_eq!(about(text.clone(), firmware), ("PrusaLink-prusa-xl".to_owned(), false));
        assert_eq!(about(text, json!({"name": 7, "active_camera": null})), ("PrusaLink".to_owned(), false));
        assert_eq!(about(json!({}), json!({"active_camera": "usb-0"})), (String::new(), true));
        let long = about(json!({"text": "x".repeat(1000)}), json!({"active_camera": ""}));
        assert_eq!((long.0.len(), long.1), (MAX_VERSION, false));
    }
}
