//! Where filament is: boxes (AMS) and the spools outside.

use serde_json::Value;

use super::report::{Report, number, text, whole};
use crate::platforms::material::{Capabilities, Material, Route, RouteState, Source, Unit};
use crate::platforms::{MaterialSystem, Tool};

/// Slots of one box.
const SLOTS: u32 = 4;
/// Boxes with four slots are counted from 0; the single-slot ones begin at 128, and their mapping is another.
const MAX_FOUR_SLOT_BOX: u32 = 15;
/// Numbers of boxes go no further.
const MAX_BOX: u32 = 255;
/// Filament from the spool outside.
const EXTERNAL: u32 = 254;
/// No filament.
const NO_FILAMENT: u32 = 255;
/// Degrees beyond which a packed temperature is none.
const MAX_PACKED: u32 = 1000;
/// The spool outside, on printers with one nozzle.
const EXTERNAL_SPOOL: &str = "bambu-external-spool";
/// Nozzles of one printer.
const MAX_TOOLS: usize = 16;

/// All that is known of filament.
pub(super) fn read(report: &Report) -> MaterialSystem {
    let tools = tools(report);
    let mut units = Vec::new();
    let mut sources = Vec::new();
    let bits = |name: &str| Bits(text(report.at(&["ams", name])).and_then(|hex| u64::from_str_radix(hex, 16).ok()));
    let (exist, own) = (bits("tray_exist_bits"), bits("tray_is_bbl_bits"));
    let mut supports_drying = false;
    for unit in list(report.at(&["ams", "ams"])) {
        let Some(id) = whole(&unit["id"], MAX_BOX) else { continue };
        let drying = number(&unit["dry_time"]);
        supports_drying |= drying.is_some();
        let unit_id = format!("bambu-ams-{id}");
        for tray in list(&unit["tray"]) {
            let Some(slot) = whole(&tray["id"], SLOTS - 1) else { continue };
            let mapping = (id <= MAX_FOUR_SLOT_BOX).then_some(id * SLOTS + slot);
            let is_there = mapping.and_then(|bit| exist.get(bit));
            let is_own = mapping.and_then(|bit| own.get(bit)).unwrap_or(false);
            sources.push(Source {
                id: format!("{unit_id}-source-{slot}"),
                name: Some(format!("AMS {}, slot {}", units.len() + 1, slot + 1)),
                unit_id: Some(unit_id.clone()),
                position: Some(slot),
                print_mapping_value: mapping.map(i64::from),
                is_empty: is_there.map(|is_there| !is_there),
                material: if is_there == Some(false) { None } else { material(tray, is_own) },
                ..Source::default()
            });
        }
        units.push(Unit {
            id: unit_id,
            index: units.len() as u32,
            name: Some(format!("AMS {}", units.len() + 1)),
            // Plain `humidity` is a level from 1 to 5.
            humidity_percent: number(&unit["humidity_raw"]).or_else(|| number(&unit["humidity_percent"])),
            temperature_celsius: number(&unit["temp"]),
            is_drying: drying.map(|minutes| minutes > 0.0),
        });
    }
    sources.extend(external_spools(report));
    for (index, source) in sources.iter_mut().enumerate() {
        source.index = index as u32;
    }
    MaterialSystem {
        capabilities: Capabilities {
            supports_multi_material: sources.len() > 1,
            supports_multi_tool: tools.len() > 1,
            supports_source_routing: !units.is_empty(),
            supports_drying,
        },
        routes: routes(report, &tools),
        sources,
        tools,
        units,
    }
}

/// One bit for each slot, where the printer tells them.
#[derive(Clone, Copy)]
struct Bits(Option<u64>);

