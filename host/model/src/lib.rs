//! Descriptions, node definitions and credentials: reads, resolves and checks them, and compiles them to a deployable
//! graph.
//!
//! Apart from reading the files that it is given and running commands for values of credentials, this crate is pure:
//! clouds, plugins and stores are not known here.

mod check;
mod compile;
mod credentials;
mod definitions;
mod dependency_order;
mod description;
mod diagnostic;
mod document;
mod file_diagnostic;
pub mod files;
mod infrastructure;
mod placeholders;
mod schema;
mod text;
mod yaml;

pub use compile::{CompileInput, Compiled, compile, compile_document};
pub use credentials::{AmbiguousCredentials, AuthData, Credential, CredentialsReading, Secret, Tls};
pub use definitions::{read_definition_document, read_definitions, read_definitions_document};
pub use dependency_order::{dependency_depths, dependency_positions};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use document::{document, document_of_definitions};
pub use file_diagnostic::{FileDiagnostic, FileSeverity};
pub use infrastructure::{
    HealthCheck, Implementation, Infrastructure, InstanceLimits, Maintenance, Mapping, Mappings, Node, Scaling,
    Webhook, section_type,
};
pub use placeholders::is_placeholder;
pub use schema::{Schemas, SectionKind};
pub use text::{contains_template, is_deceptive};
pub use yaml::{CommandOutputs, NamedText};
