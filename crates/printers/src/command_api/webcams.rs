//! Commands about cameras.

use http::{HeaderName, HeaderValue, Response};
use model::link::AgentFailure;
use model::printing::Camera;
use model::wire::AGENT_FAILURE_HEADER;
use serde_json::{Value, json};
use tracing::warn;
use tunnel::agent_services::ServiceBody;
use url::Url;

use super::CommandApi;
use super::arguments::{Arguments, missing};
use super::webcam_items::display_name;
use crate::cameras::{CameraError, CameraSource, picture_response, stream_response};
use crate::platforms::{CommandFailure, Outcome};

/// Tells a viewer what to do with the picture; pixels are as the camera sent them.
const TRANSFORM: HeaderName = HeaderName::from_static("x-oe-webcam-transform");
/// More than any printer has.
const MAX_INDEX: u32 = 1000;

impl CommandApi {
    /// All cameras that are switched on: the printer's first, then the owner's.
    pub(super) fn webcam_list(&self, with_urls: bool) -> Value {
        let sources = self.shared.context.publisher.cameras();
        let default = self.default_index(&sources);
        let items: Vec<Value> = sources.iter().map(|source| item(source, with_urls)).collect();
        json!({"Webcams": items, "DefaultIndex": default})
    }

    pub(super) fn set_default_webcam(&self, arguments: &Arguments) -> Outcome<Value> {
        let name = arguments.text(&["Name"])?.ok_or_else(|| missing("Name"))?;
        self.webcams.set_default(name)?;
        Ok(json!({}))
    }

    pub(super) fn set_local_webcams(&self, arguments: &Arguments) -> Outcome<Value> {
        let items = arguments.get(&["LocalPluginWebcams"]).ok_or_else(|| missing("LocalPluginWebcams"))?;
        let items = items.as_array();
        let items =
            items.ok_or_else(|| CommandFailure::BadArguments("`LocalPluginWebcams` must be a list".to_owned()))?;
        let addresses = &self.shared.context.addresses;
        self.webcams.replace(items, |url| addresses.allow(url))?;
        self.show_local_webcams();
        Ok(json!({}))
    }

    /// Puts the owner's cameras behind the printer's, for everybody who asks for cameras.
    pub(super) fn show_local_webcams(&self) {
        let sources = self.webcams.enabled().into_iter().filter_map(|item| {
            let camera = Camera { name: item.name, flip_h: item.flip_h, flip_v: item.flip_v, rotation: item.rotation };
            self.shared.context.addresses.source(camera, Some(&item.stream_url), Some(&item.snapshot_url))
        });
        self.shared.context.publisher.set_local_cameras(sources.collect());
    }

    pub(super) async fn snapshot(&self, arguments: &Arguments) -> Response<ServiceBody> {
        match self.camera(arguments) {
            Ok(source) => answer(&source, self.shared.hub.snapshot(&source).await.map(picture_response)),
            Err(response) => *response,
        }
    }

    pub(super) async fn stream(&self, arguments: &Arguments) -> Response<ServiceBody> {
        match self.camera(arguments) {
            Ok(source) => answer(&source, stream_response(self.shared.hub.watch(&source)).await),
            Err(response) => *response,
        }
    }

    /// The camera that is meant: by its index, else the default one. An index that leads nowhere leads to the first.
    fn camera(&self, arguments: &Arguments) -> Result<CameraSource, Box<Response<ServiceBody>>> {
        let index = arguments.whole(&["index"], MAX_INDEX);
        let index = index.map_err(|failure| Box::new(super::raw_failure(&failure)))?;
        let sources = self.shared.context.publisher.cameras();
        let index = index.map_or_else(|| self.default_index(&sources), |index| index as usize);
        if index >= sources.len() && !sources.is_empty() {
            warn!("there is no camera {index}; the first one is shown");
        }
        let source = sources.get(index).or(sources.first()).cloned();
        source.ok_or_else(|| Box::new(no_picture("the printer has no camera")))
    }

    fn default_index(&self, sources: &[CameraSource]) -> usize {
        let name = self.webcams.default_name();
        let is_default = |source: &CameraSource| Some(display_name(&source.camera.name).to_lowercase()) == name;
        sources.iter().position(is_default).unwrap_or(0)
    }
}

fn item(source: &CameraSource, with_urls: bool) -> Value {
    let Camera { name, flip_h, flip_v, rotation } = &source.camera;
    let mut item =
        json!({"Name": display_name(name), "FlipH": flip_h, "FlipV": flip_v, "Rotation": rotation, "Enabled": true});
    if with_urls {
        item["SnapshotUrl"] = json!(source.snapshot.as_ref().map(public_url));
        item["StreamUrl"] = json!(source.stream.as_ref().map(public_url));
    }
    item
}

/// The address without the name and password that may be in it.
fn public_url(url: &Url) -> String {
    let mut url = url.clone();
    // Only addresses that have no room for them refuse this.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

fn answer(
    source: &CameraSource,
    outcome: Result<Response<ServiceBody>, std::sync::Arc<CameraError>>,
) -> Response<ServiceBody> {
    match outcome {
        Ok(mut response) => {
            if let Ok(transform) = HeaderValue::from_str(&transform(&source.camera)) {
                response.headers_mut().insert(TRANSFORM, transform);
            }
            response
        }
        Err(error) => {
            warn!("the camera \"{}\" gives no picture: {error}", source.camera.name);
            no_picture(&error.to_string())
        }
    }
}

/// To the service, a camera that gives nothing is a printer that does not answer.
fn no_picture(problem: &str) -> Response<ServiceBody> {
    let mut response = super::raw_failure(&CommandFailure::Software(502, problem.to_owned()));
    let name = HeaderValue::from_static(AgentFailure::TargetUnreachable.name());
    response.headers_mut().insert(AGENT_FAILURE_HEADER, name);
    response
}

fn transform(camera: &Camera) -> String {
    let mut words = String::new();
    for (applies, word) in [(camera.flip_h, "fliph "), (camera.flip_v, "flipv ")] {
        if applies {
            words.push_str(word);
        }
    }
    if camera.rotation != 0 {
        words.push_str(&format!("rotate={} ", camera.rotation));
    }
    if words.is_empty() { "none".to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_are_words_with_a_space_behind_each() {
        let camera = |flip_h, flip_v, rotation| Camera { name: String::new(), flip_h, flip_v, rotation };
        assert_eq!(transform(&camera(false, false, 0)), "none");
        assert_eq!(transform(&camera(true, true, 270)), "fliph flipv rotate=270 ");
        assert_eq!(transform(&camera(false, false, 90)), "rotate=90 ");
    }

    #[test]
    fn addresses_are_shown_without_passwords() {
        let url = Url::parse("rtsps://bblp:secret@10.0.0.9:322/live/1").map(|url| public_url(&url));
        assert_eq!(url.as_deref(), Ok("rtsps://10.0.0.9:322/live/1"));
    }
}