impl Bits {
    fn get(self, bit: u32) -> Option<bool> {
        Some(self.0?.checked_shr(bit)? & 1 == 1)
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn external_spools(report: &Report) -> Vec<Source> {
    let spool = |id: &str, name: &str, tray: &Value, mapping: Option<i64>| Source {
        id: id.to_owned(),
        name: Some(name.to_owned()),
        print_mapping_value: mapping,
        material: material(tray, false),
        ..Source::default()
    };
    let outside: Vec<&Value> = list(report.at(&["vir_slot"])).collect();
    match outside.as_slice() {
        [] => match report.at(&["vt_tray"]) {
            tray @ Value::Object(_) => vec![spool(EXTERNAL_SPOOL, "External spool", tray, Some(-1))],
            _ => vec![],
        },
        [only] => vec![spool(EXTERNAL_SPOOL, "External spool", only, None)],
        several => several
            .iter()
            .filter_map(|tray| match whole(&tray["id"], MAX_BOX)? {
                254 => Some(spool("bambu-external-spool-left", "External spool, left", tray, None)),
                255 => Some(spool("bambu-external-spool-right", "External spool, right", tray, None)),
                _ => None,
            })
            .collect(),
    }
}

/// What is in a slot; `None` if nobody has said.
fn material(tray: &Value, is_own: bool) -> Option<Material> {
    let owned = |value: &Value| text(value).map(str::to_owned);
    let kind = owned(&tray["tray_type"])?;
    // Only spools with a chip of their own are measured.
    let is_measured = is_own || text(&tray["tag_uid"]).is_some_and(|tag| tag.bytes().any(|digit| digit != b'0'));
    Some(Material {
        kind: Some(kind),
        name: owned(&tray["tray_id_name"]).or_else(|| owned(&tray["tray_sub_brands"])),
        color_hex: owned(&tray["tray_color"]),
        remaining_percent: number(&tray["remain"]).filter(|_| is_measured),
        manufacturer: is_own.then(|| "Bambu Lab".to_owned()),
    })
}

fn tools(report: &Report) -> Vec<Tool> {
    let packed: Vec<Tool> = list(report.at(&["device", "extruder", "info"]))
        .chain(list(report.at(&["extruder", "info"])))
        .filter_map(|tool| {
            let index = whole(&tool["id"], MAX_TOOLS as u32 - 1)?;
            let (actual, target) = unpacked(&tool["temp"]);
            let id = format!("tool-{index}");
            Some(Tool { id, index, actual_celsius: actual, target_celsius: target, ..Tool::default() })
        })
        .take(MAX_TOOLS)
        .collect();
    match packed.as_slice() {
        [] | [_] => {
            let known = packed.into_iter().next().unwrap_or_default();
            vec![Tool {
                id: "tool-0".to_owned(),
                index: 0,
                is_active: Some(true),
                actual_celsius: report.number("nozzle_temper").or(known.actual_celsius),
                target_celsius: report.number("nozzle_target_temper").or(known.target_celsius),
                nozzle_diameter_mm: report.number("nozzle_diameter"),
            }]
        }
        _ => packed,
    }
}

/// What a heater measures, and what it is set to, out of one number.
pub(super) fn unpacked(value: &Value) -> (Option<f64>, Option<f64>) {
    let Some(packed) = whole(value, u32::MAX) else { return (None, None) };
    let degrees = |degrees: u32| (degrees <= MAX_PACKED).then_some(f64::from(degrees));
    (degrees(packed & 0xFFFF), degrees(packed >> 16))
}

/// What is in the nozzle and what is on its way. With two nozzles nothing says which one is meant.
fn routes(report: &Report, tools: &[Tool]) -> Vec<Route> {
    let [tool] = tools else { return vec![] };
    let route = |name: &str, state: RouteState| {
        let source_id = source_id(whole(report.at(&["ams", name]), MAX_BOX)?)?;
        Some(Route { source_id, tool_id: tool.id.clone(), state: Some(state) })
    };
    let loaded = route("tray_now", RouteState::Loaded);
    let loading = route("tray_tar", RouteState::Loading);
    let is_another = |loading: &Route| loaded.as_ref().is_none_or(|loaded| loaded.source_id != loading.source_id);
    let loading = loading.filter(is_another);
    loaded.into_iter().chain(loading).collect()
}

fn source_id(tray: u32) -> Option<String> {
    match tray {
        NO_FILAMENT => None,
        EXTERNAL => Some(EXTERNAL_SPOOL.to_owned()),
        tray if tray / SLOTS <= MAX_FOUR_SLOT_BOX => {
            Some(format!("bambu-ams-{}-source-{}", tray / SLOTS, tray % SLOTS))
        }
        tray => Some(format!("bambu-ams-{tray}-source-0")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::report::tests::{any_value, report};
    use super::*;

    fn told(fields: Value) -> Value {
        json!(read(&report(fields)).bounded())
    }

    #[test]
    fn boxes_and_the_spool_outside() {
        let told = told(json!({"nozzle_temper": 220.129, "nozzle_target_temper": 220, "nozzle_diameter": "0.4",
            "vt_tray": {"id": "254", "tray_type": "PETG", "tray_color": "00ae42ff", "remain": 0},
            "ams": {"tray_exist_bits": "3", "tray_is_bbl_bits": "1", "tray_now": "1", "tray_tar": "254", "ams": [
                {"id": "0", "humidity": "4", "humidity_raw": "31", "temp": "24.6", "dry_time": 90, "tray": [
                    {"id": "0", "tray_type": "PLA", "tray_id_name": "A00-R0", "tray_sub_brands": "PLA Basic",
                        "tray_color": "C12E1FFF", "remain": 71, "tag_uid": "0000000000000000"},
                    {"id": "1", "tray_type": "ABS", "tray_sub_brands": "", "tray_color": "x", "remain": 50,
                        "tag_uid": "0000000000000000"},
                    {"id": "2"}, {"id": "9"}, {}, 7]},
                {"id": "128", "humidity_percent": 12, "tray": [{"id": "0", "tray_type": "PA"}]},
                {"id": "x"}]}}));
        let expected = json!({
            "Capabilities": {"SupportsMultiMaterial": true, "SupportsMultiTool": false, "SupportsSourceRouting": true,
                "SupportsDrying": true},
            "Sources": [
                {"Id": "bambu-ams-0-source-0", "Index": 0, "Name": "AMS 1, slot 1", "UnitId": "bambu-ams-0",
                    "Position": 0, "PrintMappingValue": 0, "IsEmpty": false, "Material": {"Type": "PLA", "Name": "A00-R0",
                    "ColorHex": "C12E1F", "RemainingPercent": 71.0, "Manufacturer": "Bambu Lab"}},
                {"Id": "bambu-ams-0-source-1", "Index": 1, "Name": "AMS 1, slot 2", "UnitId": "bambu-ams-0",
                    "Position": 1, "PrintMappingValue": 1, "IsEmpty": false, "Material": {"Type": "ABS"}},
                {"Id": "bambu-ams-0-source-2", "Index": 2, "Name": "AMS 1, slot 3", "UnitId": "bambu-ams-0",
                    "Position": 2, "PrintMappingValue": 2, "IsEmpty": true},
                {"Id": "bambu-ams-128-source-0", "Index": 3, "Name": "AMS 2, slot 1", "UnitId": "bambu-ams-128",
                    "Position": 0, "Material": {"Type": "PA"}},
                {"Id": "bambu-external-spool", "Index": 4, "Name": "External spool", "PrintMappingValue": -1,
                    "Material": {"Type": "PETG", "ColorHex": "00AE42"}},
            ],
            "Tools": [{"Id": "tool-0", "Index": 0, "IsActive": true, "ActualCelsius": 220.13, "TargetCelsius": 220.0,
                "NozzleDiameterMm": 0.4}],
            "Units": [
                {"Id": "bambu-ams-0", "Index": 0, "Name": "AMS 1", "HumidityPercent": 31.0, "TemperatureCelsius": 24.6,
                    "IsDrying": true},
                {"Id": "bambu-ams-128", "Index": 1, "Name": "AMS 2", "HumidityPercent": 12.0},
            ],
            "Routes": [
                {"SourceId": "bambu-ams-0-source-1", "ToolId": "tool-0", "State": "loaded"},
                {"SourceId": "bambu-external-spool", "ToolId": "tool-0", "State": "loading"},
            ],
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn two_nozzles_have_spools_of_their_own_and_no_made_up_routes() {
        let told = told(json!({"ams": {"tray_now": "0", "tray_tar": "255"},
            "vir_slot": [{"id": "254", "tray_type": "PLA"}, {"id": "255"}, {"id": "3"}],
            "device": {"extruder": {"info": [{"id": 0, "temp": 14_418_138_u32}, {"id": 1, "temp": 1001 << 16 | 24},
                {"id": 77}, {}]}}}));
        let ids = |list: &str| told[list].as_array().map(|list| list.iter().map(|item| item["Id"].clone()).collect());
        let expected: Vec<Value> = vec!["bambu-external-spool-left".into(), "bambu-external-spool-right".into()];
        assert_eq!(ids("Sources"), Some(expected));
        assert!(told["Sources"][0].get("PrintMappingValue").is_none());
        assert_eq!(
            told["Tools"],
            json!([
                {"Id": "tool-0", "Index": 0, "ActualCelsius": 218.0, "TargetCelsius": 220.0},
                {"Id": "tool-1", "Index": 1, "ActualCelsius": 24.0},
            ])
        );
        assert_eq!((&told["Routes"], &told["Capabilities"]["SupportsMultiTool"]), (&json!([]), &json!(true)));
    }

    #[test]
    fn where_nothing_is_said_nothing_is_made_up() {
        let told = told(json!({"ams": {"tray_now": "255", "tray_tar": 7.5, "ams": {"id": 3}}, "vt_tray": []}));
        assert_eq!((&told["Sources"], &told["Units"], &told["Routes"]), (&json!([]), &json!([]), &json!([])));
        assert_eq!(told["Tools"], json!([{"Id": "tool-0", "Index": 0, "IsActive": true}]));
    }

    proptest! {
        #[test]
        fn firmware_may_say_anything(ams in any_value(), outside in any_value(), device in any_value()) {
            for ams in [json!({"ams": ams}), json!({"ams": [{"id": 0, "tray": ams, "temp": ams}]}), ams] {
                let told = told(json!({"ams": ams, "vir_slot": outside, "vt_tray": outside, "device": device,
                    "extruder": {"info": device}}));
                let count = |list: &str| told[list].as_array().map_or(0, Vec::len);
                prop_assert!(count("Sources") <= 64 && count("Tools") <= 16 && count("Units") <= 8);
            }
        }
    }
}
