//! Clouds of Azure, by the `endpoint` in the user's section
//! (<https://learn.microsoft.com/azure/active-directory/develop/authentication-national-cloud>).

use crate::link;

/// Management hosts with their log-in hosts: the public cloud, China, US Government.
const CLOUDS: [(&str, &str); 3] = [
    ("management.azure.com", "login.microsoftonline.com"),
    ("management.chinacloudapi.cn", "login.chinacloudapi.cn"),
    ("management.usgovcloudapi.net", "login.microsoftonline.us"),
];

/// Network needs of a driver beside its `endpoint`: the log-in host of each cloud, for calls to that cloud alone.
pub const LOGIN_HOSTS: [&str; 3] = [
    "login.microsoftonline.com:443 for management.azure.com:443",
    "login.chinacloudapi.cn:443 for management.chinacloudapi.cn:443",
    "login.microsoftonline.us:443 for management.usgovcloudapi.net:443",
];

/// URLs of one cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    /// URL of Azure Resource Manager, without a slash at its end.
    pub management: String,
    /// URL that tokens come from, without a slash at its end.
    pub login: String,
    /// OAuth scope of the tokens.
    pub token_scope: String,
}

impl Cloud {
    /// Returns the cloud of an endpoint. Azure's own management hosts have their log-in hosts; another endpoint serves both.
    pub fn of(endpoint: &str) -> Self {
        let management = endpoint.trim().trim_end_matches('/').to_owned();
        match known(&management) {
            Some((host, login)) => Self {
                management: format!("https://{host}"),
                login: format!("https://{login}"),
                token_scope: format!("https://{host}/.default"),
            },
            None => {
                let token_scope = format!("{management}/.default");
                Self { login: management.clone(), management, token_scope }
            }
        }
    }
}

/// Returns the hosts of an endpoint that is Azure's own.
fn known(endpoint: &str) -> Option<(&'static str, &'static str)> {
    let origin = link::origin(endpoint)?;
    let is_own = |host: &str| origin == (link::Origin { is_secure: true, host: host.to_owned(), port: 443 });
    CLOUDS.into_iter().find(|(host, _)| is_own(host))
}

/// Returns true for this machine, and for names that are reserved for tests (RFC 6761).
fn is_for_tests(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_named = |name: &str| host == name || host.ends_with(&format!(".{name}"));
    is_loopback || is_named("localhost") || is_named("test")
}

/// Returns why an endpoint can't be the management host of a cloud; none if it can. Asks nobody.
pub fn endpoint_mistake(endpoint: &str) -> Option<String> {
    let example = "write https://management.azure.com, or the management host of your cloud";
    let Some(origin) = link::origin(endpoint.trim()) else { return Some(example.to_owned()) };
    let named = |host: &str| origin.host == host || origin.host.ends_with(&format!(".{host}"));
    if CLOUDS.iter().any(|(host, _)| named(host)) && known(endpoint).is_none() {
        let (host, _) = CLOUDS.into_iter().find(|(host, _)| named(host))?;
        return Some(format!("Azure is reached at https://{host} alone; write that"));
    }
    if CLOUDS.iter().any(|(_, login)| named(login)) || origin.host == "portal.azure.com" {
        return Some(format!("this is not where Azure is managed; {example}"));
    }
    // The secret and the tokens would go over the network in clear text.
    if !origin.is_secure && !is_for_tests(&origin.host) {
        return Some(format!("only https is safe to log in with, beyond this machine; write https://{}", origin.host));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds_have_their_log_in_hosts() {
        for (endpoint, management, login) in [
            ("https://management.azure.com", "https://management.azure.com", "https://login.microsoftonline.com"),
            ("https://Management.Azure.com:443/", "https://management.azure.com", "https://login.microsoftonline.com"),
            (
                "https://management.chinacloudapi.cn/",
                "https://management.chinacloudapi.cn",
                "https://login.chinacloudapi.cn",
            ),
            (
                "https://management.usgovcloudapi.net",
                "https://management.usgovcloudapi.net",
                "https://login.microsoftonline.us",
            ),
            ("http://127.0.0.1:8443/", "http://127.0.0.1:8443", "http://127.0.0.1:8443"),
            ("https://azure.test/arm", "https://azure.test/arm", "https://azure.test/arm"),
        ] {
            let cloud = Cloud::of(endpoint);
            assert_eq!((cloud.management.as_str(), cloud.login.as_str()), (management, login), "{endpoint}");
            assert_eq!(cloud.token_scope, format!("{management}/.default"));
        }
    }

    #[test]
    fn each_cloud_has_its_log_in_host_among_the_needs() {
        let lines = CLOUDS.map(|(management, login)| format!("{login}:443 for {management}:443"));
        assert_eq!(LOGIN_HOSTS.map(str::to_owned), lines);
    }

    #[test]
    fn what_is_not_a_management_host_is_named() {
        for good in [
            "https://management.azure.com",
            "http://127.0.0.1:80",
            "http://[::1]:80",
            "http://localhost:80",
            "https://azure.test/arm",
        ] {
            assert_eq!(endpoint_mistake(good), None, "{good}");
        }
        for (bad, words) in [
            ("http://management.azure.com", "https://management.azure.com alone"),
            ("https://westeurope.management.azure.com", "https://management.azure.com alone"),
            ("https://management.azure.com:8443", "https://management.azure.com alone"),
            ("https://login.microsoftonline.com", "not where Azure is managed"),
            ("https://portal.azure.com", "not where Azure is managed"),
            ("http://azure.example", "only https"),
            ("http://10.0.0.1:8080", "only https"),
            ("azure", "write https://management.azure.com"),
            ("", "write https://management.azure.com"),
        ] {
            assert!(endpoint_mistake(bad).is_some_and(|said| said.contains(words)), "{bad}");
        }
    }
}
