//! The same commands against a service (`occopus serve`): with `--server URL` or `OCCOPUS_SERVER`.
//!
//! Descriptions are compiled here, so that mistakes are shown at the user's own lines, but with what the service has:
//! its plugins, and the definitions that it keeps. What is sent is one document that needs no other file.

mod api;
mod compile;
mod events;
mod operation;
mod place;
mod plugins;
mod problem;
mod service;

pub(crate) use api::{Destroyed, ScaleBy};
pub(crate) use events::{Follow, follow};
pub(crate) use operation::watch;
pub(crate) use place::check;
pub(crate) use problem::{Refused, Told};
pub(crate) use service::Service;

use crate::failure::Failure;

/// Without the places in a text that nobody has seen.
pub(crate) fn without_places(failure: Failure) -> Failure {
    match failure {
        Failure::Service(refused) => refused.without_places().into(),
        other => other,
    }
}
