//! Where filament is, and what extrudes it (`MaterialSystem` in the answer to `status`).

use serde::Serialize;

/// Lengths of the lists, as the interface promises them to its readers.
const MAX_SOURCES: usize = 64;
const MAX_TOOLS: usize = 16;
const MAX_UNITS: usize = 8;
const MAX_ROUTES: usize = 64;
/// Characters of any text in it.
const MAX_TEXT: usize = 512;

/// What filament is where. What is not known is absent, never 0 or false.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MaterialSystem {
    pub(crate) capabilities: Capabilities,
    pub(crate) sources: Vec<Source>,
    pub(crate) tools: Vec<Tool>,
    /// Boxes of sources.
    pub(crate) units: Vec<Unit>,
    pub(crate) routes: Vec<Route>,
}

/// What the whole of it can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Capabilities {
    pub(crate) supports_multi_material: bool,
    pub(crate) supports_multi_tool: bool,
    pub(crate) supports_source_routing: bool,
    pub(crate) supports_drying: bool,
}

/// Where filament comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Source {
    pub(crate) id: String,
    pub(crate) index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The box that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit_id: Option<String>,
    /// Its place in the box, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<u32>,
    /// What a file's tool number is mapped to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) print_mapping_value: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) is_empty: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) material: Option<Material>,
}

/// What kind of filament.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Material {
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// `RRGGBB`, upper case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) color_hex: Option<String>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manufacturer: Option<String>,
}

/// What extrudes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tool {
    /// `tool-N`.
    pub(crate) id: String,
    pub(crate) index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) is_active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) actual_celsius: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_celsius: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nozzle_diameter_mm: Option<f64>,
}

/// A box of sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Unit {
    pub(crate) id: String,
    pub(crate) index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) humidity_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature_celsius: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) is_drying: Option<bool>,
}

/// How far filament has come on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RouteState {
    /// It is in the tool.
    Loaded,
    /// It is being pushed there.
    Loading,
}

/// Which source leads to which tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Route {
    pub(crate) source_id: String,
    pub(crate) tool_id: String,
    /// Absent where the way is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<RouteState>,
}

impl MaterialSystem {
    /// Tools that each have a source of their own, as with hot ends that are fed from the outside.
    pub(crate) fn fixed(tools: Vec<Tool>) -> Self {
        let source =
            |tool: &Tool| Source { id: format!("source-{}", tool.index), index: tool.index, ..Source::default() };
        let sources: Vec<Source> = tools.iter().map(source).collect();
        let routes = tools.iter().zip(&sources);
        let routes =
            routes.map(|(tool, source)| Route { source_id: source.id.clone(), tool_id: tool.id.clone(), state: None });
        let several = tools.len() > 1;
        Self {
            capabilities: Capabilities {
                supports_multi_material: several,
                supports_multi_tool: several,
                ..Capabilities::default()
            },
            routes: routes.collect(),
            sources,
            tools,
            units: vec![],
        }
    }

    /// The same within the interface's limits: lengths, ids that occur once, routes between what exists, numbers with
    /// two decimals.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        self.sources.truncate(MAX_SOURCES);
        self.tools.truncate(MAX_TOOLS);
        self.units.truncate(MAX_UNITS);
        for unit in &mut self.units {
            shorten(&mut unit.id);
            unit.name.as_mut().map(shorten);
            unit.humidity_percent = unit.humidity_percent.and_then(percent);
            unit.temperature_celsius = unit.temperature_celsius.filter(|number| number.is_finite()).map(two_decimals);
        }
        for source in &mut self.sources {
            shorten(&mut source.id);
            source.name.as_mut().map(shorten);
            source.unit_id.as_mut().map(shorten);
            let Some(material) = &mut source.material else { continue };
            for text in [&mut material.kind, &mut material.name, &mut material.manufacturer] {
                text.as_mut().map(shorten);
            }
            material.color_hex = material.color_hex.take().and_then(|color| color_hex(&color));
            material.remaining_percent = material.remaining_percent.and_then(percent);
        }
        for tool in &mut self.tools {
            shorten(&mut tool.id);
            for number in [&mut tool.actual_celsius, &mut tool.target_celsius, &mut tool.nozzle_diameter_mm] {
                *number = number.filter(|number| number.is_finite()).map(two_decimals);
            }
        }
        let mut seen = std::collections::HashSet::new();
        self.sources.retain(|source| seen.insert(source.id.clone()));
        self.tools.retain(|tool| seen.insert(tool.id.clone()));
        self.units.retain(|unit| seen.insert(unit.id.clone()));
        for source in &mut self.sources {
            source.unit_id = source.unit_id.take().filter(|id| self.units.iter().any(|unit| unit.id == *id));
        }
        self.routes.retain(|route| {
            self.sources.iter().any(|source| source.id == route.source_id)
                && self.tools.iter().any(|tool| tool.id == route.tool_id)
        });
        self.routes.truncate(MAX_ROUTES);
        self
    }
}

/// `RRGGBB` of a colour with or without `#` and alpha.
fn color_hex(color: &str) -> Option<String> {
    let digits = color.trim().trim_start_matches('#');
    let is_color = matches!(digits.len(), 6 | 8) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_color.then(|| digits[..6].to_ascii_uppercase())
}

fn percent(number: f64) -> Option<f64> {
    (0.0..=100.0).contains(&number).then(|| two_decimals(number))
}

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
    }
}

/// As the interface writes temperatures.
pub(crate) fn two_decimals(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_printers_say_is_held_to_the_limits() {
        let tool = |index: u32| Tool { id: format!("tool-{index}"), index, ..Tool::default() };
        let mut system = MaterialSystem::fixed((0..100).map(tool).collect());
        system.tools.push(tool(0));
        system.tools[1].actual_celsius = Some(f64::NAN);
        system.tools[2].actual_celsius = Some(201.239);
        system.sources[0].name = Some("ä".repeat(1000));
        system.sources[0].material = Some(Material { color_hex: Some("#ff00aa80".to_owned()), ..Material::default() });
        system.sources[1].material =
            Some(Material { color_hex: Some("red".to_owned()), remaining_percent: Some(100.5), ..Material::default() });
        let unit = |id: &str| Unit { id: id.to_owned(), humidity_percent: Some(-1.0), ..Unit::default() };
        system.units = (0..10).map(|number| unit(&format!("unit-{}", number / 2))).collect();
        system.sources[0].unit_id = Some("unit-0".to_owned());
        system.sources[1].unit_id = Some("unit-4".to_owned());
        let system = system.bounded();
        assert_eq!((system.sources.len(), system.tools.len(), system.routes.len()), (64, 16, 16));
        assert_eq!((system.tools[1].actual_celsius, system.tools[2].actual_celsius), (None, Some(201.24)));
        assert_eq!(system.sources[0].name.as_ref().map(|name| name.chars().count()), Some(512));
        let colors: Vec<_> = system.sources[..2].iter().map(|source| source.material.clone()?.color_hex).collect();
        assert_eq!(colors, [Some("FF00AA".to_owned()), None]);
        let remaining = system.sources[1].material.as_ref().and_then(|material| material.remaining_percent);
        assert_eq!((remaining, system.units.len(), system.units[0].humidity_percent), (None, 4, None));
        assert_eq!((&system.sources[0].unit_id, &system.sources[1].unit_id), (&Some("unit-0".to_owned()), &None));
    }
}
