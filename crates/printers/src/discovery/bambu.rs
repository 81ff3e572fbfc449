//! Bambu Lab's printers announce themselves every few seconds, in words of SSDP and on ports of their own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::{Found, MAX_FOUND, clean, serial, udp, url};
use crate::detect::software;

/// SSDP's group.
pub(super) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
/// Not SSDP's port: what is sent to everybody comes to the first, what is sent to the group to the second.
pub(super) const PORTS: [u16; 2] = [2021, 1990];
/// What they say that they are.
const KIND: &str = "urn:bambulab-com:device:3dprinter:";
/// Lines of an announcement. Printers write some fifteen.
const MAX_LINES: usize = 40;

/// Asks, which not every firmware answers, and listens to announcements.
pub(super) async fn look(targets: &[SocketAddr], ports: &[u16], until: Instant) -> Result<Vec<Found>, String> {
    let problem = |error: io::Error| format!("printers of Bambu Lab's cannot be listened to: {error}");
    let mut sockets = Vec::new();
    let mut failure = None;
    for port in ports {
        match listener(*port) {
            Ok(socket) => sockets.push(socket),
            Err(error) => failure = Some(error),
        }
    }
    if sockets.is_empty()
        && let Some(failure) = failure
    {
        return Err(problem(failure));
    }
    let listening = sockets.iter().map(|socket| async {
        let mut found = Vec::new();
        udp::listen(socket, until, &mut found, read).await;
        found
    });
    let question = format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}:{}\r\nMAN: \"ssdp:discover\"\r\nMX: 3\r\nST: {KIND}1\r\n\r\n",
        PORTS[1]
    );
    let asking = async { udp::ask(&udp::open(0)?, question.as_bytes(), targets, until, read).await };
    let (heard, answered) = tokio::join!(futures_util::future::join_all(listening), asking);
    let mut found: Vec<Found> = heard.into_iter().flatten().collect();
    match answered {
        Ok(answered) => found.extend(answered),
        Err(error) if found.is_empty() => return Err(problem(error)),
        Err(_) => {}
    }
    found.truncate(MAX_FOUND);
    Ok(found)
}

fn listener(port: u16) -> io::Result<UdpSocket> {
    let socket = udp::open(port)?;
    // In each network that this machine is in. Where there is none with groups, what is sent to everybody still comes.
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        if let std::net::IpAddr::V4(address) = interface.ip() {
            let _ = socket.join_multicast_v4(GROUP, address);
        }
    }
    Ok(socket)
}

fn read(packet: &[u8], source: SocketAddr) -> Option<Found> {
    let text = std::str::from_utf8(packet).ok()?;
    let mut lines = text.lines();
    let first = lines.next()?;
    if !first.starts_with("NOTIFY ") && !first.starts_with("HTTP/1.1 200") {
        return None;
    }
    let headers: Vec<(&str, &str)> = lines.take(MAX_LINES).filter_map(|line| line.split_once(':')).collect();
    let header = |name: &str| {
        headers.iter().find(|(known, _)| known.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let kind = header("NT").or_else(|| header("ST"))?;
    if !kind.starts_with(KIND) {
        return None;
    }
    let of_printer = |name: &str| clean(header(name).unwrap_or_default());
    Some(Found {
        software: software::BAMBU,
        // The address that it comes from, and not the one in it: whoever types the access code means this printer.
        url: url("bambu", source.ip(), None)?,
        name: of_printer("DevName.bambu.com"),
        model: of_printer("DevModel.bambu.com"),
        version: of_printer("DevVersion.bambu.com"),
        serial: Some(serial(header("USN")?)?),
    })
}
