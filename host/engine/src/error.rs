//! Errors of the engine, and failures of nodes.

use std::fmt;

use jiff::Timestamp;
use occopus_model::Implementation;
use serde::Serialize;

use crate::id::InvalidInfrastructureId;
use crate::ports::{Detail, Fault, StoreError};
use crate::state::RecordError;
use crate::status::{Leftover, Owner};

/// The error of a request to the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store has no infrastructure with this id.
    #[error("there is no infrastructure with the id {id}")]
    UnknownInfrastructure {
        /// Id as it was given.
        id: String,
    },
    /// The infrastructure has no such node.
    #[error("infrastructure {id} has no node {node}; it has {}", known.join(", "))]
    UnknownNode {
        /// Id of the infrastructure.
        id: String,
        /// Name of the node as it was given.
        node: String,
        /// Names of the existing nodes.
        known: Vec<String>,
    },
    /// The node has no such instance.
    #[error("node {node} has no instance with the id or address {instance}")]
    UnknownInstance {
        /// Name of the node.
        node: String,
        /// Id or address as it was given.
        instance: String,
    },
    /// The description does not allow this number of instances.
    #[error("node {node} can't have {wanted} instances: its description allows {min} to {max}")]
    Limits {
        /// Name of the node.
        node: String,
        /// Requested number of instances, including pending requests.
        wanted: i64,
        /// Smallest number that the description allows.
        min: u32,
        /// Largest number that the description allows.
        max: u32,
    },
    /// The number of instances exceeds the limit of this installation, whatever is described.
    #[error("{what} would have {wanted} instances; {most} are allowed")]
    TooMany {
        /// `node NAME`, or `the infrastructure`.
        what: String,
        /// Resulting number of instances.
        wanted: u64,
        /// Largest number that is allowed.
        most: u32,
    },
    /// The infrastructure is being destroyed.
    #[error("infrastructure {id} is being destroyed")]
    Destroying {
        /// Id of the infrastructure.
        id: String,
    },
    /// The id is not valid.
    #[error(transparent)]
    InvalidId {
        /// Id as it was given, and the rule.
        #[from]
        source: InvalidInfrastructureId,
    },
    /// Another process owns the infrastructure.
    #[error("infrastructure {id} is owned by {holder} since {since:.0}")]
    Owned {
        /// Id of the infrastructure.
        id: String,
        /// Host and process of the owner.
        holder: String,
        /// Time since when it is owned.
        since: Timestamp,
    },
    /// The lease expired or another process acquired it, so this one stopped at once.
    #[error(
        "the lease on infrastructure {id} was lost: it expired (was this machine suspended?). The process stopped at once and \
         kept all records; run the command again to continue"
    )]
    LeaseLost {
        /// Id of the infrastructure.
        id: String,
    },
    /// The store failed.
    #[error("{source}")]
    Store {
        /// Error of the store.
        #[from]
        source: StoreError,
    },
    /// A record cannot be read: it is damaged, or a newer version wrote it.
    #[error(transparent)]
    Record {
        /// Error of the codec.
        #[from]
        source: RecordError,
    },
    /// The description cannot be deployed.
    #[error("cannot deploy the infrastructure: {message}")]
    Invalid {
        /// Cause.
        message: String,
    },
    /// A keyword has no plugin.
    #[error("node {node}: there is no {kind} for {keyword:?}")]
    NoPlugin {
        /// Name of the node.
        node: String,
        /// Kind of plugin: "driver", "health checker", "contextualiser".
        kind: &'static str,
        /// Keyword as the user wrote it.
        keyword: String,
        /// Location as `FILE:LINE:COLUMN`, if known.
        location: Option<String>,
    },
    /// A node failed.
    #[error("{failure}")]
    Node {
        /// Failure of the node.
        failure: Box<NodeFailure>,
        /// Set if the run was rolled back.
        rolled_back: bool,
        /// Instances that should have been removed and were not.
        left: Vec<Leftover>,
    },
    /// The user stopped the run.
    #[error("stopped")]
    Stopped {
        /// Set if the run was rolled back.
        rolled_back: bool,
        /// Instances that exist and, after a second stop request, were not removed.
        left: Vec<Leftover>,
    },
}

/// The failure of a node's instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeFailure {
    /// Name of the node.
    pub node: String,
    /// UUID of the instance.
    pub instance: String,
    /// Keyword of the driver.
    pub driver: String,
    /// Reason for the failure.
    pub reason: FailureReason,
    /// Location of its implementation as `FILE:LINE:COLUMN`; empty if unknown.
    pub origin: String,
    /// Messages about lines that the user wrote.
    pub details: Vec<LocatedMessage>,
    /// Last lines that its machine wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// The reason for the failure of a node's instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FailureReason {
    /// A plugin's call failed.
    Call {
        /// Name of the call: "create", "find", "render", "check".
        call: String,
        /// Fault of the last attempt.
        fault: Fault,
        /// Number of attempts.
        attempts: u32,
        /// Seconds for which the call had been failing.
        seconds: u64,
    },
    /// The machine stopped, failed or vanished while it was awaited.
    Machine {
        /// Change of the machine, as a verb: "stopped".
        what: String,
        /// Message of the cloud.
        message: Option<String>,
    },
    /// The health checks failed for too long.
    Unhealthy {
        /// Last message of the check.
        message: String,
        /// Seconds for which the checks were allowed to fail.
        seconds: u64,
    },
    /// The machine did not run in time.
    Slow {
        /// Seconds within which the machine had to run.
        seconds: u64,
    },
    /// All implementations lack capacity.
    NoCapacity {
        /// Message of each implementation.
        tried: Vec<String>,
    },
    /// The node has no matching implementation.
    NoImplementation {
        /// Cause.
        message: String,
    },
}

