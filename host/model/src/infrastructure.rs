//! The compiled form: what the engine works on, and what the store keeps. Everything is resolved and checked; there are
//! no spans, no files and no secrets in it.

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
    /// In the order of the description. Names are unique.
    pub nodes: Vec<Node>,
    /// The definitions of all types that `nodes` name, by type.
    pub definitions: IndexMap<String, Vec<Implementation>>,
    /// How it is kept alive.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// Who is told of what happens to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<Webhook>,
}

/// Most instances that an infrastructure may have, whatever a description asks for: what is planned and kept in memory grows with
/// them.
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
    /// When more than this part of all instances (0 to 100), but more than one, looks dead at once, nothing is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_above_percent: Option<f64>,
    /// At most this part of all instances (0 to 100), but at least one, is replaced at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_at_once_percent: Option<f64>,
    /// Minutes after which instances that their cloud calls dead in every observation are replaced although so many are dead
    /// that it was held; 0: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_minutes: Option<f64>,
}

/// An item of `webhooks`: gets an HTTP POST for each stored event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// By which its credentials are found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `http://` or `https://`; otherwise it is among the credentials, as its secret is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Names of the events to be told of; all when empty.
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
    /// How many instances.
    pub scaling: Scaling,
    /// What the user wrote under `scaling`, for templates; null when absent.
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

/// How many instances of a node there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaling {
    /// At least 1.
    pub min: u32,
    /// At least `min`.
    pub max: u32,
}

/// Attribute mappings of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Mappings {
    /// From nodes that this one depends on, by their names.
    pub inbound: IndexMap<String, Vec<Mapping>>,
    /// To nodes that depend on this one, by their names.
    pub outbound: IndexMap<String, Vec<Mapping>>,
}

/// One attribute that goes along a dependency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    /// Source and destination attribute; dotted names are allowed.
    pub attributes: (String, String),
    /// The source must have it before the destination starts.
    #[serde(default)]
    pub synch: bool,
    /// Further keys that the user wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One way to make a node: an item of a `node_def:TYPE` list.
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
    /// Where it stands, as `FILE:LINE:COLUMN`, for messages; empty when unknown.
    #[serde(default)]
    pub origin: String,
    /// Where each string, key and section of it stands, by JSON pointer, as `FILE:LINE:COLUMN`. Lets a fault that comes up
    /// in the middle of a deployment point at the user's line.
    #[serde(default)]
    pub lines: IndexMap<String, String>,
}

/// When an instance counts as ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Checkers by keyword (`ping`, `ports`, `urls`, ...), each with what the user wrote under it, in the order in which
    /// they run. A check that is switched off (`ping: false`) is not listed.
    pub checks: IndexMap<String, Value>,
    /// Seconds of continuous failure after which the instance has failed. Default 600.
    pub timeout: u64,
    /// Seconds for which a machine that nothing checks must have been running before its instance is ready. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<f64>,
}

impl Infrastructure {
    /// The node with this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The implementations that a node may use: those of its type whose `resource` has every pair of its filter.
    pub fn candidates<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = (usize, &'a Implementation)> {
        self.definitions.get(&node.node_type).into_iter().flatten().enumerate().filter(|(_, implementation)| {
            node.filter.iter().all(|(key, value)| implementation.resource.get(key) == Some(value))
        })
    }
}
