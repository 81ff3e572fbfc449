//! OctoPrint, Moonraker and PrusaLink make themselves known by mDNS (Bonjour), if their owners have not switched it off.

use std::net::IpAddr;

use mdns_sd::{Receiver, ResolvedService, ServiceDaemon, ServiceEvent};
use tokio::time::{Instant, timeout_at};

use super::{Found, MAX_FOUND, clean, url};
use crate::detect::software;

/// Of mDNS (RFC 6762 §3).
pub(super) const PORT: u16 = 5353;
/// Services, and what offers them.
const SERVICES: [(&str, &str); 3] = [
    ("_octoprint._tcp.local.", software::OCTOPRINT),
    ("_moonraker._tcp.local.", software::MOONRAKER),
    ("_prusalink._tcp.local.", software::PRUSALINK),
];
/// News that is looked at in one search. More comes from somebody who wants to do harm.
const MAX_NEWS: usize = 2000;

pub(super) async fn look(port: u16, until: Instant) -> Result<Vec<Found>, String> {
    let problem = |error: mdns_sd::Error| format!("mDNS cannot be used: {error}");
    let daemon = ServiceDaemon::new_with_port(port).map_err(problem)?;
    let mut searches = Vec::new();
    for (service, software) in SERVICES {
        // One question in each packet: printers with little memory answer the first only.
        searches.push(collect(daemon.browse(service).map_err(problem)?, service, software, until));
    }
    let found = futures_util::future::join_all(searches).await;
    // It ends by itself; nobody waits for it.
    let _ = daemon.shutdown();
    Ok(found.into_iter().flatten().collect())
}

async fn collect(news: Receiver<ServiceEvent>, service: &str, software: &'static str, until: Instant) -> Vec<Found> {
    // A service is told of again when more of its addresses are known.
    let mut found: Vec<(String, Found)> = Vec::new();
    for _ in 0..MAX_NEWS {
        let Ok(Ok(event)) = timeout_at(until, news.recv_async()).await else { break };
        let ServiceEvent::ServiceResolved(resolved) = event else { continue };
        let Some(printer) = read(&resolved, service, software) else { continue };
        match found.iter().position(|(name, _)| *name == resolved.fullname) {
            Some(known) => found[known].1 = printer,
            None if found.len() < MAX_FOUND => found.push((resolved.fullname, printer)),
            None => break,
        }
    }
    found.into_iter().map(|(_, printer)| printer).collect()
}

fn read(resolved: &ResolvedService, service: &str, software: &'static str) -> Option<Found> {
    let mut addresses: Vec<IpAddr> = resolved.addresses.iter().map(|address| address.to_ip_addr()).collect();
    // The older kind first, which needs no interface and which people recognise.
    addresses.sort_by_key(|address| (address.is_ipv6(), *address));
    let url = addresses.into_iter().find_map(|address| url("http", address, Some(resolved.port)))?;
    let name = resolved.fullname.strip_suffix(service).unwrap_or(&resolved.fullname).trim_end_matches('.');
    let property = |key: &str| clean(resolved.txt_properties.get_property_val_str(key).unwrap_or_default());
    Some(Found {
        software,
        url,
        name: clean(name),
        model: property("model"),
        version: property("version"),
        serial: None,
    })
}
