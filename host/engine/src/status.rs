//! What is known of an infrastructure.

use std::{fmt, iter};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::NodeFailure;
use crate::ports::{Address, OwnedMachine};

/// Where an infrastructure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InfrastructureState {
    /// Nodes are being made, or were when the process died.
    Building,
    /// Every node has its instances, and they were ready when last looked at.
    Ready,
    /// Something is missing or failing.
    Degraded,
    /// A node fails again and again: it is tried with growing pauses.
    Failing,
    /// Nothing is known to be wrong, but some machines could not be observed.
    Unreachable,
    /// So much looks dead at once that nothing is replaced.
    Held,
    /// Nodes are being removed, or could not be.
    Destroying,
}

impl InfrastructureState {
    /// Every state, in the order of an infrastructure's life.
    pub fn all() -> impl Iterator<Item = Self> {
        iter::successors(Some(Self::Building), |state| state.next())
    }

    /// A state that is missing here does not compile.
    fn next(self) -> Option<Self> {
        Some(match self {
            Self::Building => Self::Ready,
            Self::Ready => Self::Degraded,
            Self::Degraded => Self::Failing,
            Self::Failing => Self::Unreachable,
            Self::Unreachable => Self::Held,
            Self::Held => Self::Destroying,
            Self::Destroying => return None,
        })
    }
}

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Its machine is being asked for; it may or may not exist.
    Creating,
    /// The cloud's answer was lost; the machine may or may not exist.
    UnknownOutcome,
    /// The machine exists and does not run yet.
    Pending,
    /// The machine runs; its checks have not passed yet.
    Running,
    /// Its checks have passed.
    Ready,
    /// It was ready, and its checks fail now.
    Unhealthy,
    /// Its machine exists and has stopped running.
    Stopped,
    /// Its machine does not exist any more, as its cloud says.
    Vanished,
    /// It can't become ready.
    Failed,
    /// Its machine is being removed.
    Destroying,
}

/// An infrastructure, in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// Its id.
    pub id: String,
    /// `infra_name`.
    pub name: String,
    /// Where it stands.
    pub state: InfrastructureState,
    /// Why, when there is more to say.
    pub message: Option<String>,
    /// It is not to be maintained until it is resumed.
    pub suspended: bool,
    /// Who works on it now.
    pub owner: Option<Owner>,
    /// When it was first built.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created: Timestamp,
    /// In the order of the description; nodes that are no longer described come last.
    pub nodes: Vec<NodeStatus>,
}

/// A node of the description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeStatus {
    /// `name`.
    pub name: String,
    /// `type`; empty when it is no longer described.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Names of the nodes it depends on.
    pub depends_on: Vec<String>,
    /// How many instances there should be.
    pub target: u32,
    /// The least.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// Its instances, oldest first.
    pub instances: Vec<InstanceStatus>,
    /// How often it has failed to stay alive, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<FailingNode>,
}

/// A node that fails again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailingNode {
    /// How often in a row it could not be made, or died soon after it was ready.
    pub failures: u32,
    /// When it is tried again.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub next_attempt: Timestamp,
    /// Why it failed last.
    pub message: String,
}

impl FailingNode {
    /// Says how often: `once`, `3 times in a row`.
    pub fn times(&self) -> String {
        describe_failures(self.failures)
    }
}

pub(crate) fn describe_failures(failures: u32) -> String {
    if failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") }
}

/// One running copy of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceStatus {
    /// UUID.
    pub id: String,
    /// Where it stands.
    pub state: InstanceState,
    /// The driver's keyword.
    pub driver: String,
    /// The first one is the node's address.
    pub addresses: Vec<Address>,
    /// What the driver tells of the machine.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<String>>))]
    pub attributes: Vec<(String, String)>,
    /// Why it is failed, or what the cloud said last.
    pub message: Option<String>,
    /// What the last check that did not pass said.
    pub health: Option<String>,
    /// Since when its checks fail.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub failing_since: Option<Timestamp>,
    /// Why it could not be observed the last time; its state is then that of the time before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unobserved: Option<String>,
    /// What has changed since it was made: "type", "variables", "definition".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Addresses that it was told of and that no longer exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<String>,
    /// When it was asked for.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created: Timestamp,
    /// Since when it is in this state.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// Seconds from the request to the running machine.
    pub seconds_to_running: Option<f64>,
    /// Seconds from the request until it was ready.
    pub seconds_to_ready: Option<f64>,
}

