//! The same commands against a service (`occopus serve`): with `--server URL` or `OCCOPUS_SERVER`.
//!
//! Descriptions are compiled here, so that mistakes are shown at the user's own lines, but with what the service has:
//! its plugins, and the definitions that it keeps. What is sent is one document that needs no other file.

mod api;
mod backend_support;
mod client;
mod compile;
mod events;
mod operation;
mod plugins;
mod problem;

pub(crate) use api::{DestroyResponse, ScaleCall};
pub(crate) use backend_support::check_backend_support;
pub(crate) use client::ServiceClient;
pub(crate) use events::{StreamStart, subscribe};
pub(crate) use operation::follow_operation;
pub(crate) use problem::{FileDiagnostic, ServiceError};

use crate::failure::Failure;

/// Without the places in a text that nobody has seen.
pub(crate) fn without_locations(failure: Failure) -> Failure {
    match failure {
        Failure::Service(refused) => refused.without_locations().into(),
        other => other,
    }
}
