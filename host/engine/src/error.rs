//! Why something could not be done.

use std::fmt;

use jiff::Timestamp;
use occopus_model::Implementation;
use serde::Serialize;

use crate::ports::{Detail, Fault, StoreError};
use crate::status::Leftover;

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No infrastructure has this id.
    #[error("there is no infrastructure with the id {id}")]
    UnknownInfrastructure {
        /// As it was given.
        id: String,
    },
    /// The infrastructure has no such node.
    #[error("infrastructure {id} has no node {node}; it has {}", known.join(", "))]
    UnknownNode {
        /// The infrastructure.
        id: String,
        /// As it was given.
        node: String,
        /// The nodes that there are.
        known: Vec<String>,
    },
    /// The node has no such instance.
    #[error("node {node} has no instance with the id or address {instance}")]
    UnknownInstance {
        /// The node's name.
        node: String,
        /// As it was given.
        instance: String,
    },
    /// The description does not allow so many, or so few.
    #[error("node {node} can't have {wanted} instances: its description allows {min} to {max}")]
    Limits {
        /// The node's name.
        node: String,
        /// How many were asked for, requests that wait included.
        wanted: i64,
        /// At least.
        min: u32,
        /// At most.
        max: u32,
    },
    /// More instances than are allowed here, whatever is described.
    #[error("{what} would have {wanted} instances; {most} are allowed")]
    TooMany {
        /// `node NAME`, or `the infrastructure`.
        what: String,
        /// The number that there would be.
        wanted: u64,
        /// The most that there may be.
        most: u32,
    },
    /// It is about to be gone.
    #[error("infrastructure {id} is being destroyed")]
    Destroying {
        /// The infrastructure.
        id: String,
    },
    /// Not usable as an id.
    #[error("{id:?} can't be an id: use 1 to 64 letters, digits, '.', '_' and '-'")]
    InvalidId {
        /// As it was given.
        id: String,
    },
    /// Another process works on it.
    #[error("infrastructure {id} is being worked on by {holder}, since {since}")]
    Owned {
        /// The infrastructure.
        id: String,
        /// Host and process.
        holder: String,
        /// Since when.
        since: Timestamp,
    },
    /// Another process has taken over, so this one stopped at once.
    #[error(
        "this process lost infrastructure {id}: its lease ended (was the machine suspended?). It stopped at once; \
         nothing is forgotten, run the command again to go on"
    )]
    LeaseLost {
        /// The infrastructure.
        id: String,
    },
    /// The store did not answer.
    #[error("{source}")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// A record can't be read.
    #[error("the store's entry {key} can't be read: {message}")]
    Corrupt {
        /// The key.
        key: String,
        /// Why.
        message: String,
    },
    /// A record was written by a newer version.
    #[error("the store's entry {key} has version {found}, this program knows {known}: use a newer program")]
    Newer {
        /// The key.
        key: String,
        /// Its version.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The description can't be deployed.
    #[error("the infrastructure can't be deployed: {message}")]
    Invalid {
        /// Why.
        message: String,
    },
    /// No plugin serves a keyword.
    #[error("node {node}: there is no {kind} for {keyword:?}")]
    NoPlugin {
        /// The node's name.
        node: String,
        /// "driver", "health checker", "contextualiser".
        kind: &'static str,
        /// As the user wrote it.
        keyword: String,
        /// `FILE:LINE:COLUMN`, when known.
        location: Option<String>,
    },
    /// A node could not be made.
    #[error("{failure}")]
    Node {
        /// Which, and why.
        failure: Box<NodeFailure>,
        /// Whether what this run made was removed.
        rolled_back: bool,
        /// What should have been removed and was not.
        left: Vec<Leftover>,
    },
    /// The user stopped it.
    #[error("stopped")]
    Stopped {
        /// Whether what this run made was removed.
        rolled_back: bool,
        /// What exists and, after a second request, was not removed.
        left: Vec<Leftover>,
    },
}

