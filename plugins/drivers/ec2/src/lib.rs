//! The `ec2` driver: a node is an instance on Amazon EC2, or on a cloud that speaks its Query API.
//!
//! - The instance's id is the client token of its creation, and a tag from its first moment. Amazon keeps a second machine
//!   from being made for one token; other clouds ignore tokens, so whoever repeats a creation looks for the tag before and
//!   after, and of two machines with one id the older one stays. The last look waits for what may still arrive.
//! - What the first attempt costs is one call. Observation takes 200 instances in one.
//! - That a machine is gone is believed only of the account and the region that made it, which its handle names, and only two
//!   minutes after its launch, by the cloud's own clock: see `absence`.
//! - `destroy` terminates at once. It does not stop before, as the existing tool did: some machines can't be stopped.

mod absence;
mod api;
mod console;
mod handle;
mod instance;
mod instances;
mod preflight;
mod refusal;
mod section;
mod sign;
mod termination;
#[cfg(test)]
mod tests;
mod xml;

use std::time::{Duration, Instant};

use occopus_sdk::{
    About, Call, Detail, Driver, Fault, Handle, Inventory, NodeRequest, Observed, Page, Reaction, Scope,
};

use api::Api;
use handle::Reference;
use instance::Ec2Instance;
pub use section::{Credentials, Section};

/// A first creation that took longer may have been overtaken by another owner of the infrastructure, and looks for
/// itself. One that took less has arrived when whoever repeats it has waited for as long.
const FIRST_ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// Time for the answer that says what happened.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// The driver.
pub struct Ec2;

impl Driver for Ec2 {
    type Section = Section;
    type Credentials = Credentials;

    const ABOUT: About = About {
        name: "ec2",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "ec2",
        summary: "Instances on Amazon EC2, or a cloud with its API",
        ..About::DRIVER
    };

    fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
        let api = Api::new(&request.scope)?;
        let begun = Instant::now();
        if request.repeated
            && let Some(there) = api.find_without_duplicates(&request.instance_id)?
        {
            return Ok(there.observed());
        }
        let mut made = api.launch(request)?;
        if made.instance_id().is_none() {
            made = api.add_tags(made, request)?;
        }
        if request.repeated && !request.scope.section.is_amazon() {
            wait_out_first_attempt(request.scope.call(), begun);
        } else if !request.repeated && begun.elapsed() < FIRST_ATTEMPT_MAX {
            return Ok(made.observed());
        }
        match api.find_after_settling(&request.instance_id) {
            Ok(one) => Ok(one.unwrap_or(made).observed()),
            // It is there, and perhaps not alone: `find` will tell.
            Err(fault) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }),
        }
    }

    fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        Ok(Api::new(scope)?.find_after_settling(instance_id)?.map(|instance| instance.observed()))
    }

    fn observe(scope: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        Api::new(scope)?.observe(handles)
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        Api::new(scope)?.terminate(&Reference::of(handle))
    }

    fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
        preflight::check(request)
    }

    fn tail(scope: &Scope<Section>, handle: &Handle, lines: u32) -> Result<String, Fault> {
        Api::new(scope)?.console(&Reference::of(handle).id, lines)
    }
}

impl Inventory for Ec2 {
    fn list_owned(scope: &Scope<Section>, cursor: Option<&str>) -> Result<Page, Fault> {
        let (instances, cursor) = Api::new(scope)?.list_tagged(cursor)?;
        let machines = instances.iter().filter(|instance| instance.is_alive()).filter_map(Ec2Instance::owned).collect();
        Ok(Page { machines, cursor })
    }
}

/// Waits for a first creation that was sent before this one began.
fn wait_out_first_attempt(call: &Call, begun: Instant) {
    if !call.cancelled() {
        call.wait(
            FIRST_ATTEMPT_MAX.saturating_sub(begun.elapsed()).min(call.remaining().saturating_sub(ANSWER_MARGIN)),
        );
    }
}

occopus_sdk::export_driver!(Ec2, inventory);
