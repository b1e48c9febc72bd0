//! The records.

use jiff::Timestamp;
use occopus_engine::Renew;
use occopus_model::Infrastructure;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Details;

/// Something that takes time, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Operation {
    /// UUID; later ones are greater.
    pub(crate) id: String,
    /// The infrastructure's id.
    pub(crate) infraid: String,
    /// What.
    pub(crate) kind: Kind,
    /// How far it has come.
    pub(crate) state: Progress,
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
    pub(crate) error: Option<Details>,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
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
pub(crate) enum Progress {
    /// It waits.
    Pending,
    /// It is under way.
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
    pub(crate) fn build(infrastructure: Infrastructure, keep: bool, renew: Renew) -> Self {
        Self::Build {
            infrastructure: Box::new(infrastructure),
            keep,
            renew_changed: renew.changed,
            renew_dependents: renew.dependents,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Build { .. } => Kind::Build,
            Self::Destroy => Kind::Destroy,
            Self::Maintain => Kind::Maintain,
        }
    }
}

/// An operation that has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) operation: Operation,
    pub(super) work: Work,
}

/// The answer to a request that may be repeated with its `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Repeatable {
    /// Of the document that was posted.
    pub(super) digest: String,
    pub(super) infraid: String,
    pub(super) operation: String,
    pub(super) time: Timestamp,
}
