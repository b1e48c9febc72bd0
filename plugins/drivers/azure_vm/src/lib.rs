//! The `azure_vm` driver: a node is a virtual machine of Azure.
//!
//! - A machine's name has the instance's id, so that a PUT of it is idempotent, and `If-None-Match: *` keeps it from changing
//!   what exists. One PUT makes the machine with its network card, its address and its disk, and one DELETE removes them all.
//! - The network, and the rules of public machines (a network security group), are made once for an infrastructure, a group
//!   and a location. They go with the last machine: Azure refuses to delete what is in use.
//! - `create` answers once Azure has found room for the machine, or after a few seconds. A machine for which there was none is
//!   removed, and the answer is `no-capacity`.
//! - Many machines are observed by one list. All calls of a moment share one list (`snapshot`).

mod addresses;
mod body;
mod create;
mod destroy;
mod handle;
mod inventory;
mod machine;
mod names;
mod network;
mod observe;
mod parts;
mod preflight;
mod rules;
mod section;
mod shared_list;
mod snapshot;
mod state;
mod tags;
#[cfg(test)]
mod tests;

use occopus_azure_arm::{Arm, Credentials, LOGIN_HOSTS, Purpose};
use occopus_sdk::{About, Detail, Driver, Fault, Handle, Inventory, NodeRequest, Observed, Page, Reaction, Scope};

pub use section::Section;

/// Version of the interface of Microsoft.Compute.
const COMPUTE: &str = "2024-07-01";
/// Version of the interface of disks.
const DISKS: &str = "2023-10-02";
/// Version of the interface of Microsoft.Network.
const NETWORK: &str = "2024-05-01";
/// Version of the interface of resource groups.
const RESOURCES: &str = "2021-04-01";

/// The driver.
pub struct AzureVm;

/// Access to one resource group.
pub(crate) struct Azure<'a> {
    pub(crate) arm: Arm<'a>,
    pub(crate) section: &'a Section,
}

impl<'a> Azure<'a> {
    fn new(scope: &'a Scope<Section>, purpose: Purpose) -> Result<Self, Fault> {
        let section = &scope.section;
        Ok(Self { arm: Arm::new(scope, &section.endpoint, purpose, section::pointer)?, section })
    }
}

impl Driver for AzureVm {
    type Section = Section;
    type Credentials = Credentials;

    const ABOUT: About = About {
        name: "azure_vm",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "azure_vm",
        summary: "Virtual machines on Microsoft Azure",
        network: &["endpoint", LOGIN_HOSTS[0], LOGIN_HOSTS[1], LOGIN_HOSTS[2]],
        ..About::DRIVER
    };

    fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
        // Something that the machine needs is missing.
        let made = Azure::new(&request.scope, Purpose::Creating).and_then(|azure| create::create(&azure, request));
        made.map_err(|fault| not_an_absence(fault, Reaction::GiveUp))
    }

    fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        let found = Azure::new(scope, Purpose::Existing).and_then(|azure| azure.find(instance_id));
        found.map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }

    fn observe(scope: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        let seen = Azure::new(scope, Purpose::Existing).and_then(|azure| azure.observe(handles));
        seen.map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        let gone = Azure::new(scope, Purpose::Existing).and_then(|azure| azure.destroy(handle));
        gone.map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }

    fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
        preflight::check(request)
    }
}

impl Inventory for AzureVm {
    fn list_owned(scope: &Scope<Section>, cursor: Option<&str>) -> Result<Page, Fault> {
        let page = Azure::new(scope, Purpose::Existing).and_then(|azure| azure.list_owned(cursor));
        page.map_err(|fault| not_an_absence(fault, Reaction::Retry))
    }
}

/// Replaces `not-found`: a network or a group that does not exist must not be taken for a machine that is gone.
fn not_an_absence(fault: Fault, reaction: Reaction) -> Fault {
    if fault.reaction == Reaction::NotFound { Fault { reaction, ..fault } } else { fault }
}

occopus_sdk::export_driver!(AzureVm, inventory);
