//! This machine's address in the network that it shares with the printer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// The address that a connection to the printer leaves from, given its own; `None` if this machine has none.
///
/// A printer's software on this very machine tells nothing about the network: then it is the address that packets to
/// the internet would leave from.
pub(crate) fn lan_address(local: Option<IpAddr>) -> Option<IpAddr> {
    local.filter(|address| !address.is_loopback()).or_else(towards_the_internet)
}

fn towards_the_internet() -> Option<IpAddr> {
    // Connecting a UDP socket looks the route up and sends nothing.
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).ok()?;
    socket.connect(SocketAddr::from((DOCUMENTATION, ANY_PORT))).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// An address that belongs to nobody (RFC 5737), so it is routed like any other of the internet.
const DOCUMENTATION: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The discard port; the route does not depend on it, but 0 is refused.
const ANY_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_never_loopback() {
        let outside = "192.168.1.7".parse().ok();
        assert_eq!(lan_address(outside), outside);
        for local in [None, "127.0.0.1".parse().ok(), "::1".parse().ok()] {
            assert!(lan_address(local).is_none_or(|address| !address.is_loopback()));
        }
    }
}
