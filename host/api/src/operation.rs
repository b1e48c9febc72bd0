//! Operations: durable requests and their outcomes. The service stores them in this form, too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ProblemDetails;

/// A durable request and its outcome. The service stores operations in this form: a field that is added has a default, and
/// none becomes stricter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Operation {
    /// UUID of the operation; later ones are greater.
    pub id: String,
    /// The infrastructure's id.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub infraid: String,
    /// The kind of work.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub kind: OperationKind,
    /// The progress of the operation.
    pub state: OperationState,
    /// Name of the caller who requested it.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub by: String,
    /// Time of the request.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true, value_type = String, format = DateTime))]
    pub requested: Timestamp,
    /// Time at which it ended; null before.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub ended: Option<Timestamp>,
    /// Reason for which it waits or retries; null: none.
    pub message: Option<String>,
    /// Cause of the failure; null unless it has failed.
    pub error: Option<ProblemDetails>,
}

/// The kind of work of an operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Build, or change to match a description.
    Build,
    /// Remove all machines, and the infrastructure.
    Destroy,
    /// Survey and heal, once.
    Maintain,
    /// Work of a kind that only another version knows.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The progress of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
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

/// The operations of an infrastructure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationList {
    /// The operations, the newest first.
    pub operations: Vec<Operation>,
}

/// An accepted operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Accepted {
    /// The infrastructure's id.
    pub infraid: String,
    /// The path of the operation, which shows its state and outcome.
    #[cfg_attr(
        feature = "openapi",
        schema(example = "/infrastructures/web/operations/0198c0de-0000-7000-8000-000000000000")
    )]
    pub operation: String,
}

impl OperationKind {
    /// Returns the word of the kind on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Destroy => "destroy",
            Self::Maintain => "maintain",
            Self::Unknown => "unknown",
        }
    }
}

impl OperationState {
    /// Returns the word of the state on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
        }
    }

    /// Returns whether an operation may go from this state to another one. `docs/lifecycle.md` has the diagram, and a
    /// test compares the two.
    pub fn can_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Running | Self::Superseded | Self::Failed),
            Self::Running => matches!(next, Self::Done | Self::Failed | Self::Superseded),
            Self::Done | Self::Failed | Self::Superseded => false,
        }
    }
}

impl Operation {
    /// Changes the state.
    ///
    /// # Panics
    /// Panics in a debug build if the state may not become the other one.
    pub fn set_state(&mut self, state: OperationState) {
        debug_assert!(
            self.state == state || self.state.can_become(state),
            "operation {}: {:?} -> {state:?}",
            self.id,
            self.state
        );
        self.state = state;
    }
}

impl Accepted {
    /// Returns the body for an operation.
    pub fn new(infraid: &str, operation: &str) -> Self {
        let path = format!("/infrastructures/{infraid}/operations/{operation}");
        Self { infraid: infraid.to_owned(), operation: path }
    }

    /// Returns the operation's id. The path before it may differ behind a proxy.
    pub fn operation_id(&self) -> &str {
        self.operation.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::OperationState::{Done, Failed, Pending, Running, Superseded};
    use super::*;

    #[test]
    fn the_diagram_of_the_documents_has_every_transition() {
        let document = include_str!("../../../docs/lifecycle.md");
        let section = document.split("\n## ").find(|section| section.starts_with("An operation")).unwrap();
        let drawn: Vec<_> = section.lines().filter_map(|line| line.trim().split_once(" --> ")).collect();
        for from in [Pending, Running, Done, Failed, Superseded] {
            for to in [Pending, Running, Done, Failed, Superseded] {
                let is_drawn =
                    drawn.iter().any(|(one, other)| *one == from.word() && other.split(':').next() == Some(to.word()));
                assert_eq!(from.can_become(to), is_drawn, "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn words_are_those_of_the_wire() {
        for state in [Pending, Running, Done, Failed, Superseded] {
            assert_eq!(serde_json::json!(state), state.word());
        }
        for kind in [OperationKind::Build, OperationKind::Destroy, OperationKind::Maintain, OperationKind::Unknown] {
            assert_eq!(serde_json::json!(kind), kind.word());
        }
    }

    #[test]
    fn a_client_reads_an_operation_by_what_it_needs() {
        let read = |kind: &str| {
            let text = format!(r#"{{"id": "o", "state": "running"{kind}}}"#);
            serde_json::from_str::<Operation>(&text).unwrap()
        };
        assert_eq!((read("").kind, read("").state), (OperationKind::Unknown, Running));
        assert_eq!(read(r#", "kind": "of a newer service", "more": 1"#).kind, OperationKind::Unknown);
        assert_eq!(read(r#", "kind": "destroy""#).kind, OperationKind::Destroy);
    }

    #[test]
    fn the_id_of_an_operation_is_the_end_of_its_url() {
        assert_eq!(Accepted::new("i", "o").operation_id(), "o");
        for operation in ["/infrastructures/i/operations/o", "https://x/y/infrastructures/i/operations/o/"] {
            assert_eq!(Accepted { infraid: "i".into(), operation: operation.into() }.operation_id(), "o");
        }
    }
}
