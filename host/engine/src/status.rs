//! Views of infrastructures, instances and removals, as callers, the REST interface and JSON output get them.
//!
//! Only types and their text: they are computed in `engine` and `derived_state`.

use std::{fmt, iter};

use jiff::Timestamp;
use serde::de::{IntoDeserializer as _, value};
use serde::{Deserialize, Deserializer, Serialize};

use crate::id::InfrastructureId;
use crate::ports::{Address, LabelledMachine};

/// State of an infrastructure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InfrastructureState {
    /// Nodes are being created, or were when the process died.
    Building,
    /// Every node has its instances, and they were ready when they were last observed.
    Ready,
    /// An instance is missing or failing.
    Degraded,
    /// A node fails again and again: it is retried with growing pauses.
    Failing,
    /// All instances are ready as far as is known, but some machines could not be observed.
    Unreachable,
    /// Healing is on hold, because too many instances look dead at once.
    Held,
    /// Nodes are being removed, or could not be.
    Destroying,
}

impl InfrastructureState {
    /// Returns every state, in the order of an infrastructure's life.
    pub fn all() -> impl Iterator<Item = Self> {
        iter::successors(Some(Self::Building), |state| state.next())
    }

    /// Returns whether an infrastructure may go from this state to another one. A removal ends, or what is left is built
    /// again; observations decide about the other states. `docs/lifecycle.md` has the diagram, and a test compares the two.
    pub fn can_become(self, next: Self) -> bool {
        self != next && (self != Self::Destroying || next == Self::Building)
    }

    /// Returns the state after this one in [`Self::all`]. A state that is missing here does not compile.
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

/// State of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// The machine is being requested; it may or may not exist.
    Creating,
    /// The cloud's answer was lost; the machine may or may not exist.
    UnknownOutcome,
    /// The machine exists and does not run yet.
    Pending,
    /// The machine runs; the instance's health checks have not passed yet.
    Running,
    /// All health checks have passed.
    Ready,
    /// The instance was ready, and its health checks fail now.
    Unhealthy,
    /// The machine exists and has stopped running.
    Stopped,
    /// The machine does not exist any more, according to its cloud.
    Vanished,
    /// The instance can't become ready.
    Failed,
    /// The machine is being removed.
    Destroying,
}

/// Full status of an infrastructure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// The infrastructure's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: InfrastructureId,
    /// `infra_name`.
    pub name: String,
    /// Current state.
    pub state: InfrastructureState,
    /// Cause of the state, if there is more to say.
    pub message: Option<String>,
    /// Set while maintenance is suspended.
    pub suspended: bool,
    /// Process that holds the lease now.
    pub owner: Option<Owner>,
    /// Time of the first build.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created: Timestamp,
    /// Nodes in the order of the description; nodes that are no longer described come last.
    pub nodes: Vec<NodeStatus>,
}

/// Status of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeStatus {
    /// `name`.
    pub name: String,
    /// `type`; empty when it is no longer described.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Names of the nodes that this one depends on.
    pub depends_on: Vec<String>,
    /// Number of instances that the node is to have.
    pub target: u32,
    /// Lowest number of instances that the description allows.
    pub min: u32,
    /// Highest number of instances that the description allows.
    pub max: u32,
    /// Instances of the node, oldest first.
    pub instances: Vec<InstanceStatus>,
    /// Present while the node fails again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<FailingNode>,
}

/// A node that fails again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailingNode {
    /// Number of times in a row that an instance could not be created, or died soon after it was ready.
    pub failures: u32,
    /// Time of the next attempt.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub next_attempt: Timestamp,
    /// Reason of the last failure.
    pub message: String,
}

impl FailingNode {
    /// Returns the number of failures in words: `once`, `3 times in a row`.
    pub fn times(&self) -> String {
        describe_failures(self.failures)
    }
}

pub(crate) fn describe_failures(failures: u32) -> String {
    if failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") }
}

/// Status of an instance, which is one running copy of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceStatus {
    /// UUID of the instance.
    pub id: String,
    /// Current state.
    pub state: InstanceState,
    /// The driver's keyword.
    pub driver: String,
    /// Addresses of the machine; the first one is the node's address.
    pub addresses: Vec<Address>,
    /// Attributes of the machine, as its driver reports them.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<String>>))]
    pub attributes: Vec<(String, String)>,
    /// Reason of the failure, or the last message of the cloud.
    pub message: Option<String>,
    /// Message of the last health check that did not pass.
    pub health: Option<String>,
    /// Time since which the health checks fail.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub failing_since: Option<Timestamp>,
    /// Reason why the instance could not be observed the last time; `state` is then that of the observation before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unobserved: Option<String>,
    /// Parts that have changed since the instance was created: "type", "variables", "definition".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Addresses that the instance refers to and that no longer exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<String>,
    /// Time of the request for the instance.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created: Timestamp,
    /// Time since which the instance is in this state.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// Seconds from the request to the running machine.
    pub seconds_to_running: Option<f64>,
    /// Seconds from the request until the instance was ready.
    pub seconds_to_ready: Option<f64>,
}

/// Process that holds the lease on an infrastructure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Owner {
    /// Host and process id, in words.
    pub holder: String,
    /// Time since which it holds the lease.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
}

/// Entry of an infrastructure in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Summary {
    /// The infrastructure's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: InfrastructureId,
    /// `infra_name`.
    pub name: String,
    /// Current state.
    pub state: InfrastructureState,
    /// Time of the first build.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created: Timestamp,
    /// Process that holds the lease now.
    pub owner: Option<Owner>,
    /// Set while maintenance is suspended.
    #[serde(default)]
    pub suspended: bool,
}

