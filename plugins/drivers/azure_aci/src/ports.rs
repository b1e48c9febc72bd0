//! Ports of a container: `80`, `"80"`, `80/udp`.

use serde::Serialize;

/// A port that the container listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Port {
    pub(crate) protocol: &'static str,
    pub(crate) port: u16,
}

impl Port {
    /// Reads a number, or a number and a protocol; TCP by default.
    ///
    /// # Errors
    /// Returns the reason why it is not a port.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.trim().to_ascii_lowercase().as_str() {
            "tcp" => "TCP",
            "udp" => "UDP",
            other => return Err(format!("`{other}` is not a protocol: write `tcp` or `udp`, such as 53/udp")),
        };
        match number.trim().parse() {
            Ok(port) if port > 0 => Ok(Self { protocol, port }),
            _ => Err(format!("`{text}` is not a port: write a number from 1 to 65535, such as 80 or 53/udp")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let port = |protocol, port| Ok(Port { protocol, port });
        assert_eq!(Port::read("80"), port("TCP", 80));
        assert_eq!(Port::read(" 53/udp "), port("UDP", 53));
        assert_eq!(Port::read("65535/TCP"), port("TCP", 65535));
        for bad in ["", "0", "65536", "-1", "80.5", "http", "80/sctp", "80/", "/tcp", "80:80", "80-90"] {
            assert!(Port::read(bad).is_err(), "{bad}");
        }
    }
}
