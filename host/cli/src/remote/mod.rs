//! Commands on a service (`occopus serve`): with `--server URL` or `OCCOPUS_SERVER`.
//!
//! Descriptions are compiled on this machine, so that errors are shown at the user's own lines, but against the plugins
//! and the stored definitions of the service. The document that is sent needs no other file.

mod api;
mod backend_support;
mod body;
mod client;
mod compile;
mod events;
mod operation;
mod plugins;

pub(crate) use api::{DestroyResponse, ScaleCall};
pub(crate) use backend_support::check_backend_support;
pub(crate) use client::ServiceClient;
pub(crate) use events::{StreamStart, subscribe};
pub(crate) use operation::follow_operation;

use crate::failure::Failure;

/// Removes the locations in a text that the user has not seen.
pub(crate) fn without_locations(failure: Failure) -> Failure {
    match failure {
        Failure::Service(error) => error.without_locations().into(),
        other => other,
    }
}
