//! ICMP echo, without privileges where the system allows it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use occopus_engine::ports::{Fault, Reaction};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use uuid::Uuid;

/// Sends one echo and returns the round-trip time; none if no answer came within `limit`.
///
/// # Errors
/// Fails with `unsupported` and the code `icmp.not-permitted` if this machine does not permit echoes: then nothing is
/// known of the remote end.
pub(crate) async fn echo(address: IpAddr, limit: Duration) -> Result<Option<Duration>, Fault> {
    let address = address.to_canonical();
    let (socket, kind) = open_socket(address)?;
    let failed = |error: io::Error| {
        Fault::new(Reaction::Retry, "icmp.not-sent", format!("can't send an ICMP echo to {address}: {error}"))
    };
    // Tokio has no sockets of this kind, but its datagram sockets only connect, send and receive.
    let socket = UdpSocket::from_std(OwnedFd::from(socket).into()).map_err(failed)?;
    // The kernel delivers answers of this address only; the token distinguishes ours from those to other programs.
    let token = *Uuid::new_v4().as_bytes();
    let exchange = async {
        socket.connect(SocketAddr::new(address, 0)).await?;
        let began = Instant::now();
        socket.send(&echo_request(address, &token)).await?;
        let mut packet = [0; 512];
        loop {
            let length = socket.recv(&mut packet).await?;
            if is_reply(packet.get(..length).unwrap_or_default(), address, kind, &token) {
                return Ok::<_, io::Error>(began.elapsed());
            }
        }
    };
    match timeout(limit, exchange).await {
        Err(_) => Ok(None),
        Ok(Ok(round_trip)) => Ok(Some(round_trip)),
        // A router, or the remote end, reports that the address can't be reached.
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::HostUnreachable | ErrorKind::ConnectionRefused) => Ok(None),
        Ok(Err(error)) => Err(failed(error)),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketKind {
    /// The kernel fills in the identifier and strips the IP header.
    Datagram,
    /// The IP header is there, and so are packets for other programs.
    Raw,
}

fn open_socket(address: IpAddr) -> Result<(Socket, SocketKind), Fault> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let open = |kind: Type| Socket::new(domain, kind.nonblocking(), Some(protocol));
    let opened = open(Type::DGRAM).map(|socket| (socket, SocketKind::Datagram));
    opened.or_else(|_| open(Type::RAW).map(|socket| (socket, SocketKind::Raw))).map_err(|error| {
        let message = format!(
            "this machine does not permit ICMP echoes ({error}). Allow them with `sysctl -w \
             net.ipv4.ping_group_range=\"0 2147483647\"`, or check the node by `ports` or `urls` and set `ping: false`"
        );
        Fault::new(Reaction::Unsupported, "icmp.not-permitted", message)
    })
}

/// Returns the types of a request and its reply (RFC 792, RFC 4443).
fn message_types(address: IpAddr) -> (u8, u8) {
    if address.is_ipv4() { (8, 0) } else { (128, 129) }
}

/// Returns a request: type, code, checksum, identifier, sequence number, token. The identifier is set by the kernel, or
/// not at all.
fn echo_request(address: IpAddr, token: &[u8]) -> Vec<u8> {
    let mut packet = vec![message_types(address).0, 0, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(token);
    if address.is_ipv4() {
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
    }
    packet
}

fn is_reply(packet: &[u8], address: IpAddr, kind: SocketKind, token: &[u8]) -> bool {
    let message = match (kind, address, packet.first()) {
        // The length of the IP header is in its first byte, in words.
        (SocketKind::Raw, IpAddr::V4(_), Some(first)) => packet.get(4 * usize::from(first & 15)..),
        _ => Some(packet),
    };
    message.is_some_and(|message| message.first() == Some(&message_types(address).1) && message.get(8..) == Some(token))
}

/// Returns the checksum of RFC 1071. (That of ICMPv6 covers the addresses too, and is set by the kernel.)
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let sum = words.fold(0_u32, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    });
    // Folded after every word, it fits.
    !u16::try_from(sum & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_right_checksum() {
        let packet = echo_request(IpAddr::from([127, 0, 0, 1]), &[7; 16]);
        assert_eq!(checksum(&packet), 0);
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff, 0xff, 0xff]), 0x00ff);
    }

    #[test]
    fn only_the_answer_to_this_request_counts() {
        let v4 = IpAddr::from([127, 0, 0, 1]);
        let token = [7; 16];
        let mut reply = echo_request(v4, &token);
        assert!(!is_reply(&reply, v4, SocketKind::Datagram, &token), "our own request");
        reply[0] = 0;
        assert!(is_reply(&reply, v4, SocketKind::Datagram, &token));
        assert!(!is_reply(&reply, v4, SocketKind::Datagram, &[8; 16]));
        let mut packet = vec![0x46; 24];
        packet.extend_from_slice(&reply);
        assert!(is_reply(&packet, v4, SocketKind::Raw, &token));
        for length in 0..packet.len() {
            assert!(!is_reply(&packet[..length], v4, SocketKind::Raw, &token), "{length}");
        }
    }

    /// Passes where echoes are permitted; elsewhere the fault must say what to do.
    #[tokio::test]
    async fn this_machine_answers_or_says_why_not() {
        let has_v6 = std::net::UdpSocket::bind("[::1]:0").is_ok();
        for address in ["127.0.0.1", "127.8.7.6", "::ffff:127.0.0.1", if has_v6 { "::1" } else { "127.0.0.1" }] {
            match echo(address.parse().unwrap(), Duration::from_secs(5)).await {
                Ok(round_trip) => assert!(round_trip.unwrap() < Duration::from_secs(5)),
                Err(fault) => {
                    assert_eq!(fault.code, "icmp.not-permitted", "{fault}");
                    assert!(fault.message.contains("ping_group_range"));
                }
            }
        }
    }
}
