//! Questions by UDP, and the answers to them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Found, MAX_FOUND};

/// Answers are one packet of the network; what is longer is cut, and then it is none.
const MAX_ANSWER: usize = 4 * 1024;
/// Packets that are looked at in one search. More come from somebody who wants to do harm.
const MAX_PACKETS: usize = 2000;
/// A question is asked again, because packets get lost, above all in wireless networks.
const REPEATS: u32 = 3;
const REPEAT_PERIOD: Duration = Duration::from_secs(1);

/// A socket on a port that other programs may share; any port if it is 0.
pub(super) fn open(port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    if port != 0 {
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
    }
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    UdpSocket::from_std(socket.into())
}

/// Asks at all addresses, and collects what `read` makes of the answers.
///
/// # Errors
/// If the question can be sent nowhere.
pub(super) async fn ask(
    socket: &UdpSocket,
    question: &[u8],
    targets: &[SocketAddr],
    until: Instant,
    read: impl Fn(&[u8], SocketAddr) -> Option<Found>,
) -> io::Result<Vec<Found>> {
    let asking = async {
        let mut failure = None;
        for repeat in 0..REPEATS {
            let mut sent = false;
            for target in targets {
                match socket.send_to(question, target).await {
                    Ok(_) => sent = true,
                    Err(error) => failure = Some(error),
                }
            }
            if repeat == 0
                && !sent
                && let Some(failure) = failure.take()
            {
                return Err(failure);
            }
            sleep_until((Instant::now() + REPEAT_PERIOD).min(until)).await;
        }
        sleep_until(until).await;
        Ok(())
    };
    let mut found = Vec::new();
    tokio::select! {
        asked = asking => asked?,
        () = listen(socket, until, &mut found, read) => {}
    }
    Ok(found)
}

/// Collects what `read` makes of what arrives.
pub(super) async fn listen(
    socket: &UdpSocket,
    until: Instant,
    found: &mut Vec<Found>,
    read: impl Fn(&[u8], SocketAddr) -> Option<Found>,
) {
    let mut packet = vec![0; MAX_ANSWER];
    for _ in 0..MAX_PACKETS {
        let Ok(received) = timeout_at(until, socket.recv_from(&mut packet)).await else { return };
        // Errors are about packets that were sent: nobody listens at one of the addresses.
        let Ok((length, source)) = received else { continue };
        if let Some(printer) = read(&packet[..length], source)
            && !found.iter().any(|known| known.url == printer.url)
        {
            found.push(printer);
            if found.len() >= MAX_FOUND {
                return;
            }
        }
    }
}
