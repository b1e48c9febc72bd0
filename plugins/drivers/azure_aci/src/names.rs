//! Names in Azure: derived from the instance id, so that each request for the same instance has the same name.

use occopus_sdk::Fault;

/// Beginning of the names of container groups.
const GROUP_PREFIX: &str = "occopus-";
/// Maximum length of the name of a container group, and of its DNS label.
const MAX_NAME_CHARS: usize = 63;

/// DNS suffixes of public groups in the clouds of Azure, by the end of the management API's host. Others have the first.
const DNS_SUFFIXES: [(&str, &str); 3] = [
    ("azure.com", "azurecontainer.io"),
    ("chinacloudapi.cn", "azurecontainer.console.azure.cn"),
    ("usgovcloudapi.net", "azurecontainer.console.azure.us"),
];

/// Returns the name of an instance's group, which is the name of its container and its DNS label, too: lower-case letters,
/// digits and hyphens.
///
/// # Errors
/// `give-up` if the id has other characters or is too long. The host's ids are UUIDs.
pub(crate) fn group_name(instance_id: &str) -> Result<String, Fault> {
    let name = format!("{GROUP_PREFIX}{}", instance_id.to_ascii_lowercase());
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_plain && name.len() <= MAX_NAME_CHARS && !name.ends_with('-') && !name.contains("--") {
        return Ok(name);
    }
    let message = format!("`{instance_id}` can't be part of the name of a container group");
    Err(Fault::give_up("azure.bad-instance-id", message))
}

/// Returns the location as Azure's names have it: `West Europe` is `westeurope`.
pub(crate) fn location(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_ascii_lowercase()
}

/// Returns the DNS name that a public group with this name gets in a location.
pub(crate) fn dns_name(group: &str, location: &str, endpoint: &str) -> String {
    let host =
        endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).split(['/', ':']).next().unwrap_or_default();
    let host = host.to_ascii_lowercase();
    let suffix =
        DNS_SUFFIXES.iter().find(|(cloud, _)| host.ends_with(cloud)).map_or(DNS_SUFFIXES[0].1, |(_, suffix)| suffix);
    format!("{group}.{location}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_after_their_instances() {
        let id = "6995019c-1d9b-4e0a-b2fd-9bdb2f4d289a";
        assert_eq!(group_name(id).unwrap(), format!("occopus-{id}"));
        assert_eq!(group_name(&id.to_uppercase()).unwrap(), format!("occopus-{id}"));
        for bad in ["a/../b", "a b", "a_b", "é", "a--b", "a-", "", &"a".repeat(56)] {
            assert!(group_name(bad).is_err(), "{bad}");
        }
        assert!(group_name(&"a".repeat(55)).is_ok());
    }

    #[test]
    fn public_groups_have_a_dns_name_of_their_cloud() {
        assert_eq!(location(" West Europe"), "westeurope");
        for (endpoint, name) in [
            ("https://management.azure.com", "g.westeurope.azurecontainer.io"),
            ("https://MANAGEMENT.azure.com:443/", "g.westeurope.azurecontainer.io"),
            ("https://management.chinacloudapi.cn/", "g.westeurope.azurecontainer.console.azure.cn"),
            ("https://management.usgovcloudapi.net", "g.westeurope.azurecontainer.console.azure.us"),
            ("http://127.0.0.1:1234", "g.westeurope.azurecontainer.io"),
            ("azure", "g.westeurope.azurecontainer.io"),
        ] {
            assert_eq!(dns_name("g", "westeurope", endpoint), name, "{endpoint}");
        }
    }
}
