//! Plugins as the engine sees them: one trait for each kind. The words are those of the WIT contract in `wit/`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::fault::{Detail, Fault, Reaction};

/// Lookup of the plugins that render nodes, by the keyword that the user wrote.
pub trait Renderers: Send + Sync {
    /// Returns the contextualiser for a `contextualisation.type`.
    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>>;
    /// Returns the config manager for a `config_management.type`.
    fn config_manager(&self, _keyword: &str) -> Option<Arc<dyn ConfigManager>> {
        None
    }
    /// Returns the bundled contextualiser `basic`, even if another one is installed in its place. Only it renders the
    /// texts that decide about credentials and grants.
    fn basic_contextualiser(&self) -> Option<Arc<dyn Contextualiser>> {
        self.contextualiser("basic")
    }
    /// Returns the decisions that the driver for a `resource.type` leaves open.
    fn open_decisions(&self, _driver: &str) -> OpenDecisions {
        OpenDecisions::default()
    }
}

/// Lookup of plugins, by the keyword that the user wrote.
pub trait Plugins: Renderers + 'static {
    /// Returns the driver for a `resource.type`.
    fn driver(&self, keyword: &str) -> Option<Arc<dyn Driver>>;
    /// Returns the health checker for a key in `health_check`.
    fn health_checker(&self, keyword: &str) -> Option<Arc<dyn HealthChecker>>;
    /// Returns the same plugins for previews.
    fn offline(&self) -> Arc<dyn OfflinePlugins>;
}

/// Plugins whose calls reach no network, no credential and no process. Previews use only these.
#[async_trait]
pub trait OfflinePlugins: Renderers {
    /// Returns what the driver for a `resource.type` finds in a request (see [`Driver::check`]); nothing if there is no such
    /// driver.
    ///
    /// # Errors
    /// Fails if the plugin fails.
    async fn check(&self, driver: &str, request: &CreateRequest) -> Result<Preflight, Fault>;
}

/// Decisions that a driver leaves open to contextualisers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenDecisions {
    /// Keys of the `resource` section that a contextualiser may fill in.
    pub fillable: BTreeSet<String>,
    /// Set if the driver runs programs on this machine, so that only the user may choose what a node runs.
    pub runs_programs: bool,
}

/// The context of a plugin call.
#[derive(Clone)]
pub struct CallContext {
    /// Id of the infrastructure, for logs and progress.
    pub infrastructure_id: String,
    /// Name of the node, for logs and progress; empty if the call is for many.
    pub node: String,
    /// Time-out of the whole call.
    pub timeout: Duration,
    /// Cancelled when the run is stopped.
    pub cancel: CancellationToken,
    /// Receiver of the plugin's progress.
    pub progress: Option<ProgressCallback>,
    /// Set if the call is for a preview: nothing may be run or changed.
    pub preview: bool,
}

/// A callback for progress, with a phase and perhaps a detail: ("pulling image", "42 %").
pub type ProgressCallback = Arc<dyn Fn(&str, Option<&str>) + Send + Sync>;

/// An access to one cloud. It has no credentials: an implementation of [`Driver`] finds them by the section.
#[derive(Clone)]
pub struct CallScope {
    /// Context of the call.
    pub context: CallContext,
    /// Rendered `resource` section, with `type`.
    pub section: Arc<Value>,
}

/// A request to create an instance.
#[derive(Clone)]
pub struct CreateRequest {
    /// Access to the cloud.
    pub scope: CallScope,
    /// Id of the instance, a UUID; the idempotency token.
    pub instance_id: String,
    /// Name of the node in the description.
    pub node_name: String,
    /// Id of the infrastructure.
    pub infrastructure_id: String,
    /// Name of the infrastructure.
    pub infrastructure_name: String,
    /// Readable unique name, at most 80 characters.
    pub machine_name: String,
    /// Data for the machine's first boot, rendered by the contextualiser.
    pub user_data: Option<Vec<u8>>,
    /// Attributes for the driver, rendered by the contextualiser: an object.
    pub attributes: Value,
    /// Set if an earlier attempt under this id may have reached the cloud.
    pub repeated: bool,
}

impl CreateRequest {
    /// Returns the ownership label of the machine, as names and values.
    pub fn labels(&self) -> Vec<(String, String)> {
        vec![
            ("occopus.instance".into(), self.instance_id.clone()),
            ("occopus.infrastructure".into(), self.infrastructure_id.clone()),
            ("occopus.node".into(), self.node_name.clone()),
        ]
    }
}

