//! Azure Resource Manager, for the drivers of Azure: a library, not a plugin.
//!
//! - [`Credentials`] is the schema of what stands in `auth_data.yaml`, the clouds (`cloud`) follow from the `endpoint`.
//! - [`Arm`] logs in, keeps the token in the host's cache, logs in again when Azure refuses it in the middle of a call, and
//!   sends [`Call`]s. The secret goes to the log-in host alone, the token to the management host alone.
//! - [`Arm::page`] and [`Arm::list`] read lists, and follow `nextLink`; [`Arm::poll`] and [`Arm::wait`] follow long-running
//!   operations. Both stay on the management host, whatever a link names.
//! - Refusals become faults by one table of codes ([`classify`]), with the codes inside of others, the correlation id, and
//!   a pointer to the user's key: a driver says which of its keys a [`Subject`] is.
//!
//! ```ignore
//! let arm = Arm::new(&scope, &scope.section.endpoint, Purpose::Creating, pointer)?;
//! let id = arm.in_group("demo", "Microsoft.Compute/virtualMachines", "vm-1");
//! let answer = arm.send(&Call::put(&id, "2024-07-01", &body).header("if-none-match", "*"))?;
//! let operation = arm.operation_of(&answer)?;
//! let machines: Vec<Vm> = arm.list(&Call::get(&arm.in_subscription("Microsoft.Compute/virtualMachines"), "2024-07-01"))?;
//! ```

mod aadsts;
mod cache;
mod client;
mod cloud;
mod codes;
mod credentials;
mod error;
mod link;
mod list;
mod operation;
mod reaction;
mod resource_group;
mod resource_id;
#[cfg(test)]
mod tests;
mod token;

pub use client::{Arm, Call, Effect, NOT_AZURE_CODE, Purpose};
pub use cloud::{Cloud, LOGIN_HOSTS, endpoint_mistake};
pub use codes::{Subject, Verdict};
pub use credentials::Credentials;
pub use error::ArmError;
pub use list::ListPage;
pub use operation::{Ended, Operation, Progress};
pub use reaction::{classify, is_busy, is_in_use, names_missing_reference};
pub use resource_id::ResourceId;
