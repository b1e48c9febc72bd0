//! Section that the user writes.

use std::collections::BTreeMap;

use occopus_azure_arm::Subject;
use occopus_sdk::Text;
use schemars::JsonSchema;
use serde::Deserialize;

/// A virtual machine of Microsoft Azure.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{"required": ["password"]}, {"required": ["ssh_key_data"]}]))]
pub struct Section {
    /// URL of the management host: `https://management.azure.com`, or that of another cloud of Azure.
    pub endpoint: String,
    /// Resource group. It is made if it does not exist.
    pub resource_group: Text,
    /// Location, such as `westeurope`.
    pub location: Text,
    /// Size of the machine, such as `Standard_B1s`.
    pub vm_size: Text,
    /// Publisher of the image.
    pub publisher: Text,
    /// Offer of the image.
    pub offer: Text,
    /// SKU of the image.
    pub sku: Text,
    /// Version of the image, such as `latest`.
    pub version: Text,
    /// Name of the user that the machine gets.
    pub username: Text,
    /// The user's password.
    #[serde(default)]
    pub password: Option<Text>,
    /// The user's public SSH key.
    #[serde(default)]
    pub ssh_key_data: Option<Text>,
    /// The machine gets a public address, and a network security group, if this is true.
    #[serde(default)]
    pub public_ip_needed: Option<Text>,
    /// TCP ports that the network security group of a public machine lets in, beside 22 with `ssh_key_data`.
    #[serde(default)]
    pub open_ports: Option<Vec<u16>>,
    /// Name, or id, of an existing virtual network.
    #[serde(default)]
    pub vnet_name: Option<Text>,
    /// Name of an existing subnet of `vnet_name`.
    #[serde(default)]
    pub subnet_name: Option<Text>,
    /// Name of an existing network interface in the resource group. It stays when the machine goes.
    #[serde(default)]
    pub nic_name: Option<Text>,
    /// The machine's name for itself. Each instance of a node gets the same: one of its own by default.
    #[serde(default)]
    pub server_name: Option<Text>,
    /// Tags for the machine, beside those by which Occopus finds it.
    #[serde(default)]
    pub tags: Option<BTreeMap<String, Text>>,
    /// Availability zones: one of `1`, `2`, `3`.
    #[serde(default)]
    pub zones: Option<Vec<Text>>,
    /// `Spot` for a machine that Azure may take away, `Regular` by default.
    #[serde(default)]
    pub priority: Option<Priority>,
    /// Fate of a Spot machine that Azure takes away.
    #[serde(default)]
    pub eviction_policy: Option<EvictionPolicy>,
    /// The most that a Spot machine may cost in an hour, in dollars; as much as a regular one by default.
    #[serde(default)]
    pub max_price: Option<f64>,
    /// Managed identity: `system`, or ids of identities.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// Plan of an image that is sold on the marketplace.
    #[serde(default)]
    pub plan: Option<Plan>,
    /// The resource group is deleted with the last machine if Occopus made it and it is empty.
    #[serde(default)]
    pub delete_resource_group: Option<bool>,
    /// A name for this cloud, in logs.
    #[serde(default)]
    #[allow(dead_code, reason = "for people")]
    pub name: Option<Text>,
    /// Accepted and not used: the contextualisation makes the data.
    #[serde(default)]
    #[allow(dead_code, reason = "the existing tool takes it")]
    pub customdata: Option<serde_json::Value>,
}

/// Priority of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Priority {
    Regular,
    Spot,
}

/// Fate of a Spot machine that Azure takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
#[allow(missing_docs, reason = "the names say it")]
pub enum EvictionPolicy {
    Deallocate,
    Delete,
}

/// Managed identity of a machine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(untagged)]
pub enum Identity {
    /// `system`, or one id.
    One(String),
    /// Ids of identities, and `system`.
    Several(Vec<String>),
}

/// Plan of an image on the marketplace.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the plan, usually the image's SKU.
    pub name: Text,
    /// Product, usually the image's offer.
    pub product: Text,
    /// Publisher.
    pub publisher: Text,
}

impl Section {
    /// Returns the location as ids have it: `West Europe` is `westeurope`.
    pub(crate) fn place(&self) -> String {
        self.location.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_ascii_lowercase()
    }

    pub(crate) fn group(&self) -> &str {
        self.resource_group.trim()
    }

    pub(crate) fn wants_public_address(&self) -> bool {
        given(self.public_ip_needed.as_ref()).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// Returns true if the driver makes the network.
    pub(crate) fn has_own_network(&self) -> bool {
        given(self.vnet_name.as_ref()).is_none() && given(self.nic_name.as_ref()).is_none()
    }

    pub(crate) fn is_windows(&self) -> bool {
        self.publisher.trim().to_ascii_lowercase().starts_with("microsoftwindows")
    }

    pub(crate) fn is_spot(&self) -> bool {
        self.priority == Some(Priority::Spot)
    }

    /// Returns the TCP ports that a public machine lets in, sorted.
    pub(crate) fn public_ports(&self) -> Vec<u16> {
        let ssh = given(self.ssh_key_data.as_ref()).map(|_| 22);
        let mut ports: Vec<u16> = self.open_ports.iter().flatten().copied().chain(ssh).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

pub(crate) fn given(text: Option<&Text>) -> Option<&str> {
    text.and_then(Text::given)
}

/// Returns the key that a refusal is about.
pub(crate) fn pointer(subject: Subject) -> &'static str {
    match subject {
        Subject::Endpoint => "/endpoint",
        Subject::Group => "/resource_group",
        Subject::Location => "/location",
        Subject::Size => "/vm_size",
        Subject::Image => "/sku",
        Subject::Plan => "/plan",
        Subject::ComputerName => "/server_name",
        Subject::Username => "/username",
        Subject::Password => "/password",
        Subject::SshKey => "/ssh_key_data",
        Subject::UserData => "#user-data",
        Subject::Network => "/vnet_name",
        Subject::Subnet => "/subnet_name",
        Subject::Card => "/nic_name",
        Subject::Zones => "/zones",
        Subject::Priority => "/priority",
        Subject::Identity => "/identity",
        Subject::Tags => "/tags",
        Subject::Ports => "/open_ports",
        _ => "",
    }
}
