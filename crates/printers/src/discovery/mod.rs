//! Finds printers in this network, by the ways in which they or their software make themselves known.
//!
//! Anybody in the network can answer, with anything: answers are few, short, and made of harmless letters when they
//! leave here. They are suggestions for a person, and nothing is connected to on their word.

mod bambu;
mod elegoo;
mod mdns;
mod this_machine;
mod udp;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::PrinterUrl;

/// Printers of one kind. More than this in one network are not looked through by anybody.
const MAX_FOUND: usize = 64;
/// Characters of a text that came from the network.
const MAX_TEXT: usize = 64;

/// A printer that has made itself known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// One of the names in [`software`](crate::detect::software).
    pub software: &'static str,
    /// Where it is; what goes into the configuration.
    pub url: PrinterUrl,
    /// What it or its owner calls it; may be empty.
    pub name: String,
    /// Its model, in its maker's words; may be empty.
    pub model: String,
    /// The version of its software; may be empty.
    pub version: String,
    /// Its serial number, where it has told it and the agent needs it.
    pub serial: Option<String>,
}

/// What a search has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// One entry for each address.
    pub printers: Vec<Found>,
    /// Ways in which it was not possible to look, for people.
    pub problems: Vec<String>,
}

/// Where it is looked, and by which ports.
#[derive(Clone, Debug)]
struct Ways {
    mdns_port: u16,
    /// Where Elegoo's printers are asked; broadcast addresses.
    centauri: Vec<SocketAddr>,
    centauri_2: Vec<SocketAddr>,
    /// Where printers of Bambu Lab's are asked, and on which ports they are listened to.
    bambu: Vec<SocketAddr>,
    bambu_ports: Vec<u16>,
    /// Ports of this machine where printer software may listen.
    own_ports: Vec<u16>,
}

impl Ways {
    fn usual() -> Self {
        let broadcast = broadcast_addresses();
        let all = |port: u16| broadcast.iter().map(|address| SocketAddrV4::new(*address, port).into()).collect();
        Self {
            mdns_port: mdns::PORT,
            centauri: all(elegoo::CENTAURI_PORT),
            centauri_2: all(elegoo::CENTAURI_2_PORT),
            bambu: bambu::PORTS.iter().map(|port| SocketAddrV4::new(bambu::GROUP, *port).into()).collect(),
            bambu_ports: bambu::PORTS.to_vec(),
            own_ports: this_machine::PORTS.to_vec(),
        }
    }
}

/// Looks for `duration`; `tls` is what trusts web interfaces. Some printers make themselves known every five seconds
/// only.
pub async fn discover(duration: Duration, tls: &Arc<rustls::ClientConfig>) -> Discovery {
    look(&Ways::usual(), duration, tls).await
}

async fn look(ways: &Ways, duration: Duration, tls: &Arc<rustls::ClientConfig>) -> Discovery {
    let until = Instant::now() + duration;
    let (own, mdns, centauri, centauri_2, bambu) = tokio::join!(
        this_machine::look(&ways.own_ports, until, tls),
        mdns::look(ways.mdns_port, until),
        elegoo::look_for_centauri(&ways.centauri, until),
        elegoo::look_for_centauri_2(&ways.centauri_2, until),
        bambu::look(&ways.bambu, &ways.bambu_ports, until),
    );
    let mut all = Discovery { printers: own, problems: vec![] };
    for part in [mdns, centauri, centauri_2, bambu] {
        match part {
            Ok(found) => {
                for printer in found {
                    if !all.printers.iter().any(|known| known.url == printer.url) {
                        all.printers.push(printer);
                    }
                }
            }
            Err(problem) => all.problems.push(problem),
        }
    }
    all
}

/// The address for everybody, and for everybody in each network that this machine is in: the first leaves by one
/// interface only.
fn broadcast_addresses() -> Vec<Ipv4Addr> {
    let mut addresses = vec![Ipv4Addr::BROADCAST];
    // Who cannot list interfaces still has the first.
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        let if_addrs::IfAddr::V4(address) = interface.addr else { continue };
        if let Some(broadcast) = address.broadcast.filter(|_| !address.ip.is_loopback())
            && !addresses.contains(&broadcast)
        {
            addresses.push(broadcast);
        }
    }
    addresses.truncate(MAX_FOUND);
    addresses
}

/// An address of a printer of this scheme; `None` for addresses that lead nowhere from here.
fn url(scheme: &str, address: IpAddr, port: Option<u16>) -> Option<PrinterUrl> {
    let is_somewhere = match address {
        IpAddr::V4(address) => !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast(),
        // Of a link-local address, the interface would have to be known as well.
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast() && !address.is_unicast_link_local(),
    };
    if !is_somewhere {
        return None;
    }
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}").parse().ok()
}

/// The text as it may stand in a terminal: short, on one line, and without what turns or hides letters.
fn clean(text: &str) -> String {
    let is_harmless = |letter: &char| {
        !letter.is_control()
            && !matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().filter(is_harmless).take(MAX_TEXT).collect::<String>().trim().to_owned()
}

/// A serial number; what has other letters is none.
fn serial(text: &str) -> Option<String> {
    let text = text.trim();
    let is_serial = (1..=MAX_TEXT).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    is_serial.then(|| text.to_owned())
}
