//! URLs that Azure gives in its answers. They are used as they come, on the management host alone.

/// Bytes of a URL. Azure's own have up to 4 KiB.
const MAX_URL_BYTES: usize = 16 << 10;

/// Scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) is_secure: bool,
    /// Host in lower case.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Returns the origin of a URL; none if it is not one, or has a user's name in it.
pub(crate) fn origin(url: &str) -> Option<Origin> {
    let (origin, _) = split(url)?;
    Some(origin)
}

/// Returns the path and the query of a link if it leads to the same origin as `base`.
pub(crate) fn on_same_host<'l>(base: &str, link: &'l str) -> Option<&'l str> {
    let (origin, rest) = split(link)?;
    (split(base)?.0 == origin && rest.starts_with('/')).then_some(rest)
}

/// Returns a URL of `base`'s origin with this path and query.
pub(crate) fn at_origin(base: &str, path_and_query: &str) -> String {
    let start = base.find("://").map_or(0, |at| at + 3);
    let end = base[start..].find('/').map_or(base.len(), |at| start + at);
    format!("{}{path_and_query}", &base[..end])
}

fn split(url: &str) -> Option<(Origin, &str)> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'<' | b'>');
    if url.len() > MAX_URL_BYTES || !url.bytes().all(is_plain) {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    let is_secure = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let has_port = |(_, port): &(&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = match authority.rsplit_once(':').filter(has_port) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (authority, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if host.is_empty() || host.contains('@') {
        return None;
    }
    let port = port.unwrap_or(if is_secure { 443 } else { 80 });
    Some((Origin { is_secure, host, port }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_on_their_host() {
        let base = "https://management.azure.com";
        for (link, rest) in [
            ("https://management.azure.com/subscriptions/s?a=1", Some("/subscriptions/s?a=1")),
            (
                "https://management.azure.com:443/subscriptions/s?$skiptoken=x%3D",
                Some("/subscriptions/s?$skiptoken=x%3D"),
            ),
            ("https://MANAGEMENT.azure.com./x", Some("/x")),
            ("http://management.azure.com/x", None),
            ("https://management.azure.com:8443/x", None),
            ("https://management.azure.com.evil.example/x", None),
            ("https://management.azure.com@evil.example/x", None),
            ("https://u:p@management.azure.com/x", None),
            ("https://evil.example/https://management.azure.com/x", None),
            ("//management.azure.com/x", None),
            ("/subscriptions/s", None),
            ("https://management.azure.com", None),
            ("https://management.azure.com?x", None),
            ("https://management.azure.com\\@evil.example/", None),
            ("https://management.azure.com/a b", None),
            ("https://management.azure.com/\r\nx: y", None),
            ("", None),
        ] {
            assert_eq!(on_same_host(base, link), rest, "{link}");
        }
        assert_eq!(on_same_host("http://[::1]:81/arm", "http://[::1]:81/arm/x"), Some("/arm/x"));
        assert_eq!(on_same_host(base, &format!("{base}/{}", "a".repeat(MAX_URL_BYTES))), None);
    }

    #[test]
    fn a_path_is_put_behind_the_origin() {
        assert_eq!(at_origin("http://127.0.0.1:81/arm", "/arm/x"), "http://127.0.0.1:81/arm/x");
        assert_eq!(at_origin("https://h", "/x"), "https://h/x");
    }
}
