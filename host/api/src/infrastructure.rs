//! Infrastructures in lists, their events, and the forms of the Python service.

use indexmap::IndexMap;
use jiff::Timestamp;
use occopus_engine::{Event, InfrastructureId, InfrastructureState, Owner, Summary};
use occopus_model::FileDiagnostic;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A page of infrastructures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InfrastructureList {
    /// The ids, under the key of the Python service.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub infrastuctures: Vec<String>,
    /// The ids.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub infrastructures: Vec<String>,
    /// The infrastructures, in the same order.
    pub items: Vec<InfrastructureItem>,
    /// `after` of the next page; null on the last page.
    pub next: Option<String>,
}

/// An infrastructure in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InfrastructureItem {
    /// The infrastructure's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: InfrastructureId,
    /// `infra_name`.
    pub name: String,
    /// The state of the infrastructure.
    pub state: InfrastructureState,
    /// Time at which it was first built.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created: Timestamp,
    /// The process that holds the lease of the infrastructure; null: none.
    pub owner: Option<Owner>,
    /// Suspension of its maintenance.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub suspended: bool,
    /// Attachment to the service, which then maintains it.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub attached: bool,
}

impl InfrastructureItem {
    /// Returns the item of an infrastructure.
    pub fn new(summary: Summary, attached: bool) -> Self {
        let Summary { id, name, state, created, owner, suspended } = summary;
        Self { id, name, state, created, owner, suspended, attached }
    }
}

impl From<InfrastructureItem> for Summary {
    fn from(item: InfrastructureItem) -> Self {
        let InfrastructureItem { id, name, state, created, owner, suspended, .. } = item;
        Self { id, name, state, created, owner, suspended }
    }
}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventPage {
    /// The events, the oldest first, each with `id`, `time`, `infra_id`, `event`, and its own fields.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub events: Vec<Event>,
    /// `after` of the next page; null on the last page.
    pub next: Option<u64>,
}

/// The result of a successful validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidationReply {
    /// Always true: the answer to an invalid description is 400.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub valid: bool,
    /// Warnings, in the form of `problems`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true, value_type = Vec<Object>))]
    pub warnings: Vec<FileDiagnostic>,
}

/// The treatment of new machines after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FailureAction {
    /// Remove them.
    Rollback,
    /// Keep them for inspection.
    Keep,
}

impl FailureAction {
    /// Returns the word of the action on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Keep => "keep",
        }
    }
}

/// An instance, in the form of the Python service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceReport {
    /// An address, or a list if there are several; null while there is none.
    #[cfg_attr(feature = "openapi", schema(value_type = Value))]
    pub resource_address: Value,
    /// State of the instance: `ready`, `pending`, `unknown`, `failed` or `shutdown`.
    pub state: String,
}

/// A node, in the form of the Python service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeReport {
    /// The instances of the node, by their ids.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, InstanceReport>))]
    pub instances: IndexMap<String, InstanceReport>,
    /// Actual number of instances, target and limits.
    pub scaling: ScalingReport,
}

/// Numbers of instances of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScalingReport {
    /// Number of instances that exist.
    pub actual: usize,
    /// Number of instances that the node is to have.
    pub target: u32,
    /// Minimum number of instances.
    pub min: u32,
    /// Maximum number of instances.
    pub max: u32,
}

/// The value of an information key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InfoReply {
    /// The value; its type depends on the key.
    pub result: Value,
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_client_reads_lists_and_validations_by_what_it_needs() {
        let item = json!({"id": "i", "name": "n", "state": "ready", "created": "2026-01-01T00:00:00Z", "more": 1});
        let list: InfrastructureList = from_value(json!({"items": [item]})).unwrap();
        assert_eq!((list.items[0].id.as_str(), list.next.as_deref()), ("i", None));
        let event =
            json!({"time": "2026-01-01T00:00:00Z", "infra_id": "i", "event": "of a newer service".replace(' ', "-")});
        let page: EventPage = from_value(json!({"events": [event]})).unwrap();
        assert_eq!(page.events[0].kind.name(), "of-a-newer-service");
        assert!(from_value::<ValidationReply>(json!({})).unwrap().warnings.is_empty());
    }
}