/// The driver's own reference to a machine, opaque to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handle {
    /// Version of the format of `data`.
    pub version: u32,
    /// Reference of at most 4 KiB.
    pub data: String,
}

/// The state of a machine as its cloud reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Starting: it may still become `Running`.
    Pending,
    /// Running, as far as the cloud can tell.
    Running,
    /// Existing, and not running.
    Stopped,
    /// Existing, and unable to recover.
    Failed,
    /// Absent: it does not exist, or not any more.
    Gone,
    /// Unknown: no conclusion is possible.
    Unknown,
}

impl Phase {
    /// Returns whether the machine does not run any more.
    pub(crate) fn is_dead(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Gone)
    }
}

/// An address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Address {
    /// IP address or DNS name.
    pub value: String,
    /// Set if it can be reached only from inside the cloud's own network.
    #[serde(default)]
    pub internal: bool,
}

/// A machine as observed in one answer of its cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedMachine {
    /// Handle for later calls of the driver.
    pub handle: Handle,
    /// State of the machine.
    pub phase: Phase,
    /// Addresses; the first one is the node's.
    pub addresses: Vec<Address>,
    /// Attributes for people and templates.
    pub attributes: Vec<(String, String)>,
    /// Reason why it is stopped, failed or unknown.
    pub message: Option<String>,
}

/// A machine that carries an ownership label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledMachine {
    /// Id of the instance in the label.
    pub instance_id: String,
    /// Id of the infrastructure in the label.
    pub infrastructure_id: String,
    /// Observed state of the machine.
    pub observed: ObservedMachine,
}

/// A page of the machines that carry an ownership label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledPage {
    /// Machines of this page.
    pub machines: Vec<LabelledMachine>,
    /// Cursor of the next page; `None` on the last one.
    pub cursor: Option<String>,
}

/// A driver: creates, finds, observes, lists and destroys machines of one kind of cloud.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Creates a machine, or returns the one that was created before under this instance id.
    ///
    /// # Errors
    /// Fails with [`Reaction::UnknownOutcome`] if a machine may have been created; with other reactions none was.
    async fn create(&self, request: &CreateRequest) -> Result<ObservedMachine, Fault>;
    /// Finds the machine with this instance id. `None` means that there is none, and that none will appear.
    ///
    /// # Errors
    /// Fails if the cloud cannot be called, or if its answer proves neither.
    async fn find(&self, scope: &CallScope, instance_id: &str) -> Result<Option<ObservedMachine>, Fault>;
    /// Observes machines; returns as many answers as handles, in their order.
    ///
    /// # Errors
    /// Fails if the cloud cannot be called, or if its answer proves nothing.
    async fn observe(&self, scope: &CallScope, handles: &[Handle]) -> Result<Vec<ObservedMachine>, Fault>;
    /// Destroys a machine. Succeeds if there is none.
    ///
    /// # Errors
    /// Fails with [`Reaction::UnknownOutcome`] if the machine may have been destroyed.
    async fn destroy(&self, scope: &CallScope, handle: &Handle) -> Result<(), Fault>;
    /// Lists the machines that carry an ownership label, by page.
    ///
    /// # Errors
    /// Fails with [`Reaction::Unsupported`] if the driver cannot list, or with another reaction if the call fails.
    async fn list_owned(&self, _scope: &CallScope, _cursor: Option<&str>) -> Result<LabelledPage, Fault> {
        Err(Fault::new(Reaction::Unsupported, "driver.no-inventory", "this driver can't list its machines"))
    }
    /// Returns everything in a request that `create` would refuse without a call to the cloud, and warnings about it; pointers
    /// start at the root of the implementation. Uses no network, no credential and no process.
    ///
    /// # Errors
    /// Fails if the plugin fails.
    async fn check(&self, _request: &CreateRequest) -> Result<Preflight, Fault> {
        Ok(Preflight::default())
    }
    /// Returns the last lines that the machine wrote, at most `lines` and at most [`MAX_OUTPUT_BYTES`].
    ///
    /// # Errors
    /// Fails with [`Reaction::Unsupported`] if the driver keeps no output, or with another reaction if the call fails.
    async fn tail(&self, _scope: &CallScope, _handle: &Handle, _lines: u32) -> Result<String, Fault> {
        Err(Fault::new(Reaction::Unsupported, "driver.no-output", "this driver keeps no output of its machines"))
    }
}

/// Largest part of a machine's output that is kept, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 4 * 1024;
/// Largest part of a machine's output that is kept, in lines.
pub const MAX_OUTPUT_LINES: u32 = 20;

