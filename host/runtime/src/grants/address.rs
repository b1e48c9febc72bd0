//! Addresses that need more than an ordinary grant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Class of an address, by the grant that it requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AddressClass {
    /// A grant by name or by network.
    Ordinary,
    /// An address of this machine: a grant that names it.
    Loopback,
    /// Metadata services, link-local and non-unicast addresses: a grant of this very address by the operator.
    Guarded,
}

/// Returns the class of an address, in whatever form it is written. An IPv4 address inside an IPv6 one has the class of
/// the IPv4 address itself, since a gateway (or this machine) may unwrap it.
pub(super) fn classify(address: IpAddr) -> AddressClass {
    match address.to_canonical() {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6).max(embedded_ipv4(v6).map_or(AddressClass::Ordinary, classify_v4)),
    }
}

/// Network zone of a host, by its text alone: nothing is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkZone {
    /// Any other address or name.
    Public,
    /// An address of a private network (RFC 1918, RFC 4193, RFC 6598).
    Private,
    /// An address of this machine.
    ThisMachine,
    /// A metadata service, or a link-local or reserved address.
    Guarded,
}

impl NetworkZone {
    /// Returns the zone of a name or an address. `host` is normalised: see
    /// [`normalize_host`](super::target::normalize_host).
    pub(super) fn of(host: &str) -> Self {
        match host.parse::<IpAddr>() {
            Ok(address) => match classify(address) {
                AddressClass::Loopback => Self::ThisMachine,
                AddressClass::Guarded => Self::Guarded,
                AddressClass::Ordinary if is_private(address) => Self::Private,
                AddressClass::Ordinary => Self::Public,
            },
            Err(_) if host == "localhost" || host.ends_with(".localhost") => Self::ThisMachine,
            Err(_) => Self::Public,
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    let v4 = |address: Ipv4Addr| {
        let [first, second, ..] = address.octets();
        address.is_private() || first == 100 && second & 0xc0 == 64
    };
    match address.to_canonical() {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => address.is_unique_local() || embedded_ipv4(address).is_some_and(v4),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    let [first, ..] = address.octets();
    let metadata = [
        Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
        Ipv4Addr::new(168, 63, 129, 16),   // Azure
        Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud
    ];
    if address.is_loopback() {
        AddressClass::Loopback
    } else if first == 0 // "this network": Linux connects 0.0.0.0 to itself
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || metadata.contains(&address)
    {
        AddressClass::Guarded
    } else {
        AddressClass::Ordinary
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    let segments = address.segments();
    let aws = segments[0] == 0xfd00 && segments[1] == 0x0ec2;
    let google = segments[0] == 0xfd20 && segments[1] == 0x00ce;
    let site_local = segments[0] & 0xffc0 == 0xfec0;
    if address.is_loopback() {
        AddressClass::Loopback
    } else if address.is_unspecified()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || site_local
        || aws
        || google
    {
        AddressClass::Guarded
    } else {
        AddressClass::Ordinary
    }
}

/// Returns the IPv4 address inside an IPv6 address: compatible (`::/96`), translated (`::ffff:0:0:0/96`), NAT64
/// (`64:ff9b::/96`, and `64:ff9b:1::/48` with the address at its end), 6to4 (`2002::/16`), Teredo (`2001::/32`,
/// inverted).
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(join(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_guarded_in_every_form() {
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "2001:0:1:2:3:4:5601:5601",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert_eq!(classify(text.parse().unwrap()), AddressClass::Guarded, "{text}");
        }
    }

    #[test]
    fn loopback_is_seen_in_every_form() {
        for text in
            ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
        {
            assert_eq!(classify(text.parse().unwrap()), AddressClass::Loopback, "{text}");
        }
    }

    #[test]
    fn hosts_have_a_zone() {
        for (host, zone) in [
            ("example.org", NetworkZone::Public),
            ("localhost.example.org", NetworkZone::Public),
            ("8.8.8.8", NetworkZone::Public),
            ("10.1.2.3", NetworkZone::Private),
            ("100.64.0.1", NetworkZone::Private),
            ("::ffff:192.168.0.1", NetworkZone::Private),
            ("64:ff9b::10.0.0.1", NetworkZone::Private),
            ("fd12:3456::1", NetworkZone::Private),
            ("a.localhost", NetworkZone::ThisMachine),
            ("127.0.0.1", NetworkZone::ThisMachine),
            ("::1", NetworkZone::ThisMachine),
            ("169.254.169.254", NetworkZone::Guarded),
            ("0.0.0.0", NetworkZone::Guarded),
        ] {
            assert_eq!(NetworkZone::of(host), zone, "{host}");
        }
    }

    #[test]
    fn private_and_public_addresses_are_ordinary() {
        for text in ["10.0.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "2a00::1", "fd12:3456::1", "2002:808:808::"] {
            assert_eq!(classify(text.parse().unwrap()), AddressClass::Ordinary, "{text}");
        }
    }
}
