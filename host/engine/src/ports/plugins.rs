//! Plugins as the engine sees them: one trait for each kind. The words are those of the WIT contract in `wit/`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::fault::{Detail, Fault, Reaction};

/// Finds what renders nodes, by the keyword that the user wrote.
pub trait Renderers: Send + Sync {
    /// The contextualiser for a `contextualisation.type`.
    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>>;
    /// The config manager for a `config_management.type`.
    fn config_manager(&self, _keyword: &str) -> Option<Arc<dyn ConfigManager>> {
        None
    }
    /// The contextualiser `basic` that came with the program, whatever was installed in its place. What decides about
    /// credentials and grants is rendered by it alone.
    fn basic_contextualiser(&self) -> Option<Arc<dyn Contextualiser>> {
        self.contextualiser("basic")
    }
    /// Returns what the driver for a `resource.type` lets others decide.
    fn open_decisions(&self, _driver: &str) -> OpenDecisions {
        OpenDecisions::default()
    }
}

/// Finds plugins by the keyword that the user wrote.
pub trait Plugins: Renderers + 'static {
    /// The driver for a `resource.type`.
    fn driver(&self, keyword: &str) -> Option<Arc<dyn Driver>>;
    /// The checker for a key in `health_check`.
    fn health_checker(&self, keyword: &str) -> Option<Arc<dyn HealthChecker>>;
    /// The same plugins, for whoever only wants to see what would be.
    fn offline(&self) -> Arc<dyn OfflinePlugins>;
}

/// Plugins whose calls reach nothing: no network, no credential, no process. Previews have these and no others.
#[async_trait]
pub trait OfflinePlugins: Renderers {
    /// Returns all that the driver for a `resource.type` would refuse (see [`Driver::check`]); none without such a driver.
    async fn check(&self, driver: &str, request: &CreateRequest) -> Result<Vec<Detail>, Fault>;
}

/// Decisions that a driver leaves to others than the user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenDecisions {
    /// Keys of its section that a contextualiser may fill in.
    pub fillable: BTreeSet<String>,
    /// True where it runs programs on this machine, so that what a node runs is the user's to say.
    pub runs_programs: bool,
}

/// What goes with every call.
#[derive(Clone)]
pub struct CallContext {
    /// For logs and progress: the infrastructure's id.
    pub infrastructure_id: String,
    /// For logs and progress: the node's name; empty when the call is for many.
    pub node: String,
    /// How long the call may take in all.
    pub timeout: Duration,
    /// Cancelled when the user gives up.
    pub cancel: CancellationToken,
    /// Where the plugin's progress goes.
    pub progress: Option<ProgressCallback>,
    /// Only to see what would be: nothing may be run or changed.
    pub preview: bool,
}

/// Receives a phase and perhaps a detail: ("pulling image", "42 %").
pub type ProgressCallback = Arc<dyn Fn(&str, Option<&str>) + Send + Sync>;

/// One access to one cloud. The credential is not here: whoever implements [`Driver`] finds it by the section.
#[derive(Clone)]
pub struct CallScope {
    /// What goes with the call.
    pub context: CallContext,
    /// The rendered `resource` section, with `type`.
    pub section: Arc<Value>,
}

/// A node instance that should exist.
#[derive(Clone)]
pub struct CreateRequest {
    /// Where.
    pub scope: CallScope,
    /// UUID; the idempotency token.
    pub instance_id: String,
    /// Name of the node in the description.
    pub node_name: String,
    /// Of the infrastructure.
    pub infrastructure_id: String,
    /// Of the infrastructure.
    pub infrastructure_name: String,
    /// Readable unique name, at most 80 characters.
    pub machine_name: String,
    /// What the contextualiser rendered for the first boot.
    pub user_data: Option<Vec<u8>>,
    /// What the contextualiser rendered for the driver: an object.
    pub attributes: Value,
    /// May an earlier attempt under this id have reached the cloud?
    pub repeated: bool,
}

impl CreateRequest {
    /// Our mark on a machine: label names and values.
    pub fn labels(&self) -> Vec<(String, String)> {
        vec![
            ("occopus.instance".into(), self.instance_id.clone()),
            ("occopus.infrastructure".into(), self.infrastructure_id.clone()),
            ("occopus.node".into(), self.node_name.clone()),
        ]
    }
}

/// The driver's own reference to a machine; opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handle {
    /// Of the format of `data`.
    pub version: u32,
    /// At most 4 KiB.
    pub data: String,
}

/// What a cloud says of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// May still become `Running`.
    Pending,
    /// Up, as far as the cloud can tell.
    Running,
    /// Exists and does not run.
    Stopped,
    /// Exists and can't recover.
    Failed,
    /// Does not exist (any more).
    Gone,
    /// Nothing can be concluded.
    Unknown,
}

/// Where a node can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Address {
    /// IP address or DNS name.
    pub value: String,
    /// Only from inside the cloud's own network.
    #[serde(default)]
    pub internal: bool,
}

/// One machine, as seen in one answer of its cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedMachine {
    /// To be handed back to the driver.
    pub handle: Handle,
    /// Its state.
    pub phase: Phase,
    /// The first one is the node's address.
    pub addresses: Vec<Address>,
    /// For people and templates.
    pub attributes: Vec<(String, String)>,
    /// Reason why it is stopped, failed or unknown.
    pub message: Option<String>,
}

/// A machine that carries our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedMachine {
    /// The instance id on it.
    pub instance_id: String,
    /// The infrastructure's id on it.
    pub infrastructure_id: String,
    /// Its state.
    pub observed: ObservedMachine,
}

