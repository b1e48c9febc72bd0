//! The service itself: its health, the caller's identity, and the audit.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The identity of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CallerIdentity {
    /// Name of the caller's token.
    pub name: String,
    /// Scope of the caller: `read`, `operate` or `admin`.
    pub scope: String,
    /// Ids of the infrastructures that the caller is limited to; null: no limit.
    pub infrastructures: Option<Vec<String>>,
}

/// The health of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// Always `ok`: a service that is not ready answers with 503.
    pub status: String,
    /// Version of the service.
    pub version: String,
    /// Time at which the service started.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
}
