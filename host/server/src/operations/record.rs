//! The records of operations in the store. An [`Operation`] is stored in the form in which clients read it.

use jiff::Timestamp;
use occopus_api::{Operation, OperationKind};
use occopus_engine::{Event, Rollout};
use occopus_model::Infrastructure;
use serde::{Deserialize, Serialize};

/// Maximum size of a description that is kept after its build has failed.
const MAX_FAILED_TEXT_BYTES: usize = 256 * 1024;

/// The work of an operation, with its input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "kebab-case")]
pub(crate) enum Work {
    /// See [`OperationKind::Build`].
    Build {
        /// The desired state.
        infrastructure: Box<Infrastructure>,
        /// The description as it was posted, which can be edited and posted again; empty in records of older versions.
        #[serde(default)]
        text: String,
        /// Keep new machines when a node fails.
        keep: bool,
        /// Replace instances that have drifted from the description.
        renew_changed: bool,
        /// Replace instances that know addresses that are gone.
        renew_dependents: bool,
    },
    /// See [`OperationKind::Destroy`].
    Destroy,
    /// See [`OperationKind::Maintain`].
    Maintain,
}

impl Work {
    /// Returns a build, which is rolled back when a node fails, unless `keep` is set.
    pub(crate) fn build(infrastructure: Infrastructure, text: String, keep: bool, rollout: Rollout) -> Self {
        Self::Build {
            infrastructure: Box::new(infrastructure),
            text,
            keep,
            renew_changed: rollout.changed,
            renew_dependents: rollout.dependents,
        }
    }

    pub(crate) fn kind(&self) -> OperationKind {
        match self {
            Self::Build { .. } => OperationKind::Build,
            Self::Destroy => OperationKind::Destroy,
            Self::Maintain => OperationKind::Maintain,
        }
    }
}

/// A failed build: its description, to be edited and tried again, and its last events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FailedBuild {
    /// The infrastructure's name, `infra_name`.
    pub(crate) name: String,
    /// The description as it was posted; empty if it was too long to be kept.
    pub(crate) text: String,
    /// The latest events of the build, the oldest first.
    pub(crate) events: Vec<Event>,
    /// Existence of the infrastructure after the build: it was there before, or was kept.
    pub(crate) remains: bool,
    /// Time at which it ended.
    pub(crate) time: Timestamp,
}

impl FailedBuild {
    /// Returns the record of a failed build that ends now; none for work of another kind.
    pub(crate) fn of(work: &Work, events: Vec<Event>, remains: bool) -> Option<Self> {
        let Work::Build { infrastructure, text, .. } = work else { return None };
        let text = if text.len() <= MAX_FAILED_TEXT_BYTES { text.clone() } else { String::new() };
        Some(Self { name: infrastructure.name.clone(), text, events, remains, time: Timestamp::now() })
    }
}

/// The record of an operation that has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PendingOperation {
    pub(super) operation: Operation,
    pub(super) work: Work,
    /// The claim of the service that has begun the operation and not ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) begun: Option<Claim>,
}

/// A claim of a service on an operation that it has begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Name of the service's process.
    pub(crate) holder: String,
    /// Time at which it began.
    pub(crate) since: Timestamp,
    /// Number of services that died before in this operation, without any progress.
    pub(crate) deaths: u32,
    /// Digest of the infrastructure's state when this service began.
    pub(crate) before: String,
}
