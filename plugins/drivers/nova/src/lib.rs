//! The `nova` driver: a node is a server of OpenStack.
//!
//! - Nova has no idempotency token. The instance's id stands in the server's metadata, whoever repeats a creation looks for
//!   it before and after, and of two servers with one id the older one stays. The last look waits for what may still
//!   arrive.
//! - One login serves all calls for as long as the token lives.
//! - A floating IP is associated through Neutron, and released again if the driver allocated it.

mod catalogue;
mod cloud;
mod floating;
mod names;
mod refusal;
mod section;
mod server;
mod servers;
mod session;
#[cfg(test)]
mod tests;

use std::thread::sleep;
use std::time::{Duration, Instant};

use occopus_sdk::{About, Call, Driver, Fault, Handle, Inventory, NodeRequest, Observed, Page, Reaction, Scope};

use cloud::Cloud;
pub use section::{Credentials, Section};
use server::{Server, handle_of};

/// A first creation that took longer may have been overtaken by another owner of the infrastructure, and looks for
/// itself. One that took less has arrived when whoever repeats it has waited for as long.
const OVERTAKEN: Duration = Duration::from_secs(5);
/// Time for the answer that says what happened.
const MARGIN: Duration = Duration::from_secs(5);

/// The driver.
pub struct Nova;

impl Driver for Nova {
    type Section = Section;
    type Credentials = Credentials;

    const ABOUT: About = About {
        name: "nova",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "nova",
        summary: "Servers of OpenStack",
        network: &["endpoint", "announced"],
        ..About::DRIVER
    };

    fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
        let begun = Instant::now();
        let cloud = Cloud::new(&request.scope)?;
        let name = servers::name(request);
        if request.repeated
            && let Some(there) = cloud.the_one(&request.instance_id, Some(name))?
        {
            return complete(&cloud, &there.id, Some(&there));
        }
        let made = cloud.run(request)?;
        if request.repeated {
            outlast(request.scope.call(), begun);
        } else if begun.elapsed() < OVERTAKEN {
            return complete(&cloud, &made, None);
        }
        match cloud.settled(&request.instance_id, Some(name)) {
            Ok(Some(one)) => complete(&cloud, &one.id, Some(&one)),
            Ok(None) => complete(&cloud, &made, None),
            // It is there, and perhaps not alone: `find` will tell.
            Err(fault) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }),
        }
    }

    fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        let cloud = Cloud::new(scope)?;
        let Some(server) = cloud.settled(instance_id, None)? else { return Ok(None) };
        match complete(&cloud, &server.id, Some(&server)) {
            Ok(observed) => Ok(Some(observed)),
            // It was taken back.
            Err(fault) if is_final(fault.reaction) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn observe(scope: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        Cloud::new(scope)?.observe(handles)
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        Cloud::new(scope)?.delete(&handle.data)
    }
}

impl Inventory for Nova {
    fn list_owned(scope: &Scope<Section>, cursor: Option<&str>) -> Result<Page, Fault> {
        let (servers, cursor) = Cloud::new(scope)?.page(None, cursor)?;
        let machines = servers.iter().filter(|server| server.lives()).filter_map(Server::owned).collect();
        Ok(Page { machines, cursor })
    }
}

/// Waits for a first creation that was sent before this one began.
fn outlast(call: &Call, begun: Instant) {
    if !call.cancelled() {
        sleep(OVERTAKEN.saturating_sub(begun.elapsed()).min(call.remaining().saturating_sub(MARGIN)));
    }
}

/// Gives the server what belongs to it. One that can't have it is taken back.
fn complete(cloud: &Cloud, id: &str, server: Option<&Server>) -> Result<Observed, Fault> {
    let mut observed =
        server.map_or_else(|| Observed::new(handle_of(id), occopus_sdk::Phase::Pending), Server::observed);
    if !cloud.section.wants_floating_ip() || server.is_some_and(Server::has_floating_ip) {
        return Ok(observed);
    }
    match cloud.float(id) {
        Ok(address) => {
            observed.addresses.insert(0, address);
            Ok(observed)
        }
        Err(fault) if is_final(fault.reaction) => match cloud.delete(id) {
            Ok(()) => Err(fault),
            // It must not be forgotten: `find` tries again to delete it.
            Err(_) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }
                .detail(format!("the server {id} was made for this and can't be deleted yet"))),
        },
        // It is there: what is missing is done by `find`, or by the next attempt.
        Err(fault) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }),
    }
}

/// Trying again would not help.
fn is_final(reaction: Reaction) -> bool {
    !matches!(reaction, Reaction::Retry | Reaction::UnknownOutcome)
}

occopus_sdk::export_driver!(Nova, inventory);
