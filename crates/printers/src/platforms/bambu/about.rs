//! What the printer says of its make and version (`get_version`).

use serde_json::{Map, Value};

use super::report::text;

/// Characters of a version or a model that are kept; real ones have a quarter of it.
const MAX_TEXT: usize = 40;

/// Which printer it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    version: Option<String>,
    /// The short name that people know it by.
    model: Option<String>,
}

/// What printers are called in their own words, longest first where one begins like another, and in short.
const PRODUCTS: [(&str, &str); 14] = [
    ("x1 carbon", "X1C"),
    ("x1c", "X1C"),
    ("x1e", "X1E"),
    ("x1", "X1"),
    ("p1p", "P1P"),
    ("p1s", "P1S"),
    ("p2s", "P2S"),
    ("a1 mini", "A1 mini"),
    ("a1mini", "A1 mini"),
    ("a1", "A1"),
    ("h2d pro", "H2D Pro"),
    ("h2d", "H2D"),
    ("h2s", "H2S"),
    ("h2c", "H2C"),
];

/// How serial numbers begin. Old firmware does not name the product.
const SERIALS: [(&str, &str); 12] = [
    ("00M", "X1C"),
    ("00W", "X1"),
    ("03W", "X1E"),
    ("01S", "P1P"),
    ("01P", "P1S"),
    ("22E", "P2S"),
    ("030", "A1 mini"),
    ("039", "A1"),
    ("094", "H2D"),
    ("239", "H2D Pro"),
    ("093", "H2S"),
    ("31B", "H2C"),
];

/// The models with a thermometer in the chamber; others report a number all the same.
const WITH_CHAMBER: [&str; 5] = ["X1C", "X1E", "H2D", "H2D Pro", "H2S"];

impl About {
    /// As far as the serial number tells.
    pub(super) fn of_serial(serial: &str) -> Self {
        let found = SERIALS.iter().find(|(start, _)| serial.to_ascii_uppercase().starts_with(start));
        Self { version: None, model: found.map(|(_, model)| (*model).to_owned()) }
    }

    /// Takes over the `info` object of the answer to `get_version`.
    pub(super) fn handle(&mut self, info: &Map<String, Value>) {
        let modules = || info.get("module").and_then(Value::as_array).into_iter().flatten();
        let named = |name: &str| modules().find(|module| module["name"] == name);
        let clean = |value: &Value| {
            let text = text(value)?;
            let text: String = text.chars().filter(|letter| !letter.is_control()).take(MAX_TEXT).collect();
            (!text.is_empty()).then_some(text)
        };
        if let Some(version) = named("ota").and_then(|module| clean(&module["sw_ver"])) {
            self.version = Some(version);
        }
        let product = named("mc").into_iter().chain(named("ota")).find_map(|module| clean(&module["product_name"]));
        if let Some(product) = product {
            let product = product.strip_prefix("Bambu Lab ").unwrap_or(&product);
            let lower = product.to_ascii_lowercase();
            let known = PRODUCTS.iter().find(|(name, _)| lower.starts_with(name));
            self.model = Some(known.map_or(product, |(_, model)| model).to_owned());
        }
    }

    /// Whether the chamber's temperature is measured.
    pub(super) fn has_chamber(&self) -> bool {
        self.model.as_deref().is_some_and(|model| WITH_CHAMBER.contains(&model))
    }

    /// As `PlatformVersion` has it.
    pub(super) fn version(&self) -> String {
        let parts: Vec<&str> = [&self.version, &self.model].into_iter().filter_map(Option::as_deref).collect();
        parts.join("-")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_version_is_firmware_and_model() {
        let check = |serial: &str, modules: Value, version: &str, has_chamber: bool| {
            let mut about = About::of_serial(serial);
            about.handle(json!({"command": "get_version", "module": modules}).as_object().unwrap());
            assert_eq!((about.version().as_str(), about.has_chamber()), (version, has_chamber), "{serial} {modules}");
        };
        check(
            "01P00A000000001",
            json!([{"name": "ota", "sw_ver": "01.07.00.00"}, {"name": "mc", "sn": "x"}]),
            "01.07.00.00-P1S",
            false,
        );
        let named = |product: &str| json!([{"name": "mc", "product_name": product}, {"name": "ota", "sw_ver": "1.2"}]);
        check("", named("Bambu Lab X1 Carbon"), "1.2-X1C", true);
        check("", named("X1E"), "1.2-X1E", true);
        check("00M", named("Bambu Lab A1 mini"), "1.2-A1 mini", false);
        check("", named("H2D Pro"), "1.2-H2D Pro", true);
        check("", named("Bambu Lab H2S"), "1.2-H2S", true);
        check("", named("Z9\n"), "1.2-Z9", false);
        check("00m", json!([{"name": "ota", "sw_ver": 7, "product_name": ""}, 5, null]), "X1C", true);
        check("", json!({"name": "ota"}), "", false);
        check("", json!([{"name": "ota", "sw_ver": "9".repeat(1000)}]), &"9".repeat(40), false);
        assert_eq!(About::of_serial("ü").version(), "");
    }
}
