//! The compiled form of a description, which the engine works on and the store keeps. Everything is resolved and
//! checked; it contains no spans, no contents of files and no secrets.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A deployable graph of nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Infrastructure {
    /// `infra_name`.
    pub name: String,
    /// `user_id`, as the user wrote it; null when absent.
    #[serde(default)]
    pub user_id: Value,
    /// The infrastructure's own `variables`; an object.
    pub variables: Value,
    /// Nodes in the order of the description. Names are unique.
    pub nodes: Vec<Node>,
    /// The definitions of all types that `nodes` name, by type.
    pub definitions: IndexMap<String, Vec<Implementation>>,
    /// Limits of healing.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// Receivers of its events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<Webhook>,
}

/// Maximum numbers of instances, whatever a description asks for: plans and memory grow with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceLimits {
    /// Instances of one node.
    pub per_node: u32,
    /// Instances of all nodes of an infrastructure together.
    pub per_infrastructure: u32,
}

impl Default for InstanceLimits {
    fn default() -> Self {
        Self { per_node: 10_000, per_infrastructure: 20_000 }
    }
}

/// `maintenance`: what differs from the defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Percentage of all instances (0 to 100). If more than this, and more than one, seem dead at once, nothing is
    /// replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_above_percent: Option<f64>,
    /// Maximum percentage of all instances (0 to 100), but at least one, that is replaced at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_at_once_percent: Option<f64>,
    /// Minutes after which a hold ends for instances that their cloud reports dead in every observation: they are
    /// replaced. 0: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_minutes: Option<f64>,
}

/// An item of `webhooks`: gets an HTTP POST for each stored event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Name by which its credentials are selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `http://` or `https://`; otherwise it is among the credentials, as its secret is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Names of the events that it receives; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// A node of the description: a template of one or more instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// `name`.
    pub name: String,
    /// `type`: a key of [`Infrastructure::definitions`].
    #[serde(rename = "type")]
    pub node_type: String,
    /// Range of the number of instances.
    pub scaling: Scaling,
    /// The user's `scaling` section, for templates; null when absent.
    #[serde(default)]
    pub scaling_section: Value,
    /// Keys and values that the `resource` section of an implementation must have; often empty.
    pub filter: Map<String, Value>,
    /// The infrastructure's variables with the node's own merged over them; an object.
    pub variables: Value,
    /// Names of the nodes that must be ready before this one starts, in the order of `nodes`, each once.
    pub depends_on: Vec<String>,
    /// `mappings` of the dependencies: by the name of the dependee (inbound) and of the dependent (outbound).
    #[serde(default)]
    pub mappings: Mappings,
}

/// Range of the number of instances of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    /// Minimum, 1 or more.
    pub min: u32,
    /// Maximum, `min` or more.
    pub max: u32,
}

/// Attribute mappings of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Mappings {
    /// Mappings from nodes that this one depends on, by their names.
    pub inbound: IndexMap<String, Vec<Mapping>>,
    /// Mappings to nodes that depend on this one, by their names.
    pub outbound: IndexMap<String, Vec<Mapping>>,
}

/// An attribute that is passed along a dependency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// Source and destination attribute; dotted names are allowed.
    pub attributes: (String, String),
    /// Set when the source must have it before the destination starts.
    #[serde(default)]
    pub synch: bool,
    /// Further keys that the user wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// An implementation of a node type: an item of a `node_def:TYPE` list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Implementation {
    /// The `resource` section with `type`, templates unrendered.
    pub resource: Value,
    /// The `contextualisation` section with `type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contextualisation: Option<Value>,
    /// The `config_management` section with `type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_management: Option<Value>,
    /// The `health_check` section; the default (ping) when absent.
    pub health_check: HealthCheck,
    /// Absolute path of the directory of the file that defines it, for `{{definition_dir}}`; empty when it has none.
    #[serde(default)]
    pub definition_dir: String,
    /// Location, as `FILE:LINE:COLUMN`, for messages; empty when unknown.
    #[serde(default)]
    pub origin: String,
    /// Location of each string, key and section of it, by JSON pointer, as `FILE:LINE:COLUMN`. A fault during a
    /// deployment can point at the user's line by it.
    #[serde(default)]
    pub lines: IndexMap<String, String>,
}

/// Conditions under which an instance is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Checkers by keyword (`ping`, `ports`, `urls`, ...), each with what the user wrote under it, in the order in
    /// which they run. A check that is switched off (`ping: false`) is not listed.
    pub checks: IndexMap<String, Value>,
    /// Seconds of continuous failure after which the instance has failed. Default 600.
    pub timeout: u64,
    /// Seconds for which a machine without health checks must have been running before its instance is ready. Default
    /// 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<f64>,
}

/// Returns the keyword of a section: its `type`, by which the plugin is found.
pub fn section_type(section: &Value) -> Option<&str> {
    section.get("type").and_then(Value::as_str)
}

impl Infrastructure {
    /// Returns the node with this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Returns the implementations that a node may use, with their positions: those of its type whose `resource` has
    /// every pair of its filter.
    pub fn candidates<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = (usize, &'a Implementation)> {
        self.definitions.get(&node.node_type).into_iter().flatten().enumerate().filter(|(_, implementation)| {
            node.filter.iter().all(|(key, value)| implementation.resource.get(key) == Some(value))
        })
    }
}
