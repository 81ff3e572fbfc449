//! Elegoo's printers answer to a word that everybody in the network gets.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::time::Instant;

use super::{Found, clean, serial, udp, url};
use crate::detect::software;

/// Where a Centauri Carbon listens for the word.
pub(super) const CENTAURI_PORT: u16 = 3000;
/// The word, of SDCP.
const CENTAURI_QUESTION: &[u8] = b"M99999";
/// Where a Centauri Carbon 2 listens.
pub(super) const CENTAURI_2_PORT: u16 = 52700;
const CENTAURI_2_QUESTION: &[u8] = br#"{"id":0,"method":7000}"#;
/// Printers for resin speak SDCP too, with other commands.
const CENTAURI_NAME: &str = "centauri";

pub(super) async fn look_for_centauri(targets: &[SocketAddr], until: Instant) -> Result<Vec<Found>, String> {
    ask(targets, CENTAURI_QUESTION, until, read_centauri).await
}

pub(super) async fn look_for_centauri_2(targets: &[SocketAddr], until: Instant) -> Result<Vec<Found>, String> {
    ask(targets, CENTAURI_2_QUESTION, until, read_centauri_2).await
}

async fn ask(
    targets: &[SocketAddr],
    question: &[u8],
    until: Instant,
    read: impl Fn(&[u8], SocketAddr) -> Option<Found>,
) -> Result<Vec<Found>, String> {
    let asked = async { udp::ask(&udp::open(0)?, question, targets, until, read).await };
    asked.await.map_err(|error| format!("printers of Elegoo's cannot be asked in this network: {error}"))
}

fn read_centauri(answer: &[u8], source: SocketAddr) -> Option<Found> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    // Older firmware nests it once more.
    let data = answer["Data"].get("Attributes").unwrap_or(&answer["Data"]);
    let model = clean(data["MachineName"].as_str()?);
    if !model.to_lowercase().contains(CENTAURI_NAME) {
        return None;
    }
    Some(Found {
        software: software::ELEGOO_CC1,
        url: url("elegoo-cc1", source.ip(), None)?,
        name: clean(data["Name"].as_str().unwrap_or(&model)),
        version: clean(data["FirmwareVersion"].as_str().unwrap_or_default()),
        model,
        serial: None,
    })
}

fn read_centauri_2(answer: &[u8], source: SocketAddr) -> Option<Found> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let result = answer["result"].as_object()?;
    let text = |key: &str| clean(result.get(key).and_then(Value::as_str).unwrap_or_default());
    let serial = result.get("sn").and_then(Value::as_str).and_then(serial)?;
    Some(Found {
        software: software::ELEGOO_CC2,
        url: url("elegoo-cc2", source.ip(), None)?,
        name: text("host_name"),
        model: text("machine_model"),
        version: String::new(),
        serial: Some(serial),
    })
}