/// A message about a part of the user's text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LocatedMessage {
    /// Message of one sentence.
    pub message: String,
    /// JSON pointer into the implementation; empty if the message is not about the user's text.
    pub pointer: String,
    /// Location as `FILE:LINE:COLUMN`, if known.
    pub location: Option<String>,
}

impl EngineError {
    /// Returns a stable code for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::UnknownInfrastructure { .. } => "engine.unknown-infrastructure",
            Self::UnknownNode { .. } => "engine.unknown-node",
            Self::UnknownInstance { .. } => "engine.unknown-instance",
            Self::Limits { .. } => "engine.limits",
            Self::TooMany { .. } => "engine.too-many",
            Self::Destroying { .. } => "engine.destroying",
            Self::InvalidId { .. } => "engine.invalid-id",
            Self::Owned { .. } => "engine.owned",
            Self::LeaseLost { .. } => "engine.lease-lost",
            Self::Store { source: StoreError::Unavailable { .. } } => "store.unavailable",
            Self::Store { source: StoreError::Unusable { .. } } => "store.unusable",
            Self::Store { source: StoreError::Unknown { .. } } => "store.unknown",
            Self::Record { source } => source.code(),
            Self::Invalid { .. } => "engine.invalid",
            Self::NoPlugin { .. } => "engine.no-plugin",
            Self::Node { failure, .. } => failure.code(),
            Self::Stopped { .. } => "engine.stopped",
        }
    }

    /// Creates the error of a process that finds an infrastructure owned by another one.
    pub fn owned(id: &str, owner: Owner) -> Self {
        Self::Owned { id: id.into(), holder: owner.holder, since: owner.since }
    }

    /// Returns the instances that exist, or may exist, and should not.
    pub fn left(&self) -> &[Leftover] {
        match self {
            Self::Node { left, .. } | Self::Stopped { left, .. } => left,
            _ => &[],
        }
    }
}

impl NodeFailure {
    /// Creates a failure with its locations in the user's files.
    pub(crate) fn new(
        node: String,
        instance: &str,
        driver: String,
        implementation: Option<&Implementation>,
        reason: FailureReason,
    ) -> Self {
        let faulty: &[Detail] = if let FailureReason::Call { fault, .. } = &reason { &fault.details } else { &[] };
        let details = faulty.iter().map(|detail| LocatedMessage {
            message: detail.message.clone(),
            pointer: detail.pointer.clone(),
            location: implementation.and_then(|found| nearest_location(found, &detail.pointer)),
        });
        Self {
            node,
            instance: instance.into(),
            driver,
            origin: implementation.map(|found| found.origin.clone()).unwrap_or_default(),
            details: details.collect(),
            output: None,
            reason,
        }
    }

    /// Returns a stable code for programs: that of the plugin if a call failed.
    pub fn code(&self) -> &str {
        match &self.reason {
            FailureReason::Call { fault, .. } => &fault.code,
            FailureReason::Machine { .. } => "node.machine",
            FailureReason::Unhealthy { .. } => "node.unhealthy",
            FailureReason::Slow { .. } => "node.slow",
            FailureReason::NoCapacity { .. } => "node.no-capacity",
            FailureReason::NoImplementation { .. } => "node.no-implementation",
        }
    }

    /// Returns the location of the first detail that has one, otherwise that of the implementation.
    pub fn location(&self) -> Option<&str> {
        let detail = self.details.iter().find_map(|detail| detail.location.as_deref());
        detail.or(Some(self.origin.as_str()).filter(|origin| !origin.is_empty()))
    }
}

impl fmt::Display for NodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A sweep has no node.
        if self.node.is_empty() {
            return write!(f, "{}: {}", self.driver, self.reason);
        }
        write!(f, "node {}: {}", self.node, self.reason)
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The call's name has no meaning for the author of a template.
            Self::Call { call, fault, attempts: 0 | 1, .. } if call == "render" => fault.fmt(f),
            Self::Call { call, fault, attempts: 0 | 1, .. } => write!(f, "{call} failed: {fault}"),
            Self::Call { call, fault, attempts, seconds } => {
                write!(f, "{call} failed for {seconds} s ({attempts} attempts): {fault}")
            }
            Self::Machine { what, message: Some(message) } => write!(f, "the machine {what}: {message}"),
            Self::Machine { what, message: None } => write!(f, "the machine {what}"),
            Self::Unhealthy { message, seconds } => write!(f, "not healthy for {seconds} s: {message}"),
            Self::Slow { seconds } => write!(f, "the machine is not running after {seconds} s"),
            Self::NoCapacity { tried } => write!(f, "no capacity: {}", tried.join("; ")),
            Self::NoImplementation { message } => f.write_str(message),
        }
    }
}

/// Returns the location of a pointer's target, or of the nearest element around it.
pub(crate) fn nearest_location(implementation: &Implementation, pointer: &str) -> Option<String> {
    let mut pointer = pointer;
    while !pointer.is_empty() {
        if let Some(line) = implementation.lines.get(pointer) {
            return Some(line.clone());
        }
        pointer = pointer.rsplit_once('/').map(|(parent, _)| parent).unwrap_or_default();
    }
    None
}
