//! Drivers: create, find, observe and destroy machines on one kind of cloud.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::Http;
use crate::{About, Address, Cache, Call, Credential, Credentials, Detail, Fault};

/// A driver. Keep nothing between calls: the host makes each in a fresh instance.
pub trait Driver: 'static {
    /// The `resource` section without `type`; put `deny_unknown_fields` on it.
    type Section: DeserializeOwned + JsonSchema;
    /// Credentials that it logs in with, or [`crate::NoCredentials`].
    type Credentials: Credentials;
    /// Name, version and needs of the plugin.
    const ABOUT: About;

    /// Creates the machine, or returns the one that carries this instance id already. Return as soon as the cloud's id
    /// is known. On `give-up`, `denied`, `no-capacity` leave nothing behind.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn create(request: &NodeRequest<Self::Section>) -> Result<Observed, Fault>;

    /// Finds the machine that carries this instance id. None means that none exists and none will appear.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn find(scope: &Scope<Self::Section>, instance_id: &str) -> Result<Option<Observed>, Fault>;

    /// Observes machines: as many answers as handles, in the same order; `Gone` for one that does not exist.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn observe(scope: &Scope<Self::Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault>;

    /// Removes the machine and everything made for it. Succeeds if it does not exist.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn destroy(scope: &Scope<Self::Section>, handle: &Handle) -> Result<(), Fault>;

    /// Returns all that [`Driver::create`] would refuse without asking the cloud, each with a pointer into the section
    /// (`/image`) or `#user-data`; empty when nothing is wrong. Called before anything is made, without network, credential
    /// and processes; the instance id and the addresses of other nodes are stand-ins.
    fn check(_request: &NodeRequest<Self::Section>) -> Vec<Detail> {
        Vec::new()
    }

    /// Returns the last lines that the machine wrote, oldest first, at most `lines`. The host shows them when the machine
    /// fails. Empty when it wrote nothing.
    ///
    /// # Errors
    /// `unsupported` (the default) if the cloud keeps no output; otherwise a fault that says what the host should do.
    fn tail(_scope: &Scope<Self::Section>, _handle: &Handle, _lines: u32) -> Result<String, Fault> {
        Err(Fault::unsupported("driver.no-output", "this driver keeps no output of its machines"))
    }
}

/// Optional list of all machines that carry our ownership label, for the sweep for orphans.
pub trait Inventory: Driver {
    /// Lists one page, from the cursor of the page before.
    ///
    /// # Errors
    /// A fault that says what the host should do.
    fn list_owned(scope: &Scope<Self::Section>, cursor: Option<&str>) -> Result<Page, Fault>;
}

/// Access to one cloud.
pub struct Scope<S> {
    /// Section that the user wrote.
    pub section: S,
    pub(crate) call: Call,
    pub(crate) credential: Option<Credential>,
}

impl<S> Scope<S> {
    /// Returns the call in progress: time left, cancellation, progress.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Returns the HTTP client.
    pub fn http(&self) -> Http {
        Http::new(&self.call)
    }

    /// Returns the memory across calls.
    pub fn cache(&self) -> Cache {
        Cache(())
    }

    /// Returns the credential; none if no rule of the user's credentials matches.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }
}

/// A node instance that should exist.
pub struct NodeRequest<S> {
    /// The access to the cloud.
    pub scope: Scope<S>,
    /// The identity of this instance, the same at every attempt.
    pub instance_id: String,
    /// The node's name in the description.
    pub node_name: String,
    /// The infrastructure's id.
    pub infrastructure_id: String,
    /// The infrastructure's name.
    pub infrastructure_name: String,
    /// A readable unique name of at most 80 characters.
    pub machine_name: String,
    /// User data for the first boot, from the contextualiser.
    pub user_data: Option<Vec<u8>>,
    /// The rendered attributes, an object: `command`, `env` and the like.
    pub attributes: Value,
    /// Ownership label, to be put on the machine.
    pub labels: Vec<(String, String)>,
    /// Set if an earlier `create` under this id may have reached the cloud. If not, nothing exists under it.
    pub repeated: bool,
}

/// The driver's own reference to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// Version of the format of `data`.
    pub version: u32,
    /// Reference in the driver's own format, at most 4 KiB.
    pub data: String,
}

impl Handle {
    /// Returns a handle in this format.
    pub fn new(version: u32, data: impl Into<String>) -> Self {
        Self { version, data: data.into() }
    }
}

/// State of a machine in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Being made, booting, or anything that may still become running.
    Pending,
    /// Up, as far as the cloud shows.
    Running,
    /// Exists and does not run.
    Stopped,
    /// Exists and can't recover.
    Failed,
    /// Does not exist (any more).
    Gone,
    /// Something this driver does not know.
    Unknown,
}

/// Observation of a machine: what the cloud says of it in one answer.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The driver's reference.
    pub handle: Handle,
    /// State in its life.
    pub phase: Phase,
    /// The first one is the node's address.
    pub addresses: Vec<Address>,
    /// Attributes for people and templates: id, image, zone.
    pub attributes: Vec<(String, String)>,
    /// Reason why it is stopped or failed, in the cloud's words, or why it is unknown.
    pub message: Option<String>,
}

impl Observed {
    /// Returns an observation of which nothing is known but the phase.
    pub fn new(handle: Handle, phase: Phase) -> Self {
        Self { handle, phase, addresses: Vec::new(), attributes: Vec::new(), message: None }
    }

    /// Adds an address.
    #[must_use]
    pub fn address(mut self, address: Address) -> Self {
        self.addresses.push(address);
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Sets the reason why it is stopped, failed or unknown.
    #[must_use]
    pub fn because(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }
}

/// A machine that carries our ownership label.
#[derive(Debug, Clone)]
pub struct Owned {
    /// Id from its ownership label.
    pub instance_id: String,
    /// Id from its ownership label.
    pub infrastructure_id: String,
    /// Observation of the machine.
    pub observed: Observed,
}

/// Page of an inventory.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The machines.
    pub machines: Vec<Owned>,
    /// Cursor for the next page; none on the last.
    pub cursor: Option<String>,
}
