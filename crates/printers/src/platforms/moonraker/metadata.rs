//! What a file's slicer said of it, as Moonraker has read it, and what follows for layers.

use serde_json::Value;

/// Heights are decimal fractions, and their binary ones differ by less than this part of a layer.
const ROUNDING: f64 = 0.001;
/// More layers than any printer's height over its thinnest layer.
const MAX_LAYERS: f64 = 10_000_000.0;

/// What a file's slicer said of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Metadata {
    pub(super) file: String,
    pub(super) estimated_time: Option<f64>,
    pub(super) filament_mm: Option<f64>,
    pub(super) filament_mg: Option<f64>,
    layer_count: Option<u32>,
    object_height: Option<f64>,
    layer_height: Option<f64>,
    first_layer_height: Option<f64>,
}

impl Metadata {
    /// Nothing is known of the file yet.
    pub(super) fn of(file: String) -> Self {
        Self { file, ..Self::default() }
    }

    /// Reads the answer to `server.files.metadata`.
    pub(super) fn handle(&mut self, answer: &Value) {
        let number = |name: &str| answer[name].as_f64().filter(|number| number.is_finite() && *number >= 0.0);
        let height = |name: &str| number(name).filter(|height| *height > 0.0);
        self.estimated_time = number("estimated_time");
        self.filament_mm = number("filament_total");
        self.filament_mg = number("filament_weight_total").map(|grams| grams * 1000.0);
        self.layer_count = answer["layer_count"].as_u64().and_then(|layers| u32::try_from(layers).ok());
        self.object_height = height("object_height");
        self.layer_height = height("layer_height");
        self.first_layer_height = height("first_layer_height").or(self.layer_height);
    }

    /// How many layers the file has.
    pub(super) fn total_layers(&self) -> Option<u32> {
        self.layer_count.or_else(|| self.layer_at(self.object_height?)).filter(|layers| *layers > 0)
    }

    /// The layer at a height of the nozzle, from 1.
    pub(super) fn layer_at(&self, z: f64) -> Option<u32> {
        let layer = ((z - self.first_layer_height?) / self.layer_height? + 1.0 - ROUNDING).ceil();
        (layer.is_finite() && layer <= MAX_LAYERS).then_some(layer.max(0.0) as u32)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn layers_are_counted_where_nobody_says_how_many() {
        let mut metadata = Metadata::of("a".to_owned());
        assert_eq!((metadata.total_layers(), metadata.layer_at(1.0)), (None, None));
        metadata.handle(&json!({"object_height": 10.0, "layer_height": 0.2, "first_layer_height": 0.3}));
        assert_eq!(metadata.total_layers(), Some(50));
        for (z, layer) in [(0.0, 0), (0.3, 1), (0.5, 2), (0.7, 3), (0.9, 4), (1.1, 5), (10.1, 50)] {
            assert_eq!(metadata.layer_at(z), Some(layer), "{z}");
        }
        metadata.handle(&json!({"layer_count": 7, "object_height": 10.0, "layer_height": 0.2}));
        assert_eq!(metadata.total_layers(), Some(7));
        for nonsense in [
            json!({"object_height": 1e300, "layer_height": 1e-300}),
            json!({"object_height": -1, "layer_height": 0}),
            json!({"layer_count": -1, "layer_height": "x"}),
            json!(null),
        ] {
            metadata.handle(&nonsense);
            assert_eq!(metadata.total_layers(), None, "{nonsense}");
        }
    }
}
