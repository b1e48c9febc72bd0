//! `ports`: checks that the node accepts TCP connections on all of these ports.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use occopus_sdk::{About, Fault, HealthChecker, Observation, Target};
use schemars::JsonSchema;
use serde::Deserialize;

/// Time-out for one port. Less than the host's pause between two checks of a slow node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Port numbers.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Ports(Vec<u16>);

/// The plugin.
pub struct PortsChecker;

impl HealthChecker for PortsChecker {
    type Section = Ports;

    const ABOUT: About = About {
        name: "ports",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "ports",
        summary: "TCP ports of the node accept connections",
        ..About::HEALTH
    };

    fn check(target: &Target<Ports>) -> Result<Observation, Fault> {
        let results: Vec<_> = target.section.0.iter().map(|port| (*port, connect(&target.address, *port))).collect();
        let closed: Vec<_> = results
            .iter()
            .filter_map(|(port, result)| result.as_ref().err().map(|why| format!("port {port}: {why}")))
            .collect();
        let mut observation = match closed.as_slice() {
            [] => Observation::healthy("all ports are open"),
            _ => Observation::unhealthy(closed.join(", ")),
        };
        observation.details = results
            .into_iter()
            .map(|(port, result)| (format!("port {port}"), if result.is_ok() { "ready" } else { "pending" }.to_owned()))
            .collect();
        Ok(observation)
    }
}

/// Connects to any of the addresses that the name has.
fn connect(host: &str, port: u16) -> Result<(), String> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("`{host}` can't be resolved: {error}"))?;
    let mut why = format!("`{host}` has no address");
    for address in addresses {
        match connect_to(address) {
            Ok(()) => return Ok(()),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

fn connect_to(address: SocketAddr) -> Result<(), String> {
    // In WASI 0.2 `connect_timeout` may take a refused connection for an open one; an open one has a peer.
    match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).and_then(|stream| stream.peer_addr()) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotConnected => Err("connection refused".to_owned()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err("connection refused".to_owned()),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err("no answer".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

occopus_sdk::export_health_checker!(PortsChecker);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use occopus_sdk::testing::{FakeHost, check};
    use occopus_sdk::{Observation, Verdict};
    use serde_json::json;

    use super::PortsChecker;

    fn look(ports: &[u16]) -> Observation {
        check::<PortsChecker>(FakeHost::default(), &json!(ports), "127.0.0.1", json!({})).expect("an observation")
    }

    #[test]
    fn all_must_be_open() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let open = listener.local_addr().expect("its address").port();
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|other| other.local_addr()).expect("a port").port();
        assert_eq!(look(&[open]).verdict, Verdict::Healthy);
        assert_eq!(look(&[]).verdict, Verdict::Healthy);
        let observation = look(&[open, closed]);
        assert_eq!(observation.verdict, Verdict::Unhealthy);
        assert_eq!(observation.reason, format!("port {closed}: connection refused"));
        assert_eq!(observation.details[0], (format!("port {open}"), "ready".to_owned()));
        assert_eq!(observation.details[1], (format!("port {closed}"), "pending".to_owned()));
    }
}