/// Why a node could not be made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeFailure {
    /// The node's name.
    pub node: String,
    /// UUID of the instance.
    pub instance: String,
    /// The driver's keyword.
    pub driver: String,
    /// Why.
    pub reason: FailureReason,
    /// Where its implementation stands: `FILE:LINE:COLUMN`; empty when unknown.
    pub origin: String,
    /// Sentences about lines that the user wrote.
    pub details: Vec<LocatedMessage>,
    /// The last lines that its machine wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Why a node could not be made.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FailureReason {
    /// A plugin's call failed.
    Call {
        /// Which: "create", "find", "render", "check".
        call: String,
        /// Why.
        fault: Fault,
        /// How often it was tried.
        attempts: u32,
        /// For how many seconds it had been failing.
        seconds: u64,
    },
    /// The machine stopped, failed or vanished while it was awaited.
    Machine {
        /// What it did: "stopped".
        what: String,
        /// In the cloud's words.
        message: Option<String>,
    },
    /// Its checks failed for too long.
    Unhealthy {
        /// What the check said last.
        message: String,
        /// For so many seconds.
        seconds: u64,
    },
    /// The machine did not run in time.
    Slow {
        /// After so many seconds.
        seconds: u64,
    },
    /// No implementation has capacity.
    NoCapacity {
        /// What each said.
        tried: Vec<String>,
    },
    /// No implementation matches.
    NoImplementation {
        /// Why none does.
        message: String,
    },
}

/// A sentence about something that the user wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LocatedMessage {
    /// One sentence.
    pub message: String,
    /// JSON pointer into the implementation; empty when it is about nothing that the user wrote.
    pub pointer: String,
    /// `FILE:LINE:COLUMN`, when known.
    pub location: Option<String>,
}

impl EngineError {
    /// A stable code for programs.
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
            Self::Corrupt { .. } => "store.corrupt",
            Self::Newer { .. } => "store.newer",
            Self::Invalid { .. } => "engine.invalid",
            Self::NoPlugin { .. } => "engine.no-plugin",
            Self::Node { failure, .. } => failure.code(),
            Self::Stopped { .. } => "engine.stopped",
        }
    }

    /// What exists and should not, or might.
    pub fn left(&self) -> &[Leftover] {
        match self {
            Self::Node { left, .. } | Self::Stopped { left, .. } => left,
            _ => &[],
        }
    }
}

impl NodeFailure {
    /// With the places in the user's files that it is about.
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

    /// A stable code for programs: the plugin's own, when a call failed.
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

    /// The first line that it points at: of a detail, otherwise of the implementation.
    pub fn location(&self) -> Option<&str> {
        let detail = self.details.iter().find_map(|detail| detail.location.as_deref());
        detail.or(Some(self.origin.as_str()).filter(|origin| !origin.is_empty()))
    }
}

impl fmt::Display for NodeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A sweep is about no node.
        if self.node.is_empty() {
            return write!(f, "{}: {}", self.driver, self.reason);
        }
        write!(f, "node {}: {}", self.node, self.reason)
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The name of this call means nothing to those who wrote the template.
            Self::Call { call, fault, attempts: 0 | 1, .. } if call == "render" => fault.fmt(f),
            Self::Call { call, fault, attempts: 0 | 1, .. } => write!(f, "{call} failed: {fault}"),
            Self::Call { call, fault, attempts, seconds } => {
                write!(f, "{call} failed for {seconds} s ({attempts} attempts): {fault}")
            }
            Self::Machine { what, message: Some(message) } => write!(f, "the machine {what}: {message}"),
            Self::Machine { what, message: None } => write!(f, "the machine {what}"),
            Self::Unhealthy { message, seconds } => write!(f, "not healthy for {seconds} s: {message}"),
            Self::Slow { seconds } => write!(f, "the machine does not run after {seconds} s"),
            Self::NoCapacity { tried } => write!(f, "no capacity: {}", tried.join("; ")),
            Self::NoImplementation { message } => f.write_str(message),
        }
    }
}

/// The line of what a pointer leads to, or of the nearest thing around it.
pub(crate) fn nearest_location(implementation: &Implementation, pointer: &str) -> Option<String> {
    let mut pointer = pointer;
    while !pointer.is_empty() {
        if let Some(line) = implementation.lines.get(pointer) {
            return Some(line.clone());
        }
        pointer = pointer.rsplit_once('/').map(|(around, _)| around).unwrap_or_default();
    }
    None
}
