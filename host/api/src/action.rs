//! Answers to actions on an infrastructure, in the form of the Python service.

use serde::{Deserialize, Serialize};

/// An acknowledgement, in the form of the Python service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LegacyAck {
    /// The infrastructure's id.
    pub infraid: String,
}

/// A request to scale, repeated in the form of the Python service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScaleReply {
    /// `scaleup` or `scaleto`.
    pub method: String,
    /// The infrastructure's id.
    pub infraid: String,
    /// The node's name.
    pub nodename: String,
    /// Number of instances to add (`scaleup`), or to have (`scaleto`).
    pub count: u32,
}

/// A request to remove one instance, repeated in the form of the Python service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScaleDownReply {
    /// `scaledown`.
    pub method: String,
    /// The infrastructure's id.
    pub infraid: String,
    /// The node's name.
    pub nodename: String,
    /// The instance to remove; null: the youngest.
    pub nodeid: Option<String>,
}

/// The suspension of an infrastructure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SuspensionReply {
    /// The infrastructure's id.
    pub infraid: String,
    /// Suspension of its maintenance: while true, it is neither observed nor healed.
    pub suspended: bool,
}
