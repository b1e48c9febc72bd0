//! The records.

use jiff::Timestamp;
use occopus_engine::{Event, Rollout};
use occopus_model::Infrastructure;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::ProblemDetails;

/// Bytes of a description that is kept after its build has failed.
const MAX_FAILED_TEXT_BYTES: usize = 256 * 1024;

/// Something that takes time, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Operation {
    /// UUID; later ones are greater.
    pub(crate) id: String,
    /// The infrastructure's id.
    pub(crate) infraid: String,
    /// What.
    pub(crate) kind: OperationKind,
    /// How far it has come.
    pub(crate) state: OperationState,
    /// Who asked for it.
    pub(crate) by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) requested: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended: Option<Timestamp>,
    /// What it waits for, when there is something to say.
    pub(crate) message: Option<String>,
    /// Why it failed.
    pub(crate) error: Option<ProblemDetails>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OperationKind {
    /// Built, or changed to what is described.
    Build,
    /// Removed.
    Destroy,
    /// Looked at and healed, once.
    Maintain,
}

/// How far an operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OperationState {
    /// It waits.
    Pending,
    /// Under way.
    Running,
    /// It has ended as wished.
    Done,
    /// It has failed; `error` says why.
    Failed,
    /// Another request took its place.
    Superseded,
}

/// What has to be known to do it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "kebab-case")]
pub(crate) enum Work {
    /// See [`Kind::Build`].
    Build {
        /// What should exist.
        infrastructure: Box<Infrastructure>,
        /// The description as it was posted, for whoever wants to mend it; records of older versions have none.
        #[serde(default)]
        text: String,
        /// Keep what was made when a node fails.
        keep: bool,
        /// Renew instances that have changed.
        renew_changed: bool,
        /// Renew instances that were told of what is gone.
        renew_dependents: bool,
    },
    /// See [`Kind::Destroy`].
    Destroy,
    /// See [`Kind::Maintain`].
    Maintain,
}

impl Work {
    /// A build that is rolled back when a node fails, unless it is to be kept.
    pub(crate) fn build(infrastructure: Infrastructure, text: String, keep: bool, renew: Rollout) -> Self {
        Self::Build {
            infrastructure: Box::new(infrastructure),
            text,
            keep,
            renew_changed: renew.changed,
            renew_dependents: renew.dependents,
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

/// A build that has failed, for whoever wants to know why, and to try again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FailedBuild {
    /// `infra_name`.
    pub(crate) name: String,
    /// The description as it was posted; empty when it was too long to be kept.
    pub(crate) text: String,
    /// What happened, the latest of it.
    pub(crate) events: Vec<Event>,
    /// The infrastructure is there: what was there before, or what was kept.
    pub(crate) remains: bool,
    /// When it ended.
    pub(crate) time: Timestamp,
}

impl FailedBuild {
    /// None for work of another kind.
    pub(crate) fn of(work: &Work, events: Vec<Event>, remains: bool) -> Option<Self> {
        let Work::Build { infrastructure, text, .. } = work else { return None };
        let text = if text.len() <= MAX_FAILED_TEXT_BYTES { text.clone() } else { String::new() };
        Some(Self { name: infrastructure.name.clone(), text, events, remains, time: Timestamp::now() })
    }
}

/// An operation that has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PendingOperation {
    pub(super) operation: Operation,
    pub(super) work: Work,
    /// The service that has begun it and has not come to an end with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) begun: Option<Claim>,
}

/// A service that has begun an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Which one.
    pub(crate) holder: String,
    /// When.
    pub(crate) since: Timestamp,
    /// Services that died over it before, without anything having been done.
    pub(crate) deaths: u32,
    /// Mark of what there was when this one began.
    pub(crate) before: String,
}
