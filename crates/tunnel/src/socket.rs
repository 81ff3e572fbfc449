//! What is set on the sockets of tunnels and visitors.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Unsent bytes that the kernel takes from us. Small, so that on a slow uplink a waiting camera frame does not hold up
/// the answer to a click: what is still ours can be ordered by stream.
const UNSENT_BYTES: u32 = 128 * 1024;
/// A phone that has left its network says nothing, and while nothing is sent to it nobody notices: the system asks
/// after so much silence, and gives up after a few questions without an answer.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// Sets what the socket of a tunnel or of a visitor needs, at either end: small messages leave at once, and a peer
/// that is gone is noticed.
///
/// # Errors
/// If the socket is closed already.
pub fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    // Some systems do not have the option; the tunnel works without it.
    let _ = SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT_BYTES);
    let keepalive = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL).with_retries(PROBES);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_asks_after_silent_peers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let tcp = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
        tune(&tcp).expect("it is open");
        let socket = SockRef::from(&tcp);
        assert!(socket.keepalive().expect("an answer") && socket.tcp_nodelay().expect("an answer"));
        assert_eq!(socket.tcp_keepalive_time().expect("an answer"), PROBE_AFTER);
    }
}
