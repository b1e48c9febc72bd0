//! The records of operations in the store. An [`Operation`] is also what clients read.

use jiff::Timestamp;
use occopus_engine::{Event, Rollout};
use occopus_model::Infrastructure;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::ProblemDetails;

/// Maximum size of a description that is kept after its build has failed.
const MAX_FAILED_TEXT_BYTES: usize = 256 * 1024;

/// A durable request and its outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Operation {
    /// UUID of the operation; later ones are greater.
    pub(crate) id: String,
    /// The infrastructure's id.
    pub(crate) infraid: String,
    /// The kind of work.
    pub(crate) kind: OperationKind,
    /// The progress of the operation.
    pub(crate) state: OperationState,
    /// Name of the caller who requested it.
    pub(crate) by: String,
    /// Time of the request.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) requested: Timestamp,
    /// Time at which it ended; null before.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended: Option<Timestamp>,
    /// Reason for which it waits or retries; null: none.
    pub(crate) message: Option<String>,
    /// Cause of the failure; null unless it has failed.
    pub(crate) error: Option<ProblemDetails>,
}

/// The kind of work of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OperationKind {
    /// Build, or change to match a description.
    Build,
    /// Remove all machines, and the infrastructure.
    Destroy,
    /// Survey and heal, once.
    Maintain,
}

/// The progress of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OperationState {
    /// Accepted, and not begun.
    Pending,
    /// Begun, and not ended.
    Running,
    /// Ended with success.
    Done,
    /// Ended with an error, which is in `error`.
    Failed,
    /// Replaced by another request.
    Superseded,
}

impl OperationState {
    /// Returns whether an operation may go from this state to another one. `docs/lifecycle.md` has the diagram, and a
    /// test compares the two.
    pub(crate) fn can_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Running | Self::Superseded | Self::Failed),
            Self::Running => matches!(next, Self::Done | Self::Failed | Self::Superseded),
            Self::Done | Self::Failed | Self::Superseded => false,
        }
    }
}

impl Operation {
    /// Changes the state.
    pub(crate) fn set_state(&mut self, state: OperationState) {
        debug_assert!(
            self.state == state || self.state.can_become(state),
            "operation {}: {:?} -> {state:?}",
            self.id,
            self.state
        );
        self.state = state;
    }
}

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

#[cfg(test)]
mod tests {
    use super::OperationState::{self, Done, Failed, Pending, Running, Superseded};

    #[test]
    fn the_diagram_of_the_documents_has_every_transition() {
        let document = include_str!("../../../../docs/lifecycle.md");
        let section = document.split("\n## ").find(|section| section.starts_with("An operation")).unwrap();
        let drawn: Vec<_> = section.lines().filter_map(|line| line.trim().split_once(" --> ")).collect();
        let name = |state: OperationState| format!("{state:?}").to_lowercase();
        for from in [Pending, Running, Done, Failed, Superseded] {
            for to in [Pending, Running, Done, Failed, Superseded] {
                let is_drawn =
                    drawn.iter().any(|(one, other)| *one == name(from) && other.split(':').next() == Some(&*name(to)));
                assert_eq!(from.can_become(to), is_drawn, "{from:?} -> {to:?}");
            }
        }
    }
}