/// Result of a `destroy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DestroyReport {
    /// The infrastructure's id.
    pub id: InfrastructureId,
    /// Number of instances that are gone.
    pub removed: usize,
    /// Instances that could not be removed. If empty, nothing is left of the infrastructure.
    pub left: Vec<Leftover>,
    /// Machines with the ownership label of the infrastructure and without a record, as their clouds list them. They
    /// were not touched: they may belong to another store.
    #[serde(rename = "strange", default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<Orphan>,
    /// Reason why no list of machines could confirm that nothing is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<String>,
}

/// An instance that was not removed. Its record stays, and `destroy` tries again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leftover {
    /// The node's name.
    pub node: String,
    /// UUID of the instance; the machine carries it in its ownership label.
    pub instance: String,
    /// The driver's keyword.
    pub driver: String,
    /// Current state.
    #[serde(deserialize_with = "state_of_any_version")]
    pub state: InstanceState,
    /// The driver's own reference, if known.
    pub handle: Option<String>,
    /// Reason why the instance was not removed.
    pub message: String,
}

/// Reads a state. Of one that this version does not know, no more is known than of an instance whose creation was
/// interrupted: its machine may exist.
fn state_of_any_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<InstanceState, D::Error> {
    let word = String::deserialize(deserializer)?;
    let known: Result<_, value::Error> = InstanceState::deserialize(word.as_str().into_deserializer());
    Ok(known.unwrap_or(InstanceState::UnknownOutcome))
}

impl Status {
    /// Returns whether every node has as many ready instances as its target, and no others.
    pub fn is_ready(&self) -> bool {
        self.state == InfrastructureState::Ready
    }
}

impl InstanceState {
    /// Every state, in the order of an instance's life.
    pub fn all() -> impl Iterator<Item = Self> {
        iter::successors(Some(Self::Creating), |state| state.next())
    }

    /// A state that is missing here does not compile.
    fn next(self) -> Option<Self> {
        Some(match self {
            Self::Creating => Self::UnknownOutcome,
            Self::UnknownOutcome => Self::Pending,
            Self::Pending => Self::Running,
            Self::Running => Self::Ready,
            Self::Ready => Self::Unhealthy,
            Self::Unhealthy => Self::Stopped,
            Self::Stopped => Self::Vanished,
            Self::Vanished => Self::Failed,
            Self::Failed => Self::Destroying,
            Self::Destroying => return None,
        })
    }

    /// Returns whether the record of an instance may go from this state to another one. `docs/lifecycle.md` has the
    /// diagram, and a test compares the two.
    pub fn can_become(self, next: Self) -> bool {
        use InstanceState::{
            Creating, Destroying, Failed, Pending, Ready, Running, Stopped, Unhealthy, UnknownOutcome, Vanished,
        };
        match self {
            Creating => matches!(next, UnknownOutcome | Pending | Running | Failed | Destroying),
            UnknownOutcome => matches!(next, Pending | Running | Failed | Destroying),
            Pending => matches!(next, Running | Failed | Destroying),
            Running => matches!(next, Pending | Ready | Failed | Destroying),
            Ready => matches!(next, Unhealthy | Stopped | Vanished | Failed | Destroying),
            Unhealthy => matches!(next, Ready | Stopped | Vanished | Failed | Destroying),
            Stopped => matches!(next, Unhealthy | Vanished | Failed | Destroying),
            Vanished => matches!(next, Unhealthy | Stopped | Failed | Destroying),
            Failed => matches!(next, Unhealthy | Stopped | Vanished | Destroying),
            Destroying => false,
        }
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
    /// Creates an orphan from a machine in a driver's list.
    pub(crate) fn from_listed(driver: &str, machine: LabelledMachine) -> Self {
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

/// A machine that carries our ownership label and has no record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Orphan {
    /// UUID of the instance, from the ownership label.
    pub instance: String,
    /// The driver's keyword.
    pub driver: String,
    /// The driver's own reference.
    pub handle: String,
    /// Addresses of the machine.
    pub addresses: Vec<Address>,
    /// Set if the machine was removed.
    pub removed: bool,
    /// Reason why the machine could not be removed, if that was requested.
    pub message: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{InfrastructureState, InstanceState};

    /// Returns the arrows of one section of `docs/lifecycle.md`, without those of its beginning and its end.
    fn arrows(heading: &str) -> BTreeSet<(String, String)> {
        let document = include_str!("../../../docs/lifecycle.md");
        let section = document.split("\n## ").find(|section| section.starts_with(heading)).expect("a section");
        let arrows = section.lines().filter_map(|line| line.trim().split_once(" --> "));
        let arrows = arrows.filter(|(from, to)| *from != "[*]" && !to.starts_with("[*]"));
        arrows.map(|(from, to)| (from.to_owned(), to.split(':').next().unwrap_or(to).to_owned())).collect()
    }

    fn name(state: impl ToString) -> String {
        state.to_string().replace('-', "_")
    }

    #[test]
    fn the_diagrams_of_the_documents_have_every_transition() {
        let instances = InstanceState::all().flat_map(|from| {
            InstanceState::all().filter(move |to| from.can_become(*to)).map(move |to| (name(from), name(to)))
        });
        assert_eq!(instances.collect::<BTreeSet<_>>(), arrows("An instance"));
        let infrastructures = InfrastructureState::all().flat_map(|from| {
            InfrastructureState::all().filter(move |to| from.can_become(*to)).map(move |to| (name(from), name(to)))
        });
        assert_eq!(infrastructures.collect::<BTreeSet<_>>(), arrows("An infrastructure"));
    }

    #[test]
    fn every_state_leads_to_the_removal() {
        assert_eq!(InstanceState::all().count(), 10);
        assert!(
            InstanceState::all()
                .all(|state| (state == InstanceState::Destroying) != state.can_become(InstanceState::Destroying))
        );
    }
}
