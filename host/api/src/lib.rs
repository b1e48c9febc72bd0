//! Bodies of the REST API and error codes, one definition for the service, its page and its clients.
//!
//! Only types with their serialisation: no HTTP, no store, no task. States, events and plans are those of the engine, and
//! diagnostics are those of the model. A client reads the answers of older and newer services: unknown fields are
//! ignored, and a field that is added later has a default.

mod action;
mod definition;
mod error_code;
mod exit_status;
mod infrastructure;
mod operation;
mod plugin;
mod problem;
mod service;

pub use action::{LegacyAck, ScaleDownReply, ScaleReply, SuspensionReply};
pub use definition::{DefinitionItem, DefinitionList, ImportReply};
pub use error_code::{ERROR_CODES, ErrorCode, FailureFacts};
pub use exit_status::ExitStatus;
pub use infrastructure::{
    EventPage, FailureAction, InfoReply, InfrastructureItem, InfrastructureList, InstanceReport, NodeReport,
    ScalingReport, ValidationReply,
};
pub use occopus_model::{FileDiagnostic, FileSeverity};
pub use operation::{Accepted, Operation, OperationKind, OperationList, OperationState};
pub use plugin::{PluginItem, PluginList};
pub use problem::ProblemDetails;
pub use service::{AuditEntry, AuditPage, CallerIdentity, Health};
