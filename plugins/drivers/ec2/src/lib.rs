//! The `ec2` driver: a node is an instance on Amazon EC2, or on a cloud that speaks its Query API.
//!
//! - The instance's id is the client token of its creation, and a tag from its first moment. Amazon makes one machine
//!   for one token; other clouds ignore tokens, so that a repeated creation searches for the tag before and after, and
//!   of two machines with one id the older one stays (`occopus_sdk::idempotent`).
//! - A first attempt costs one call. An observation takes 200 instances in one.
//! - A machine counts as gone only for the account and the region that made it, which its handle names, and only two
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

use occopus_sdk::idempotent::{self, Creation, Outcome};
use occopus_sdk::{About, Detail, Driver, Fault, Handle, Inventory, NodeRequest, Observed, Page, Scope};

use api::Api;
use handle::Reference;
use instance::Ec2Instance;
pub use section::{Credentials, Section};

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
        let creation = Creation::begin(request);
        let api = Api::new(&request.scope)?;
        let (Outcome::Found(instance) | Outcome::Made(instance)) = creation.run(&api, || {
            let made = api.launch(request)?;
            if made.instance_id().is_some() { Ok(made) } else { api.add_tags(made, request) }
        })?;
        Ok(instance.observed())
    }

    fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        Ok(idempotent::find(&Api::new(scope)?, scope.call(), instance_id)?.map(|instance| instance.observed()))
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

occopus_sdk::export_driver!(Ec2, inventory);
