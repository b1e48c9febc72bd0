//! Targets: the lines of a network grant.

use std::fmt;
use std::net::IpAddr;
use std::path::{Component, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

/// Network target of a grant: `HOST:PORT`, where the host is a name, `*.DOMAIN`, an address, a network in CIDR form or
/// `*`, an IPv6 address or network is in brackets, and the port is a number or `*`; `unix:///PATH`; `announced`: hosts
/// that its endpoint names in its answers; or `HOST:PORT for HOST:PORT`: the first one in calls whose endpoint is the
/// second.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NetworkTarget(pub(super) TargetKind);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TargetKind {
    Host {
        host: HostPattern,
        port: Option<u16>,
    },
    Socket(PathBuf),
    /// Announced hosts. It covers nothing by itself: those hosts are kept elsewhere.
    Announced,
    /// A host that belongs to an endpoint, such as the log-in host of a cloud. It covers nothing by itself: see
    /// [`NetworkTarget::for_endpoints`].
    Companion {
        target: Box<NetworkTarget>,
        endpoint: Box<NetworkTarget>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    Any,
    Name(String),
    /// All names below a domain, not the domain itself.
    Subdomains(String),
    /// An address, or a network with the length of its prefix.
    Network(IpAddr, u8),
}

/// Error of a line that is not a network target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a network target: {reason}; write HOST:PORT, *.DOMAIN:PORT, ADDRESS/BITS:PORT or unix:///PATH"
)]
pub struct InvalidNetworkTarget {
    text: String,
    reason: &'static str,
}

impl NetworkTarget {
    /// Hosts that the endpoint names in its answers.
    pub(super) const ANNOUNCED: Self = Self(TargetKind::Announced);

    pub(super) fn new(host: HostPattern, port: Option<u16>) -> Self {
        Self(TargetKind::Host { host, port })
    }

    /// Returns what it covers in a call with these endpoints: itself, or the companion of one of them; none if it is the
    /// companion of another endpoint.
    pub(super) fn for_endpoints(&self, endpoints: &[Self]) -> Option<Self> {
        match &self.0 {
            TargetKind::Companion { target, endpoint } => endpoints.contains(endpoint).then(|| Self::clone(target)),
            TargetKind::Host { .. } | TargetKind::Socket(_) | TargetKind::Announced => Some(self.clone()),
        }
    }

    /// Returns whether it is one host by its name, on one port.
    fn is_named_host(&self) -> bool {
        matches!(&self.0, TargetKind::Host { host: HostPattern::Name(_), port: Some(_) })
    }

