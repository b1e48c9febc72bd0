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

/// A page of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    /// The entries, the oldest first.
    pub entries: Vec<AuditEntry>,
    /// `after` of the next page; null on the last page.
    pub next: Option<String>,
}

/// Audit entry of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Id of the entry; ids of later entries are greater.
    pub id: String,
    /// Time of the request.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub time: Timestamp,
    /// Name of the token, or `nobody`.
    pub who: String,
    /// Network address of the sender.
    pub address: Option<String>,
    /// Method and route, such as `POST /infrastructures/{id}/suspend`.
    pub action: String,
    /// Id of the infrastructure.
    pub infraid: Option<String>,
    /// HTTP status of the response.
    pub outcome: u16,
    /// Number of requests of this caller before this one that changed nothing and have no entry, since there were too
    /// many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
