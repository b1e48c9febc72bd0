//! The `nova` driver: a node is a server of OpenStack.
//!
//! - Nova has no idempotency token. The instance's id is in the server's metadata, a repeated creation searches for it
//!   before and after, and of two servers with one id the older one stays (`occopus_sdk::idempotent`).
//! - A server counts as gone only if Nova itself says so, for the project and the region that made it, which its handle
//!   names: see `absence`.
//! - One login serves all calls for as long as the token lives.
//! - A floating IP is associated through Neutron, and released again if the driver allocated it.

mod absence;
mod catalogue;
mod cloud;
mod console;
mod deletion;
mod floating;
mod handle;
mod name_lookup;
mod observe;
mod preflight;
mod refusal;
mod section;
mod server;
mod servers;
mod session;
#[cfg(test)]
mod tests;

use occopus_sdk::idempotent::{self, Creation, Outcome};
use occopus_sdk::{
    About, Detail, Driver, Fault, Handle, Inventory, NodeRequest, Observed, Page, Phase, Reaction, Scope,
};

use cloud::Cloud;
use handle::Reference;
pub use section::{Credentials, Section};
use server::Server;
use servers::Servers;

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
        let seen = Cloud::for_existing_servers(scope).and_then(|cloud| cloud.observe(handles));
        seen.map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        let gone = Cloud::for_existing_servers(scope).and_then(|cloud| cloud.destroy(&Reference::of(handle)));
        gone.map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }

    fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
        preflight::check(request)
    }

    fn tail(scope: &Scope<Section>, handle: &Handle, lines: u32) -> Result<String, Fault> {
        Cloud::for_existing_servers(scope)?.console(&Reference::of(handle).id, lines)
    }
}

impl Inventory for Nova {
    fn list_owned(scope: &Scope<Section>, cursor: Option<&str>) -> Result<Page, Fault> {
        let list = |cloud: Cloud| {
            let (servers, cursor) = cloud.list_page(None, cursor)?;
            let tenancy = cloud.tenancy();
            let machines =
                servers.iter().filter(|server| server.is_alive()).filter_map(|server| server.owned(&tenancy));
            Ok(Page { machines: machines.collect(), cursor })
        };
        Cloud::for_existing_servers(scope).and_then(list).map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }
}

fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
    let creation = Creation::begin(request);
    let cloud = Cloud::new(&request.scope)?;
    let servers = Servers { cloud: &cloud, name: Some(servers::name(request)) };
    match creation.run(&servers, || cloud.create_server(request))? {
        Outcome::Found(server) => finish_creation(&cloud, &server.reference(cloud.tenancy()), Some(&server)),
        Outcome::Made(made) => finish_creation(&cloud, &made, None),
    }
}

fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
    let cloud = Cloud::for_existing_servers(scope)?;
    let servers = Servers { cloud: &cloud, name: None };
    let Some(server) = idempotent::find(&servers, scope.call(), instance_id)? else { return Ok(None) };
    match finish_creation(&cloud, &server.reference(cloud.tenancy()), Some(&server)) {
        Ok(observed) => Ok(Some(observed)),
        // It was deleted.
        Err(fault) if is_final(fault.reaction) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Replaces `not-found`: a network or a list that does not exist must not be taken for a server that is gone.
fn not_an_absence(fault: Fault, reaction: Reaction) -> Fault {
    if fault.reaction == Reaction::NotFound { Fault { reaction, ..fault } } else { fault }
}

/// Assigns the floating IP to the server. A server that can't have one is deleted.
fn finish_creation(cloud: &Cloud, made: &Reference, server: Option<&Server>) -> Result<Observed, Fault> {
    let mut observed = match server {
        Some(server) => server.observed(&cloud.tenancy()),
        None => Observed::new(made.handle(), Phase::Pending),
    };
    if !cloud.section.wants_floating_ip() || server.is_some_and(Server::has_floating_ip) {
        return Ok(observed);
    }
    match cloud.assign_floating_ip(&made.id) {
        Ok(address) => {
            observed.addresses.insert(0, address);
            Ok(observed)
        }
        Err(fault) if is_final(fault.reaction) => match cloud.delete(made) {
            Ok(_) => Err(fault),
            // It must not be forgotten: `find` tries again to delete it.
            Err(_) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }
                .detail(format!("the server {} was made for this and can't be deleted yet", made.id))),
        },
        // It exists: `find` or the next attempt assigns what is missing.
        Err(fault) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }),
    }
}

/// Returns true if a repetition would not help.
fn is_final(reaction: Reaction) -> bool {
    !matches!(reaction, Reaction::Retry | Reaction::UnknownOutcome)
}

occopus_sdk::export_driver!(Nova, inventory);