    /// Returns whether it covers this host by name. `host` is normalised: see [`normalize_host`].
    pub(super) fn covers_name(&self, host: &str, port: u16) -> bool {
        self.host_on_port(port).is_some_and(|pattern| match pattern {
            HostPattern::Any => true,
            HostPattern::Name(name) => name == host,
            HostPattern::Subdomains(domain) => {
                host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            HostPattern::Network(..) => false,
        })
    }

    /// Returns whether it covers this address, as an address. Without a port, on any port.
    pub(super) fn covers_address(&self, address: IpAddr, port: Option<u16>) -> bool {
        self.host_for_port(port).is_some_and(|pattern| match pattern {
            HostPattern::Any => true,
            HostPattern::Network(network, bits) => in_network(address, *network, *bits),
            HostPattern::Name(_) | HostPattern::Subdomains(_) => false,
        })
    }

    /// Returns whether it is an address or a network of this kind, and covers this address. The kind of a network is
    /// that of its first address.
    pub(super) fn names_address(&self, address: IpAddr, port: Option<u16>, kind: impl Fn(IpAddr) -> bool) -> bool {
        match self.host_for_port(port) {
            Some(HostPattern::Network(network, bits)) => in_network(address, *network, *bits) && kind(*network),
            _ => false,
        }
    }

    /// Returns whether it is exactly this address.
    pub(super) fn is_address(&self, address: IpAddr, port: Option<u16>) -> bool {
        matches!(self.host_for_port(port), Some(HostPattern::Network(network, bits))
            if *network == address.to_canonical() && *bits == address_bits(*network))
    }

    fn host_on_port(&self, port: u16) -> Option<&HostPattern> {
        self.host_for_port(Some(port))
    }

    fn host_for_port(&self, port: Option<u16>) -> Option<&HostPattern> {
        match &self.0 {
            TargetKind::Host { host, port: own } if port.is_none() || own.is_none() || *own == port => Some(host),
            _ => None,
        }
    }
}

/// Returns a host in the form in which hosts are compared: lower case, no dot at the end, no brackets.
pub(super) fn normalize_host(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Returns `host:port`, with brackets if they are needed.
pub(super) fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Returns the target that covers all ports of an address.
pub(super) fn any_port_target(address: IpAddr) -> String {
    NetworkTarget::new(HostPattern::Network(address, address_bits(address)), None).to_string()
}

/// Returns the pattern of a name or an address.
pub(super) fn host_pattern(text: &str) -> HostPattern {
    let normal = normalize_host(text);
    normal.parse::<IpAddr>().map_or(HostPattern::Name(normal), |address| {
        let address = address.to_canonical();
        HostPattern::Network(address, address_bits(address))
    })
}

fn address_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let leading = |address: u128, width: u8| address.checked_shr(u32::from(width.saturating_sub(bits))).unwrap_or(0);
    match (address.to_canonical(), network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => leading(u32::from(a).into(), 32) == leading(u32::from(n).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => leading(a.into(), 128) == leading(n.into(), 128),
        _ => false,
    }
}

impl FromStr for NetworkTarget {
    type Err = InvalidNetworkTarget;

    fn from_str(text: &str) -> Result<Self, InvalidNetworkTarget> {
        let invalid = |reason| InvalidNetworkTarget { text: text.to_owned(), reason };
        if text == "announced" {
            return Ok(Self::ANNOUNCED);
        }
        if text.starts_with("unix:") {
            return socket_path(text)
                .map(|path| Self(TargetKind::Socket(path)))
                .ok_or(invalid("the path is not absolute"));
        }
        if let Some((target, endpoint)) = text.split_once(" for ") {
            if endpoint.contains(" for ") {
                return Err(invalid("it has more than one endpoint"));
            }
            let [target, endpoint] = [target, endpoint].map(Self::from_str);
            let (target, endpoint) = (Box::new(target?), Box::new(endpoint?));
            let are_named = target.is_named_host() && endpoint.is_named_host();
            let companion = Self(TargetKind::Companion { target, endpoint });
            return are_named.then_some(companion).ok_or(invalid("a host and its endpoint are written by their names"));
        }
        let (host_text, port) = text.rsplit_once(':').ok_or(invalid("the port is missing"))?;
        let port = match port {
            "*" => None,
            number => {
                Some(number.parse::<u16>().ok().filter(|port| *port > 0).ok_or(invalid("the port is not valid"))?)
            }
        };
        let (bare, bracketed) = match host_text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inside) => (inside, true),
            None => (host_text, false),
        };
        let pattern = if bare == "*" {
            HostPattern::Any
        } else if let Some(domain) = bare.strip_prefix("*.") {
            HostPattern::Subdomains(parse_domain_name(domain).ok_or(invalid("the domain is not valid"))?)
        } else if let Some((network, bits)) = bare.split_once('/') {
            let network: IpAddr = network.parse().map_err(|_| invalid("the network is not valid"))?;
            let bits = bits.parse().ok().filter(|bits| *bits <= address_bits(network));
            HostPattern::Network(network, bits.ok_or(invalid("the length of the prefix is wrong"))?)
        } else if bare.parse::<IpAddr>().is_ok() {
            host_pattern(bare)
        } else {
            HostPattern::Name(parse_domain_name(bare).ok_or(invalid("the host is not valid"))?)
        };
        if matches!(&pattern, HostPattern::Network(address, _) if address.is_ipv6()) && !bracketed {
            return Err(invalid("an IPv6 address must be in brackets"));
        }
        Ok(Self::new(pattern, port))
    }
}

fn parse_domain_name(text: &str) -> Option<String> {
    let normal = normalize_host(text);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    normal.split('.').all(is_label).then_some(normal)
}

impl TryFrom<String> for NetworkTarget {
    type Error = InvalidNetworkTarget;