/// Who works on an infrastructure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Owner {
    /// Host and process.
    pub holder: String,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
}

/// An infrastructure, in a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Summary {
    /// Its id.
    pub id: String,
    /// `infra_name`.
    pub name: String,
    /// Where it stands.
    pub state: InfrastructureState,
    /// When it was first built.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created: Timestamp,
    /// Who works on it now.
    pub owner: Option<Owner>,
    /// It is not to be maintained until it is resumed.
    #[serde(default)]
    pub suspended: bool,
}

/// What became of a `destroy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DestroyReport {
    /// The infrastructure's id.
    pub id: String,
    /// How many instances are gone.
    pub removed: usize,
    /// What could not be removed. When empty, nothing is left of the infrastructure.
    pub left: Vec<Leftover>,
    /// Machines with the label of the infrastructure that no record speaks of, as their clouds list them. They were not
    /// touched: they may belong to another store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strange: Vec<Orphan>,
    /// Why it could not be confirmed by a list that nothing is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<String>,
}

/// Something that was not removed. Its record stays, and `destroy` tries again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leftover {
    /// The node's name.
    pub node: String,
    /// UUID of the instance; the machine carries it as a label.
    pub instance: String,
    /// The driver's keyword.
    pub driver: String,
    /// Where it stands.
    pub state: InstanceState,
    /// The driver's own reference, when it is known.
    pub handle: Option<String>,
    /// Why it was not removed.
    pub message: String,
}

impl Status {
    /// Returns whether every node has as many ready instances as it should, and nothing else is left over.
    pub fn is_ready(&self) -> bool {
        self.state == InfrastructureState::Ready
    }
}

impl fmt::Display for InfrastructureState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
            Self::Unreachable => "unreachable",
            Self::Held => "held",
            Self::Destroying => "destroying",
        })
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::UnknownOutcome => "unknown-outcome",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
            Self::Stopped => "stopped",
            Self::Vanished => "vanished",
            Self::Failed => "failed",
            Self::Destroying => "destroying",
        })
    }
}

impl Orphan {
    /// As a driver lists it.
    pub(crate) fn from_listed(driver: &str, machine: OwnedMachine) -> Self {
        Self {
            instance: machine.instance_id,
            driver: driver.to_owned(),
            handle: machine.observed.handle.data,
            addresses: machine.observed.addresses,
            removed: false,
            message: None,
        }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) on {}: {}", self.node, self.instance, self.driver, self.message)
    }
}

/// What a new instance of a node would get to know.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The node's name.
    pub node: String,
    /// The place of the implementation in the list of its type.
    pub implementation: usize,
    /// Where the implementation stands: `FILE:LINE:COLUMN`; empty when unknown.
    pub origin: String,
    /// The `resource` section, rendered if its contextualiser renders it.
    pub resource: Value,
    /// For the driver: an object.
    pub attributes: Value,
    /// For the first boot.
    pub user_data: Option<String>,
    /// What is doubtful in what the user wrote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<PreviewWarning>,
    /// What its driver would refuse. It can be looked at all the same.
    #[serde(skip)]
    pub refused: Option<NodeFailure>,
}

/// Something that the user wrote and that probably does not do what they want.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewWarning {
    /// Stable code for programs, such as `cloudinit.ignored`.
    pub code: String,
    /// One sentence. `line N: ` before it names a line of the text at the place.
    pub message: String,
    /// Where the user wrote it: `FILE:LINE:COLUMN`; none when unknown.
    pub location: Option<String>,
}

/// A machine that carries our mark and has no record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Orphan {
    /// UUID of the instance that it carries.
    pub instance: String,
    /// The driver's keyword.
    pub driver: String,
    /// The driver's own reference.
    pub handle: String,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Whether it was removed.
    pub removed: bool,
    /// Why it was not, when it was to be.
    pub message: Option<String>,
}