/// Some of the machines that carry our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedPage {
    /// These.
    pub machines: Vec<OwnedMachine>,
    /// To get the next page; none on the last.
    pub cursor: Option<String>,
}

/// A cloud.
#[async_trait]
pub trait Driver: Send + Sync {
    /// Creates a machine, or answers with the one that this instance id created before.
    async fn create(&self, request: &CreateRequest) -> Result<ObservedMachine, Fault>;
    /// The machine with this instance id. `None`: there is none and none will appear.
    async fn find(&self, scope: &CallScope, instance_id: &str) -> Result<Option<ObservedMachine>, Fault>;
    /// As many answers as handles, in their order.
    async fn observe(&self, scope: &CallScope, handles: &[Handle]) -> Result<Vec<ObservedMachine>, Fault>;
    /// Removes a machine. Ok when there is none.
    async fn destroy(&self, scope: &CallScope, handle: &Handle) -> Result<(), Fault>;
    /// Everything that carries our mark, by page.
    async fn list_owned(&self, _scope: &CallScope, _cursor: Option<&str>) -> Result<OwnedPage, Fault> {
        Err(Fault::new(Reaction::Unsupported, "driver.no-inventory", "this driver can't list its machines"))
    }
    /// Returns all that `create` would refuse without asking the cloud; pointers are from the root of the implementation.
    /// Neither network nor credential nor process is used.
    async fn check(&self, _request: &CreateRequest) -> Result<Vec<Detail>, Fault> {
        Ok(Vec::new())
    }
    /// Returns the last lines that the machine wrote, at most this many and at most [`OUTPUT_BYTES`].
    async fn tail(&self, _scope: &CallScope, _handle: &Handle, _lines: u32) -> Result<String, Fault> {
        Err(Fault::new(Reaction::Unsupported, "driver.no-output", "this driver keeps no output of its machines"))
    }
}

/// The most that is kept of a machine's output, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 4 * 1024;
/// The most that is kept of it, in lines.
pub const MAX_OUTPUT_LINES: u32 = 20;

/// The node to check.
#[derive(Clone)]
pub struct HealthTarget {
    /// What goes with the call.
    pub context: CallContext,
    /// What the user wrote under the checker's key.
    pub section: Arc<Value>,
    /// The node's addresses; the first one is checked.
    pub addresses: Vec<Address>,
    /// Name of the node in the description.
    pub node_name: String,
    /// UUID.
    pub instance_id: String,
    /// Variables for templates in the section: an object.
    pub template_data: Value,
}

/// What a check concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Works.
    Healthy,
    /// Does not.
    Unhealthy,
    /// Nothing can be concluded.
    CannotTell,
}

/// One look at a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The conclusion.
    pub verdict: Verdict,
    /// One line.
    pub reason: String,
    /// What was looked at, with the result of each.
    pub details: Vec<(String, String)>,
}

/// Looks at a node, once.
#[async_trait]
pub trait HealthChecker: Send + Sync {
    /// A fault means that the section can't be used.
    async fn check(&self, target: &HealthTarget) -> Result<CheckResult, Fault>;
}

/// An instance that exists already, for templates.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceFacts {
    /// UUID.
    pub instance_id: String,
    /// Name of its node in the description.
    pub node_name: String,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// All that is known of it: an object.
    pub data: Value,
}

/// The node to contextualise.
#[derive(Clone)]
pub struct ContextRequest {
    /// What goes with the call.
    pub context: CallContext,
    /// The `contextualisation` section, unrendered; an empty object when there is none.
    pub section: Arc<Value>,
    /// The `resource` section, unrendered.
    pub resource: Arc<Value>,
    /// Variables for templates: an object.
    pub template_data: Value,
    /// `connections`: an array of objects.
    pub connections: Value,
    /// All instances of the infrastructure in the order of the description, oldest first within a node.
    pub instances: Arc<Vec<Arc<InstanceFacts>>>,
}

/// What a node gets to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// For the machine's first boot.
    pub user_data: Option<Vec<u8>>,
    /// For the driver: an object.
    pub attributes: Value,
    /// Keys for the `resource` section: those that its driver lets a contextualiser fill in.
    pub resource: Option<Value>,
    /// What is doubtful in what the user wrote.
    pub warnings: Vec<Warning>,
}

/// Something in the user's section that probably does not do what they want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Stable code for programs, such as `cloudinit.ignored`.
    pub code: String,
    /// One sentence. `line N: ` before it names a line of the text to which the pointer leads.
    pub message: String,
    /// JSON pointer (RFC 6901) from the root of the implementation in the node definition.
    pub pointer: String,
}

impl Warning {
    /// With a pointer from the root of the implementation instead of its section, which stands there.
    #[must_use]
    pub fn within(self, section: &str) -> Self {
        Self { pointer: format!("{section}{}", self.pointer), ..self }
    }
}

/// Renders what a node gets to know when it starts.
#[async_trait]
pub trait Contextualiser: Send + Sync {
    /// Same inputs, same answer.
    async fn render(&self, request: &ContextRequest) -> Result<Rendered, Fault>;

    /// Whether it came with the program, so that it renders what the user wrote and nothing else.
    fn is_bundled(&self) -> bool {
        false
    }
}

/// Configures nodes by other means than their first boot.
#[async_trait]
pub trait ConfigManager: Send + Sync {
    /// Variables that it adds to the templates of a node: an object. The scope has the rendered `config_management` section.
    /// Neither network nor credential is used.
    async fn template_data(&self, scope: &CallScope) -> Result<Value, Fault>;
}
