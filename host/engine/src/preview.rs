//! Result of rendering a description without creating anything.

use serde::Serialize;
use serde_json::Value;

use crate::error::NodeFailure;

/// Rendered input of a new instance of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The node's name.
    pub node: String,
    /// Index of the implementation in the list of its type.
    pub implementation: usize,
    /// Location of the implementation: `FILE:LINE:COLUMN`; empty if unknown.
    pub origin: String,
    /// The `resource` section, rendered if its contextualiser renders it.
    pub resource: Value,
    /// Attributes for the driver: an object.
    pub attributes: Value,
    /// User data for the first boot.
    pub user_data: Option<String>,
    /// Warnings about the user's description.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<PreviewWarning>,
    /// Reasons why the driver would refuse the request. The preview is complete all the same.
    #[serde(skip)]
    pub refused: Option<NodeFailure>,
}

/// A warning about something in the description that probably does not have the intended effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewWarning {
    /// Stable code for programs, such as `cloudinit.ignored`.
    pub code: String,
    /// Message of one sentence. A prefix `line N: ` names a line of the text at the location.
    pub message: String,
    /// Location in the user's files: `FILE:LINE:COLUMN`; none if unknown.
    pub location: Option<String>,
}