    fn try_from(text: String) -> Result<Self, InvalidNetworkTarget> {
        text.parse()
    }
}

impl fmt::Display for NetworkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            TargetKind::Socket(path) => return write!(f, "unix://{}", path.display()),
            TargetKind::Announced => return f.write_str("announced"),
            TargetKind::Companion { target, endpoint } => return write!(f, "{target} for {endpoint}"),
            TargetKind::Host { host: HostPattern::Any, .. } => f.write_str("*")?,
            TargetKind::Host { host: HostPattern::Name(name), .. } => f.write_str(name)?,
            TargetKind::Host { host: HostPattern::Subdomains(domain), .. } => write!(f, "*.{domain}")?,
            TargetKind::Host { host: HostPattern::Network(address, bits), .. } => {
                let bits = if *bits == address_bits(*address) { String::new() } else { format!("/{bits}") };
                if address.is_ipv6() { write!(f, "[{address}{bits}]")? } else { write!(f, "{address}{bits}")? }
            }
        }
        match &self.0 {
            TargetKind::Host { port: Some(port), .. } => write!(f, ":{port}"),
            _ => f.write_str(":*"),
        }
    }
}

/// Returns the path in `unix:///PATH`, or in `unix://PATH`, which means the same to Docker's tools; none unless it is
/// plain.
pub(super) fn socket_path(text: &str) -> Option<PathBuf> {
    let path = text.strip_prefix("unix://")?;
    let path = PathBuf::from(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") });
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let named = path.file_name().is_some() && !text.contains('\0');
    (path.is_absolute() && plain && named).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> NetworkTarget {
        text.parse().unwrap()
    }

    #[test]
    fn lines_are_read_and_written() {
        for text in [
            "example.com:443",
            "*.example.com:443",
            "10.0.0.0/8:*",
            "10.1.2.3:80",
            "[2001:db8::1]:443",
            "[2001:db8::/32]:*",
            "*:443",
            "unix:///run/docker.sock",
            "announced",
            "login.example.com:443 for api.example.com:443",
        ] {
            assert_eq!(target(text).to_string(), text);
        }
        // Two slashes are taken for three.
        assert_eq!(target("unix://run/docker.sock").to_string(), "unix:///run/docker.sock");
        for text in [
            "",
            "example.com",
            "example.com:0",
            "a b:1",
            "10.0.0.0/33:1",
            "::1:80",
            ":80",
            "*.:1",
            "a:1 for ",
            "a:1 for b",
            "*:1 for b:1",
            "a:1 for b:*",
            "a:1 for 10.0.0.1:1",
            "a:1 for b:1 for c:1",
        ] {
            assert!(text.parse::<NetworkTarget>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_match_whole_labels() {
        assert!(target("*.example.com:443").covers_name("a.b.example.com", 443));
        assert!(!target("*.example.com:443").covers_name("example.com", 443));
        assert!(!target("*.example.com:443").covers_name("evilexample.com", 443));
        assert!(!target("*.example.com:443").covers_name(".example.com", 443));
        assert!(!target("*.example.com:443").covers_name("a.example.com", 80));
        assert!(target("Example.COM:*").covers_name("example.com", 1));
        assert!(!target("0.0.0.0/0:*").covers_name("example.com", 1));
    }

    #[test]
    fn networks_hold_their_addresses() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(target("10.0.0.0/8:*").covers_address(address("10.255.0.1"), Some(9)));
        assert!(target("10.0.0.0/8:*").covers_address(address("::ffff:10.0.0.1"), Some(9)));
        assert!(!target("10.0.0.0/8:*").covers_address(address("11.0.0.1"), Some(9)));
        assert!(target("0.0.0.0/0:*").covers_address(address("11.0.0.1"), None));
        assert!(!target("0.0.0.0/0:*").covers_address(address("2001:db8::1"), None));
        assert!(target("[::/0]:*").covers_address(address("2001:db8::1"), None));
        assert!(target("10.1.2.3:80").is_address(address("10.1.2.3"), Some(80)));
        assert!(!target("10.1.2.0/24:80").is_address(address("10.1.2.3"), Some(80)));
    }
}
