//! Section and credentials that the user writes.

use std::borrow::Cow;

use occopus_sdk::Text;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// A server of an OpenStack cloud.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// URL of Keystone, such as `https://cloud.example.com:5000/v3`.
    pub endpoint: String,
    /// Id or name of the image.
    pub image_id: Text,
    /// Id or name of the flavor.
    pub flavor_name: Text,
    /// Id of the project. With an application credential, the credential's own project counts.
    pub project_id: Text,
    /// Name of the server. Each instance of a node gets the same: a unique one by default.
    #[serde(default)]
    pub server_name: Option<Text>,
    /// The key pair whose public key the server gets.
    #[serde(default)]
    pub key_name: Option<Text>,
    /// Names of security groups.
    #[serde(default)]
    pub security_groups: Option<Vec<Text>>,
    /// Id of the network. May be left out where the project has one.
    #[serde(default)]
    pub network_id: Option<Text>,
    /// The server gets a floating IP if this key is there, with any value.
    #[serde(default, deserialize_with = "is_there")]
    #[schemars(with = "serde_json::Value")]
    pub floating_ip: bool,
    /// Name or id of the external network that the floating IP is from.
    #[serde(default)]
    pub floating_ip_pool: Option<Text>,
    /// Name of the user's domain.
    #[serde(default)]
    pub user_domain_name: Option<Text>,
    /// Name of the region, if the catalogue has several.
    #[serde(default)]
    pub region_name: Option<Text>,
    /// The server boots from a volume of this many GB; 0 means 50.
    #[serde(default)]
    pub volume_size: Option<u32>,
    /// The volume stays when the server goes.
    #[serde(default)]
    pub volume_persist: Option<bool>,
    /// A name for this cloud, in logs.
    #[serde(default)]
    #[allow(dead_code, reason = "for people")]
    pub name: Option<Text>,
    /// Accepted and not used.
    #[serde(default)]
    #[allow(dead_code, reason = "the existing tool takes it")]
    pub tenant_name: Option<Text>,
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl Section {
    /// Returns the URL of Keystone's version 3, without a slash at its end.
    pub(crate) fn identity(&self, url: &str) -> String {
        let url = url.trim_end_matches('/');
        let (parent, last) = url.rsplit_once('/').unwrap_or(("", url));
        match last.strip_prefix('v') {
            // Version 2 is gone from all clouds, and stands in old files.
            Some("2.0") => format!("{parent}/v3"),
            Some(version) if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) => url.to_owned(),
            _ => format!("{url}/v3"),
        }
    }

    pub(crate) fn wants_floating_ip(&self) -> bool {
        self.floating_ip || given(self.floating_ip_pool.as_ref()).is_some()
    }

    pub(crate) fn user_domain(&self) -> &str {
        given(self.user_domain_name.as_ref()).unwrap_or("Default")
    }

    pub(crate) fn region(&self) -> Option<&str> {
        given(self.region_name.as_ref())
    }
}

pub(crate) fn given(text: Option<&Text>) -> Option<&str> {
    text.and_then(Text::given)
}

/// A user with a password, or an application credential.
pub struct Credentials;

impl JsonSchema for Credentials {
    fn schema_name() -> Cow<'static, str> {
        "Credentials".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let public = |description: &str| json_schema!({"type": "string", "description": description, "x-public": true});
        let secret = |description: &str| json_schema!({"type": "string", "description": description});
        json_schema!({
            "type": "object",
            "description": "A user with a password, or an application credential.",
            "properties": {
                "username": public("The user."),
                "password": secret("The user's password."),
                "type": {"const": "application_credential", "x-public": true},
                "id": public("Id of the application credential."),
                "secret": secret("Secret of the application credential.")
            },
            "additionalProperties": false,
            "if": {"required": ["type"]},
            "then": {"required": ["id", "secret"]},
            "else": {"required": ["username", "password"]}
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn section(more: serde_json::Value) -> Section {
        let mut section = json!({"endpoint": "http://k", "image_id": "i", "flavor_name": 4, "project_id": "p"});
        section.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(section).unwrap()
    }

    #[test]
    fn the_version_of_keystone_may_be_left_out() {
        let section = section(json!({}));
        for (written, meant) in [
            ("https://k:5000", "https://k:5000/v3"),
            ("https://k:5000/", "https://k:5000/v3"),
            ("https://k/identity/v3", "https://k/identity/v3"),
            ("https://k/identity/v3//", "https://k/identity/v3"),
            ("https://k:5000/v2.0/", "https://k:5000/v3"),
            ("https://k/v", "https://k/v/v3"),
        ] {
            assert_eq!(section.identity(written), meant, "{written}");
        }
    }

    #[test]
    fn a_floating_ip_is_asked_for_by_its_key() {
        assert!(!section(json!({})).wants_floating_ip());
        assert!(!section(json!({"floating_ip_pool": ""})).wants_floating_ip());
        assert!(section(json!({"floating_ip_pool": "ext"})).wants_floating_ip());
        for value in [json!("yes"), json!(true), json!(null), json!("no")] {
            assert!(section(json!({"floating_ip": value})).wants_floating_ip(), "{value}");
        }
    }
}
