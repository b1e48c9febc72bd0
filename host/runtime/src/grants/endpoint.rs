//! Endpoints as users write them.

use std::path::PathBuf;

use occopus_engine::ports::{Fault, Reaction};
use url::Url;

use super::address::NetworkZone;
use super::target::{HostPattern, NetworkTarget, TargetKind, host_pattern, normalize_host, socket_path};

/// Endpoint of the service of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A base URL, without a slash at its end.
    Url { url: String, host: String, port: u16 },
    /// A unix socket.
    Socket(PathBuf),
}

impl Endpoint {
    /// Parses `http://`, `https://`, `tcp://HOST:PORT`, `unix:///PATH` and `HOST:PORT`.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        if text.starts_with("unix:") {
            let path =
                socket_path(text).ok_or_else(|| bad_endpoint(text, "a unix socket is written `unix:///PATH`"))?;
            return Ok(Self::Socket(path));
        }
        let is_url = text.starts_with("http://") || text.starts_with("https://");
        let full = if is_url {
            text.to_owned()
        } else {
            let authority = text.strip_prefix("tcp://").unwrap_or(text).trim_end_matches('/');
            let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            if !has_port || authority.contains(['/', '?', '#']) {
                return Err(bad_endpoint(
                    text,
                    "expected http://, https://, tcp://HOST:PORT, unix:///PATH or HOST:PORT",
                ));
            }
            format!("http://{authority}")
        };
        let mut url = Url::parse(&full).map_err(|error| bad_endpoint(text, &error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            // The text is not repeated: it has a password in it.
            return Err(bad_endpoint("the endpoint", "user names and passwords belong in the credentials"));
        }
        url.set_fragment(None);
        let (Some(name), Some(port)) = (url.host_str().map(str::to_owned), url.port_or_known_default()) else {
            return Err(bad_endpoint(text, "the host is missing"));
        };
        Ok(Self::Url { url: url.as_str().trim_end_matches('/').to_owned(), host: name, port })
    }

    /// Returns the normalised host of its URL; none for a unix socket.
    pub(super) fn host(&self) -> Option<String> {
        match self {
            Self::Url { host, .. } => Some(normalize_host(host)),
            Self::Socket(_) => None,
        }
    }

    /// Returns its network zone, by its text alone.
    pub(super) fn zone(&self) -> NetworkZone {
        self.host().map_or(NetworkZone::ThisMachine, |host| NetworkZone::of(&host))
    }

    /// Returns the target that covers this endpoint and nothing else.
    pub(super) fn target(&self) -> NetworkTarget {
        match self {
            Self::Url { host: name, port, .. } => NetworkTarget::new(host_pattern(name), Some(*port)),
            Self::Socket(path) => NetworkTarget(TargetKind::Socket(path.clone())),
        }
    }
}

/// Returns the target that covers one node: all ports of its address.
pub(super) fn node_target(address: &str) -> Option<NetworkTarget> {
    match host_pattern(address) {
        HostPattern::Name(name) if name.is_empty() => None,
        pattern => Some(NetworkTarget::new(pattern, None)),
    }
}

fn bad_endpoint(text: &str, reason: &str) -> Fault {
    Fault::new(Reaction::GiveUp, "host.bad-endpoint", format!("`{text}` is not an endpoint: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> (String, String, u16) {
        match Endpoint::parse(text).unwrap() {
            Endpoint::Url { url, host, port } => (url, host, port),
            Endpoint::Socket(path) => panic!("{path:?}"),
        }
    }

    #[test]
    fn urls_are_read() {
        assert_eq!(url("https://ec2.example.com/"), ("https://ec2.example.com".into(), "ec2.example.com".into(), 443));
        assert_eq!(url("http://h:5000/v3/"), ("http://h:5000/v3".into(), "h".into(), 5000));
        assert_eq!(url("tcp://10.0.0.1:2375"), ("http://10.0.0.1:2375".into(), "10.0.0.1".into(), 2375));
        assert_eq!(url("tcp://10.0.0.1:80/"), ("http://10.0.0.1".into(), "10.0.0.1".into(), 80));
        assert_eq!(url("host:2375"), ("http://host:2375".into(), "host".into(), 2375));
        assert_eq!(url("[::1]:2375"), ("http://[::1]:2375".into(), "[::1]".into(), 2375));
        // The forms that the C library reads as addresses are addresses here too.
        assert_eq!(url("http://0x7f.1/").1, "127.0.0.1");
    }

    #[test]
    fn sockets_are_read() {
        let path = PathBuf::from("/var/run/docker.sock");
        for text in ["unix:///var/run/docker.sock", "unix://var/run/docker.sock", " unix://var/run/docker.sock "] {
            assert_eq!(Endpoint::parse(text).unwrap(), Endpoint::Socket(path.clone()), "{text}");
        }
        for text in ["unix://", "unix:///", "unix://../run", "unix:/run/x", "unix:///run/../etc/x"] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in ["", "host", "tcp://host", "ftp://host:21", "host:99999", "http://", "host:80/path"] {
            let fault = Endpoint::parse(text).unwrap_err();
            assert_eq!(fault.reaction, Reaction::GiveUp, "{text}");
        }
        let fault = Endpoint::parse("https://user:hunter2@host/").unwrap_err();
        assert!(!fault.message.contains("hunter2"));
    }
}
