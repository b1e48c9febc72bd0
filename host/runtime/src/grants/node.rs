//! Addresses of nodes, as drivers give them. They go into templates, and health checkers may connect to them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::address::NetworkZone;
use super::target::normalize_host;

/// Bytes of a DNS name (RFC 1035).
const MAX_DNS_NAME_LEN: usize = 253;
/// Bytes of a label of a DNS name (RFC 1035).
const MAX_DNS_LABEL_LEN: usize = 63;

/// An IP address or a DNS name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress(String);

/// Error of a text that is neither an IP address nor a DNS name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("neither an IP address nor a DNS name")]
pub struct InvalidAddress;

impl NodeAddress {
    /// Returns its network zone, by its text alone.
    pub(super) fn zone(&self) -> NetworkZone {
        NetworkZone::of(&normalize_host(&self.0))
    }
}

impl FromStr for NodeAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_address = text.parse::<IpAddr>().is_ok();
        if is_address || is_dns_name(name) { Ok(Self(text.to_owned())) } else { Err(InvalidAddress) }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a text is a DNS name. A text whose last label is a number is not: many programs read it as an
/// address (`127.1`, `0x7f000001`).
fn is_dns_name(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    text.len() <= MAX_DNS_NAME_LEN && !is_number && text.split('.').all(is_dns_label)
}

fn is_dns_label(label: &str) -> bool {
    let is_plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    is_plain && (1..=MAX_DNS_LABEL_LEN).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_taken_and_nothing_else() {
        for text in
            ["10.0.0.1", "2001:db8::1", "::1", "db.example.org", "db.example.org.", "my_host", "4x.example", "0xg"]
        {
            assert_eq!(text.parse::<NodeAddress>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
        let long = format!("{}.org", "a".repeat(64));
        for text in [
            "",
            ".",
            "10.0.0.1; id > /tmp/x; #",
            "10.0.0.1:22",
            "10.0.0.0/8",
            "[::1]",
            "fe80::1%eth0",
            "127.1",
            "2130706433",
            "0x7f000001",
            "a.0X7F",
            "0x",
            "-a.org",
            "a-.org",
            "a..org",
            "a b",
            "a\nb",
            "\u{1b}[2J",
            "\u{202e}moc",
            "münchen.de",
            "$(id)",
            &long,
        ] {
            assert_eq!(text.parse::<NodeAddress>(), Err(InvalidAddress), "{text}");
        }
    }
}