/// The target of a health check.
#[derive(Clone)]
pub struct HealthTarget {
    /// Context of the call.
    pub context: CallContext,
    /// Section that the user wrote under the checker's key.
    pub section: Arc<Value>,
    /// Addresses of the node; the first one is checked.
    pub addresses: Vec<Address>,
    /// Name of the node in the description.
    pub node_name: String,
    /// Id of the instance, a UUID.
    pub instance_id: String,
    /// Variables for templates in the section: an object.
    pub template_data: Value,
}

/// The conclusion of a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Healthy.
    Healthy,
    /// Unhealthy.
    Unhealthy,
    /// Unknown: the check allows no conclusion.
    CannotTell,
}

/// The result of one health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Conclusion.
    pub verdict: Verdict,
    /// Reason for the verdict, in one line.
    pub reason: String,
    /// Items that were checked, with the result of each.
    pub details: Vec<(String, String)>,
}

/// A health checker: checks a node once per call.
#[async_trait]
pub trait HealthChecker: Send + Sync {
    /// Checks the health of a node.
    ///
    /// # Errors
    /// Fails if the section cannot be used, or if the call fails; that the node is unhealthy is a result.
    async fn check(&self, target: &HealthTarget) -> Result<CheckResult, Fault>;
}

/// Facts about an instance that exists already, for the templates of its peers.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceFacts {
    /// Id of the instance, a UUID.
    pub instance_id: String,
    /// Name of its node in the description.
    pub node_name: String,
    /// Addresses of the instance.
    pub addresses: Vec<Address>,
    /// All data of the instance: an object.
    pub data: Value,
}

/// A request to contextualise a node.
#[derive(Clone)]
pub struct ContextRequest {
    /// Context of the call.
    pub context: CallContext,
    /// `contextualisation` section, unrendered; an empty object if there is none.
    pub section: Arc<Value>,
    /// `resource` section, unrendered.
    pub resource: Arc<Value>,
    /// Variables for templates: an object.
    pub template_data: Value,
    /// Sources of the attributes that the node maps (`connections`): an array of objects.
    pub connections: Value,
    /// All instances of the infrastructure in the order of the description, oldest first within a node.
    pub instances: Arc<Vec<Arc<InstanceFacts>>>,
}

/// The rendered data of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Data for the machine's first boot.
    pub user_data: Option<Vec<u8>>,
    /// Attributes for the driver: an object.
    pub attributes: Value,
    /// Keys for the `resource` section, of those that its driver lets a contextualiser fill in.
    pub resource: Option<Value>,
    /// Warnings about the user's text.
    pub warnings: Vec<Warning>,
}

/// Result of a driver's check of a request, before anything is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preflight {
    /// Everything that `create` would refuse.
    pub refusals: Vec<Detail>,
    /// Warnings about what `create` would do.
    pub warnings: Vec<Warning>,
}

/// A warning about a part of the user's section that probably has another effect than intended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Stable code for programs, such as `cloudinit.ignored`.
    pub code: String,
    /// Message of one sentence. `line N: ` before it names a line of the text to which the pointer leads.
    pub message: String,
    /// JSON pointer (RFC 6901) from the root of the implementation in the node definition.
    pub pointer: String,
}

impl Warning {
    /// Returns the warning with a pointer from the root of the implementation instead of its `section`.
    #[must_use]
    pub fn within(self, section: &str) -> Self {
        Self { pointer: format!("{section}{}", self.pointer), ..self }
    }
}

/// A contextualiser: renders the data that a node starts with.
#[async_trait]
pub trait Contextualiser: Send + Sync {
    /// Renders the data of a node. The result depends on the request alone.
    ///
    /// # Errors
    /// Fails if the section cannot be rendered, or if the plugin fails.
    async fn render(&self, request: &ContextRequest) -> Result<Rendered, Fault>;

    /// Returns whether it is bundled with the program, so that it renders only the user's text.
    fn is_bundled(&self) -> bool {
        false
    }
}

/// A config manager: configures nodes by other means than their first boot.
#[async_trait]
pub trait ConfigManager: Send + Sync {
    /// Returns the variables that it adds to the templates of a node: an object. The scope has the rendered
    /// `config_management` section. Uses no network and no credential.
    ///
    /// # Errors
    /// Fails if the section cannot be used, or if the plugin fails.
    async fn template_data(&self, scope: &CallScope) -> Result<Value, Fault>;
}
