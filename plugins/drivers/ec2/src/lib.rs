//! The `ec2` driver: a node is an instance on Amazon EC2, or on a cloud that speaks its Query API.
//!
//! - The instance's id is the client token of its creation, and a tag from its first moment. Amazon keeps a second machine
//!   from being made for one token; other clouds ignore tokens, so whoever repeats a creation looks for the tag before and
//!   after, and of two machines with one id the older one stays.
//! - What the first attempt costs is one call. Observation takes 200 instances in one.
//! - `destroy` terminates at once. It does not stop before, as the existing tool did: some machines can't be stopped.

mod api;
mod instance;
mod instances;
mod refusal;
mod section;
mod sign;
#[cfg(test)]
mod tests;
mod xml;

use std::time::{Duration, Instant};

use occopus_sdk::{About, Driver, Fault, Handle, Inventory, NodeRequest, Observed, Page, Scope};

use api::Api;
use instance::{Ec2Instance, INSTANCE, Reference};
pub use section::{Credentials, Section};

/// A creation that took longer may have been overtaken by another owner of the infrastructure.
const OVERTAKEN: Duration = Duration::from_secs(5);

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
        if request.repeated
            && let Some(there) = api.the_one(&request.instance_id)?
        {
            return Ok(there.observed());
        }
        let begun = Instant::now();
        let made = api.run(request)?;
        if made.tag(INSTANCE).is_none() {
            api.tag(&made.id, request).map_err(|fault| unmarked(&api, &made, fault))?;
        }
        if request.repeated || begun.elapsed() > OVERTAKEN {
            // A look that fails or finds nothing yet changes nothing: this one is there.
            if let Ok(Some(one)) = api.the_one(&request.instance_id) {
                return Ok(one.observed());
            }
        }
        Ok(made.observed())
    }

    fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        Ok(Api::new(scope)?.settled(instance_id)?.map(|instance| instance.observed()))
    }

    fn observe(scope: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        Api::new(scope)?.observe(handles)
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        Api::new(scope)?.terminate(&Reference::of(handle).id)
    }
}

impl Inventory for Ec2 {
    fn list_owned(scope: &Scope<Section>, cursor: Option<&str>) -> Result<Page, Fault> {
        let (instances, cursor) = Api::new(scope)?.marked(cursor)?;
        let machines = instances.iter().filter(|instance| instance.lives()).filter_map(Ec2Instance::owned).collect();
        Ok(Page { machines, cursor })
    }
}

/// What can't be marked could not be found again: it is taken back.
fn unmarked(api: &Api, made: &Ec2Instance, fault: Fault) -> Fault {
    match api.terminate(&made.id) {
        Ok(()) => fault,
        Err(_) => fault.detail(format!("{} was made, can't be tagged and can't be terminated: remove it", made.id)),
    }
}

occopus_sdk::export_driver!(Ec2, inventory);
