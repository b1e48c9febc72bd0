//! Node definitions that the service stores.

use serde::{Deserialize, Serialize};

/// A stored node type in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DefinitionItem {
    /// The name of the type.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Number of its implementations.
    pub implementations: usize,
    /// Origin of each implementation.
    pub origins: Vec<String>,
}

/// The stored node types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DefinitionList {
    /// The types, ordered by name.
    pub definitions: Vec<DefinitionItem>,
}

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportReply {
    /// The imported types.
    pub imported: Vec<String>,
}
