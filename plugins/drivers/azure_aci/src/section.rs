//! Section and credentials that the user writes.

use std::collections::BTreeMap;

use occopus_sdk::Text;
use schemars::JsonSchema;
use serde::Deserialize;

/// Beginning of the names of credentials that are environment variables of the container.
pub(crate) const SECRET_VARIABLE_PREFIX: &str = "env_";

/// A container group of Azure Container Instances, with one container.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// URL of Azure's management API: `https://management.azure.com`, or that of another cloud of Azure.
    pub endpoint: Text,
    /// Name of the resource group. Made if it does not exist.
    pub resource_group: Text,
    /// Region, such as `westeurope`.
    pub location: Text,
    /// Number of processor cores, such as 1 or 0.5.
    pub cpu_cores: Text,
    /// Memory in GB, such as 1.5.
    pub memory: Text,
    /// Image, such as `nginx:alpine` or `myregistry.azurecr.io/team/app:1`.
    pub image: Text,
    /// Operating system of the image: `linux` or `windows`.
    pub os_type: Text,
    /// Kind of address: `public` (with a DNS name) or `private` (in a virtual network).
    pub network_type: Text,
    /// Kind of GPU: `V100`. Azure has retired `K80` and `P100`.
    #[serde(default)]
    pub gpu_type: Option<Text>,
    /// Number of GPUs; 1 by default.
    #[serde(default)]
    pub gpu_count: Option<Text>,
    /// Ports on which the container listens: `80`, `53/udp`. A group without ports has no address.
    #[serde(default)]
    pub ports: Option<Vec<Text>>,
    /// Virtual network for a private group. By default one is made for the infrastructure.
    #[serde(default)]
    pub vnet_name: Option<Text>,
    /// Subnet in `vnet_name`, delegated to Azure Container Instances. By default one is made there.
    #[serde(default)]
    pub subnet_name: Option<Text>,
    /// Id of a delegated subnet, also one in another resource group, in the place of `vnet_name` and `subnet_name`.
    #[serde(default)]
    pub subnet_id: Option<Text>,
    /// Restart of a container that ended: `Always` (the default), `OnFailure` or `Never`.
    #[serde(default)]
    pub restart_policy: Option<Text>,
    /// `Regular` (the default) or `Spot`: cheaper, and evicted when Azure needs the place. Spot groups have no address.
    #[serde(default)]
    pub priority: Option<Text>,
    /// Availability zone: a list of one.
    #[serde(default)]
    pub zones: Option<Vec<Text>>,
    /// Server of a private registry, such as `myregistry.azurecr.io`. Azure logs in there with `registry_username` and
    /// `registry_password` of the credentials, or with `registry_identity`.
    #[serde(default)]
    pub registry_server: Option<Text>,
    /// Id of a managed identity that may pull from `registry_server`.
    #[serde(default)]
    pub registry_identity: Option<Text>,
    /// Names of environment variables that Azure never shows again. The value of `NAME` is that of the contextualisation
    /// section's `env`, or `env_NAME` of the credentials.
    #[serde(default)]
    pub secure_env: Option<Vec<Text>>,
    /// Removes the resource group with the last container group, if Occopus made it for this infrastructure and nothing else is
    /// in it.
    #[serde(default)]
    pub delete_resource_group: Option<bool>,
    /// Tags for the group, beside those by which Occopus finds it.
    #[serde(default)]
    pub tags: Option<BTreeMap<String, Text>>,
}

impl Section {
    /// Returns true if the network of its groups may be made by Occopus.
    pub(crate) fn may_have_own_network(&self) -> bool {
        let is_private = self.network_type.trim().eq_ignore_ascii_case("private");
        is_private && given(self.vnet_name.as_ref()).is_none() && given(self.subnet_id.as_ref()).is_none()
    }
}

/// Returns the text without spaces around it, if there is any.
pub(crate) fn given(text: Option<&Text>) -> Option<&str> {
    text.and_then(Text::given)
}
