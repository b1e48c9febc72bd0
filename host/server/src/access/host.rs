//! Host names that the service answers to (a defence against DNS rebinding). A web site can make its own name resolve to
//! a loopback address, and read the responses from there; but the browser still sends that name in `Host`.

use std::net::IpAddr;

use http::Uri;
use http::header::{HOST, HeaderMap};
use http::uri::Authority;

/// Host names that the service answers to.
#[derive(Debug, Clone)]
pub(super) enum AllowedHosts {
    /// Any name.
    Any,
    /// Loopback addresses, `localhost`, and these.
    Loopback(Vec<String>),
}

impl AllowedHosts {
    /// Returns true if the request names a host, in `Host` or its URI, and each host that it names is allowed.
    pub(super) fn allows(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Self::Loopback(others) = self else { return true };
        let mut named = false;
        let in_headers = headers.get_all(HOST).iter().map(|value| Authority::try_from(value.as_bytes()).ok());
        in_headers.chain(uri.authority().map(|authority| Some(authority.clone()))).all(|authority| {
            named = true;
            authority.is_some_and(|authority| is_allowed(authority.host(), others))
        }) && named
    }
}

fn is_allowed(host: &str, others: &[String]) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        || others.iter().any(|other| host.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(uri: &str, hosts: &[&str]) -> bool {
        let allowed = AllowedHosts::Loopback(vec!["occopus.example".to_owned()]);
        let headers = hosts.iter().map(|host| (HOST, host.parse().unwrap())).collect();
        allowed.allows(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn names_of_this_machine_are_ours() {
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1:5000", "127.9.9.9", "[::1]:80", "[::1]", "occopus.example:1"]
        {
            assert!(answers("/", &[host]), "{host}");
        }
        assert!(answers("http://localhost:1/", &[]));
    }

    #[test]
    fn other_names_are_not() {
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "", "a b", "::1"]
        {
            assert!(!answers("/", &[host]), "{host}");
        }
        assert!(!answers("/", &[]));
        assert!(!answers("/", &["localhost", "evil.example"]));
        assert!(!answers("http://evil.example/", &["localhost"]));
        assert!(!answers("http://user@evil.example/", &["localhost"]));
    }
}
