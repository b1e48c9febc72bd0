//! The `cloudsigma` driver: a node is a server of CloudSigma with a drive that was cloned from the library.
//!
//! - Names are not unique there and nothing has a time of creation. The instance's id and the time at which the attempt began
//!   are in the server's metadata, and `occopus_sdk::idempotent` makes one server of an instance.
//! - The server is made first, and its drive is named after it: everything that comes later (clone, attach, start) is found
//!   again and taken on by `find` and `observe`, however long a clone takes and whenever the host was killed.
//! - A server that has run is marked in its metadata: one that was stopped by somebody is not started again.
//! - A server counts as gone only if CloudSigma itself says so, in the account and at the location that its handle names.

mod absence;
mod advance;
mod cloud;
mod document;
mod drive;
mod handle;
mod lists;
mod observe;
mod preflight;
mod refusal;
mod removal;
mod section;
mod server;
#[cfg(test)]
mod tests;

use occopus_sdk::idempotent::{self, Creation, Outcome};
use occopus_sdk::{About, Detail, Driver, Fault, Handle, Inventory, NodeRequest, Observed, Page, Reaction, Scope};

use cloud::Cloud;
use handle::Reference;
use lists::Servers;
pub use section::{Credentials, Description, Section, WholeNumber};

/// The driver.
pub struct CloudSigma;

impl Driver for CloudSigma {
    type Section = Section;
    type Credentials = Credentials;

    const ABOUT: About = About {
        name: "cloudsigma",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "cloudsigma",
        summary: "Servers of CloudSigma",
        ..About::DRIVER
    };

    fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
        // Something that the server needs is missing.
        create(request).map_err(|fault| not_an_absence(fault, Reaction::GiveUp))
    }

    fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        find(scope, instance_id).map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }

    fn observe(scope: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        let seen = Cloud::new(scope).and_then(|cloud| cloud.observe(handles));
        seen.map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        let gone = Cloud::new(scope).and_then(|cloud| cloud.destroy(&Reference::of(handle)));
        gone.map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }

    fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
        preflight::check(request)
    }
}

impl Inventory for CloudSigma {
    fn list_owned(scope: &Scope<Section>, _cursor: Option<&str>) -> Result<Page, Fault> {
        let page = Cloud::new(scope).and_then(|cloud| cloud.list_owned());
        page.map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }
}

fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
    let creation = Creation::begin(request);
    let cloud = Cloud::new(&request.scope)?;
    let account = cloud.account_for_creation()?;
    match creation.run(&Servers(&cloud), || cloud.create_server(request, &account))? {
        Outcome::Found(server) => cloud.finish_found(&server, &account.id),
        Outcome::Made(server) => cloud.finish(&server, &account.id, &[]),
    }
}

fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
    let cloud = Cloud::new(scope)?;
    let Some(server) = idempotent::find(&Servers(&cloud), scope.call(), instance_id)? else {
        cloud.remove_drives_without_server(instance_id)?;
        return Ok(None);
    };
    match cloud.finish_found(&server, &cloud.account()?.id) {
        Ok(observed) => Ok(Some(observed)),
        // It was removed.
        Err(fault) if is_final(fault.reaction) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Returns true if a repetition would not help.
fn is_final(reaction: Reaction) -> bool {
    !matches!(reaction, Reaction::Retry | Reaction::UnknownOutcome)
}

/// Replaces `not-found`: a drive, a network or a list that does not exist must not be taken for a server that is gone.
fn not_an_absence(fault: Fault, reaction: Reaction) -> Fault {
    if fault.reaction == Reaction::NotFound { Fault { reaction, ..fault } } else { fault }
}

occopus_sdk::export_driver!(CloudSigma, inventory);
