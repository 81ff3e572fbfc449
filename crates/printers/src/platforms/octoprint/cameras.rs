//! OctoPrint's cameras, as its settings describe them.

use model::printing::Camera;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::cameras::{CameraAddresses, CameraSource};

/// The part of `GET /api/settings` that is about cameras; everything else is passed over unread.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    webcam: Webcams,
    plugins: Plugins,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Webcams {
    webcam_enabled: Option<bool>,
    /// Since OctoPrint 1.9.
    #[serde(deserialize_with = "those_that_can_be_read")]
    webcams: Vec<Webcam>,
    /// The only one, before; since then the default one again.
    stream_url: Option<String>,
    snapshot_url: Option<String>,
    #[serde(rename = "flipH")]
    flip_h: Option<bool>,
    #[serde(rename = "flipV")]
    flip_v: Option<bool>,
    rotate90: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webcam {
    name: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default, rename = "flipH")]
    flip_h: bool,
    #[serde(default, rename = "flipV")]
    flip_v: bool,
    #[serde(default)]
    rotate90: bool,
    #[serde(default)]
    compat: Option<Compat>,
}

#[derive(Debug, Deserialize)]
struct Compat {
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    snapshot: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Plugins {
    multicam: Multicam,
}

/// The plug-in of that name, for OctoPrints that have one camera by themselves.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Multicam {
    #[serde(deserialize_with = "those_that_can_be_read")]
    multicam_profiles: Vec<MulticamProfile>,
}

#[derive(Debug, Deserialize)]
struct MulticamProfile {
    name: String,
    #[serde(rename = "URL")]
    url: String,
    #[serde(default)]
    snapshot: Option<String>,
    #[serde(default, rename = "flipH")]
    flip_h: bool,
    #[serde(default, rename = "flipV")]
    flip_v: bool,
    #[serde(default)]
    rotate90: bool,
}

/// One odd entry of a plug-in's must not hide the others.
fn those_that_can_be_read<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let all = Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(all.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect())
}

/// OctoPrint turns counter-clockwise.
fn camera(name: &str, flip_h: bool, flip_v: bool, rotate90: bool) -> Camera {
    Camera { name: name.to_owned(), flip_h, flip_v, rotation: if rotate90 { 270 } else { 0 } }
}

impl Settings {
    pub(super) fn cameras(&self, addresses: &CameraAddresses) -> Vec<CameraSource> {
        let mut found: Vec<CameraSource> = Vec::new();
        let mut add = |camera: Camera, stream: Option<&str>, snapshot: Option<&str>| {
            if let Some(source) = addresses.source(camera, stream, snapshot)
                && !found.iter().any(|known| known.is_same_picture(&source))
            {
                found.push(source);
            }
        };
        let webcams = &self.webcam;
        if webcams.webcam_enabled != Some(false) {
            for webcam in &webcams.webcams {
                let name = webcam.display_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&webcam.name);
                if let Some(compat) = &webcam.compat {
                    let camera = camera(name, webcam.flip_h, webcam.flip_v, webcam.rotate90);
                    add(camera, compat.stream.as_deref(), compat.snapshot.as_deref());
                }
            }
            if webcams.webcams.is_empty() {
                let is = |flag: Option<bool>| flag.unwrap_or(false);
                let camera = camera("webcam", is(webcams.flip_h), is(webcams.flip_v), is(webcams.rotate90));
                add(camera, webcams.stream_url.as_deref(), webcams.snapshot_url.as_deref());
            }
        }
        for profile in &self.plugins.multicam.multicam_profiles {
            let camera = camera(&profile.name, profile.flip_h, profile.flip_v, profile.rotate90);
            add(camera, Some(&profile.url), profile.snapshot.as_deref());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use crate::cameras::tests::no_tls;

    fn names(settings: &str) -> Vec<(String, bool, bool, u16)> {
        let addresses = CameraAddresses::new(&"http://octopi.local:5000".parse().unwrap(), vec![], &no_tls());
        let settings: Settings = serde_json::from_str(settings).unwrap();
        let parts = |source: CameraSource| {
            let Camera { name, flip_h, flip_v, rotation } = source.camera;
            (name, flip_h, flip_v, rotation)
        };
        settings.cameras(&addresses).into_iter().map(parts).collect()
    }

    #[test]
    fn new_old_and_multicam_cameras_are_found_once_each() {
        let new = r#"{"webcam":{"webcamEnabled":true,"streamUrl":"/webcam/?action=stream","webcams":[
            {"name":"classic","displayName":"Classic","flipH":true,"flipV":false,"rotate90":true,
             "compat":{"stream":"/webcam/?action=stream","snapshot":"http://localhost:8080/?action=snapshot"}},
            {"name":"rtc","compat":null}, {"odd":1}, 7]},
            "plugins":{"multicam":{"multicam_profiles":[
             {"name":"Default","URL":"/webcam/?action=stream","snapshot":"http://localhost:8080/?action=snapshot"},
             {"name":"Side","URL":"/side/","flipV":true}]}, "other":[1]}}"#;
        let classic = ("Classic".to_owned(), true, false, 270);
        assert_eq!(names(new), [classic, ("Side".to_owned(), false, true, 0)]);
        let old = r#"{"webcam":{"streamUrl":"/webcam/?action=stream","snapshotUrl":null,"flipV":true}}"#;
        assert_eq!(names(old), [("webcam".to_owned(), false, true, 0)]);
        for none in ["{}", r#"{"webcam":{"webcamEnabled":false,"streamUrl":"/x"}}"#, r#"{"webcam":{"webcams":null}}"#] {
            assert_eq!(names(none), []);
        }
    }
}
