//! Section and credentials that the user writes.

use std::collections::BTreeMap;

use occopus_sdk::Text;
use schemars::JsonSchema;
use serde::Deserialize;

/// A virtual machine on Amazon EC2, or on a cloud with the same API.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// URL of the API, such as `https://ec2.eu-west-1.amazonaws.com`.
    pub endpoint: String,
    /// Name of the region. Requests are signed for it, unless the endpoint is Amazon's and names a region itself.
    pub regionname: Text,
    /// The machine image, such as `ami-0abcdef1234567890`.
    pub image_id: Text,
    /// Instance type, such as `t3.small`.
    pub instance_type: Text,
    /// The key pair whose public key the machine gets.
    #[serde(default)]
    pub key_name: Option<Text>,
    /// Ids of security groups.
    #[serde(default)]
    pub security_group_ids: Option<Vec<Text>>,
    /// Id of the subnet.
    #[serde(default)]
    pub subnet_id: Option<Text>,
    /// Tags for the machine, beside those by which Occopus finds it.
    #[serde(default)]
    pub tags: Option<BTreeMap<String, Text>>,
    /// A name for this cloud, in logs.
    #[serde(default)]
    #[allow(dead_code, reason = "for people")]
    pub name: Option<Text>,
}

/// Credentials that requests are signed with.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "for its schema: the values stay with the host")]
#[schemars(deny_unknown_fields)]
pub struct Credentials {
    /// Id of the access key.
    accesskey: String,
    /// Secret access key.
    secretkey: String,
    /// Session token of temporary credentials.
    #[serde(default)]
    session_token: Option<String>,
}

impl Section {
    /// Returns the region to sign for. The one in Amazon's own endpoints counts more than `regionname`.
    pub(crate) fn signing_region(&self) -> &str {
        region_of_amazon(&self.endpoint).unwrap_or(self.regionname.trim())
    }

    /// Returns true for Amazon itself, which honours client tokens.
    pub(crate) fn is_amazon(&self) -> bool {
        region_of_amazon(&self.endpoint).is_some()
    }
}

/// Reads the region from `ec2.REGION.amazonaws.com`, `ec2-fips.REGION.amazonaws.com`, `ec2.REGION.api.aws`,
/// `ec2.amazonaws.com` and `vpce-ID.ec2.REGION.vpce.amazonaws.com`.
fn region_of_amazon(endpoint: &str) -> Option<&str> {
    let after_scheme = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = after_scheme.split(['/', ':']).next()?;
    let amazon = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn"];
    let inner = amazon.iter().find_map(|suffix| host.strip_suffix(suffix))?;
    let labels: Vec<&str> = inner.split('.').collect();
    let service = labels.iter().position(|label| matches!(*label, "ec2" | "ec2-fips"))?;
    Some(labels.get(service + 1).copied().unwrap_or("us-east-1"))
}

#[cfg(test)]
mod tests {
    use super::region_of_amazon;

    #[test]
    fn amazons_endpoints_name_their_region() {
        for (endpoint, region) in [
            ("https://ec2.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("https://ec2.eu-west-1.amazonaws.com:443/path", Some("eu-west-1")),
            ("https://ec2.amazonaws.com/", Some("us-east-1")),
            ("https://ec2-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("https://ec2.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("https://ec2.eu-west-1.api.aws", Some("eu-west-1")),
            ("https://vpce-1.ec2.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("https://cfe2.lpds.sztaki.hu:4567", None),
            ("http://127.0.0.1:5000", None),
        ] {
            assert_eq!(region_of_amazon(endpoint), region, "{endpoint}");
        }
    }
}
