//! Runs a plugin natively against a fake host, without a sandbox: for unit tests.
//!
//! ```ignore
//! let host = FakeHost::default().http(|request| Ok(Response { status: 204, ..Response::default() }));
//! let harness = testing::driver::<Docker>(host, json!({"endpoint": "tcp://127.0.0.1:2375"}))?;
//! harness.create("instance-1", json!({"command": "sleep 1"}))?;
//! assert_eq!(testing::host(|host| host.requests.len()), 1);
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::export::section;
use crate::http::{HttpError, HttpErrorKind, Request, Response};
use crate::platform::Context;
use crate::process::{Command, Ending, Process, State};
use crate::{
    Address, Call, ConfigManager, ConfigScope, ContextRequest, Contextualiser, Credential, Detail, Driver, Facts,
    Fault, Handle, HealthChecker, Instance, Inventory, NodeRequest, Observation, Observed, Page, Rendered, Scope,
    Target,
};

/// Function that answers HTTP requests.
pub type Handler = Arc<dyn Fn(&Request) -> Result<Response, HttpError>>;

/// A fake host, made by a test. Its fields record what the plugin did.
pub struct FakeHost {
    /// Time until the deadline.
    pub remaining_ms: u64,
    /// Set if [`Call::wait`] waits; otherwise it returns at once.
    pub time_passes: bool,
    /// Set if the user cancelled the call.
    pub cancelled: bool,
    /// Value of `repeated` in requests.
    pub repeated: bool,
    /// User data from the contextualiser.
    pub user_data: Option<Vec<u8>>,
    /// Fields of the credential; no credential if empty.
    pub credential: BTreeMap<String, String>,
    /// Handler of HTTP requests; refuses all by default.
    pub http: Handler,
    /// HTTP requests that were sent.
    pub requests: Vec<Request>,
    /// Lines that were logged.
    pub log: Vec<String>,
    /// Progress that was reported.
    pub progress: Vec<(String, Option<String>)>,
    /// Warnings: code, message, pointer.
    pub warnings: Vec<(String, String, String)>,
    /// The memory across calls.
    pub cache: BTreeMap<String, Vec<u8>>,
    /// Addresses that answer an echo.
    pub reachable: Vec<String>,
    /// Processes by instance id.
    pub processes: BTreeMap<String, Process>,
    /// The command of each started process.
    pub commands: BTreeMap<String, Command>,
    /// Endings of processes by instance id.
    pub endings: BTreeMap<String, Ending>,
    /// Output of processes by instance id.
    pub outputs: BTreeMap<String, String>,
}

impl Default for FakeHost {
    fn default() -> Self {
        let refuse = |request: &Request| {
            Err(HttpError { kind: HttpErrorKind::Refused, message: format!("no handler for {}", request.url) })
        };
        Self {
            remaining_ms: 60_000,
            time_passes: true,
            cancelled: false,
            repeated: false,
            user_data: None,
            credential: BTreeMap::new(),
            http: Arc::new(refuse),
            requests: Vec::new(),
            log: Vec::new(),
            progress: Vec::new(),
            warnings: Vec::new(),
            cache: BTreeMap::new(),
            reachable: Vec::new(),
            processes: BTreeMap::new(),
            commands: BTreeMap::new(),
            endings: BTreeMap::new(),
            outputs: BTreeMap::new(),
        }
    }
}

impl FakeHost {
    /// Answers requests by this function.
    #[must_use]
    pub fn http(mut self, handler: impl Fn(&Request) -> Result<Response, HttpError> + 'static) -> Self {
        self.http = Arc::new(handler);
        self
    }

    /// Sets a field of the credential.
    #[must_use]
    pub fn credential(mut self, field: &str, value: &str) -> Self {
        self.credential.insert(field.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn process(&self, instance_id: &str) -> Process {
        self.processes.get(instance_id).cloned().unwrap_or_else(|| Process {
            instance_id: instance_id.to_owned(),
            state: State::Gone,
            pid: 0,
            address: String::new(),
            output: String::new(),
            labels: Vec::new(),
        })
    }

    pub(crate) fn start(&mut self, instance_id: &str, command: &Command) -> Result<Process, Fault> {
        if command.argv.first().is_none_or(String::is_empty) {
            return Err(Fault::give_up("process.no-command", "there is nothing to run"));
        }
        let number = self.processes.len() + 2;
        self.commands.entry(instance_id.to_owned()).or_insert_with(|| command.clone());
        let process = self.processes.entry(instance_id.to_owned()).or_insert_with(|| Process {
            instance_id: instance_id.to_owned(),
            state: State::Running,
            pid: u32::try_from(number).unwrap_or(2),
            address: format!("127.1.0.{number}"),
            output: format!("/fake/{instance_id}/output.log"),
            labels: command.labels.clone(),
        });
        Ok(process.clone())
    }
}

thread_local! {
    static HOST: RefCell<FakeHost> = RefCell::new(FakeHost::default());
}

pub(crate) fn with<R>(work: impl FnOnce(&mut FakeHost) -> R) -> R {
    HOST.with_borrow_mut(work)
}

/// Reads or changes the fake host of this thread.
pub fn host<R>(work: impl FnOnce(&mut FakeHost) -> R) -> R {
    with(work)
}

fn install(host: FakeHost) {
    HOST.set(host);
}

/// A driver on a fake host.
pub struct DriverHarness<T: Driver> {
    section: Value,
    driver: std::marker::PhantomData<T>,
}

/// Puts a driver on a fake host, with this `resource` section.
///
/// # Errors
/// Fails if the section does not fit the driver's type.
pub fn driver<T: Driver>(host: FakeHost, section_json: Value) -> Result<DriverHarness<T>, Fault> {
    install(host);
    section::<T::Section>(&section_json.to_string())?;
    Ok(DriverHarness { section: section_json, driver: std::marker::PhantomData })
}

impl<T: Driver> DriverHarness<T> {
    fn scope(&self) -> Result<Scope<T::Section>, Fault> {
        let credential = with(|host| !host.credential.is_empty());
        Ok(Scope {
            section: section(&self.section.to_string())?,
            call: Call(Context(())),
            credential: credential.then_some(Credential(crate::platform::Credential(()))),
        })
    }

    /// `create` of a node with these attributes.
    ///
    /// # Errors
    /// Fails if the driver does.
    pub fn create(&self, instance_id: &str, attributes: Value) -> Result<Observed, Fault> {
        T::create(&self.request(instance_id, attributes)?)
    }

    /// Calls `check` on a node with these attributes.
    ///
    /// # Errors
    /// Fails if the section does not fit the driver's type.
    pub fn check(&self, attributes: Value) -> Result<Vec<Detail>, Fault> {
        Ok(T::check(&self.request("00000000-0000-4000-8000-000000000000", attributes)?))
    }

    /// Calls `tail`.
    ///
    /// # Errors
    /// Fails if the driver does.
    pub fn tail(&self, handle: &Handle, lines: u32) -> Result<String, Fault> {
        T::tail(&self.scope()?, handle, lines)
    }

    fn request(&self, instance_id: &str, attributes: Value) -> Result<NodeRequest<T::Section>, Fault> {
        let label = |name: &str, value: &str| (format!("occopus.{name}"), value.to_owned());
        Ok(NodeRequest {
            scope: self.scope()?,
            instance_id: instance_id.to_owned(),
            node_name: "node".to_owned(),
            infrastructure_id: "infra-1".to_owned(),
            infrastructure_name: "infra".to_owned(),
            machine_name: format!("occopus-infra-infra-1-node-{instance_id}"),
            user_data: with(|host| host.user_data.clone()),
            attributes,
            repeated: with(|host| host.repeated),
            labels: vec![label("instance", instance_id), label("infrastructure", "infra-1"), label("node", "node")],
        })
    }

    /// Calls `find`.
    ///
    /// # Errors
    /// Fails if the driver does.
    pub fn find(&self, instance_id: &str) -> Result<Option<Observed>, Fault> {
        T::find(&self.scope()?, instance_id)
    }

    /// Calls `observe`.
    ///
    /// # Errors
    /// Fails if the driver does.
    pub fn observe(&self, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        T::observe(&self.scope()?, handles)
    }

    /// Calls `destroy`.
    ///
    /// # Errors
    /// Fails if the driver does.
    pub fn destroy(&self, handle: &Handle) -> Result<(), Fault> {
        T::destroy(&self.scope()?, handle)
    }
}

impl<T: Inventory> DriverHarness<T> {
    /// Calls `list_owned`.
    ///
    /// # Errors
    /// Fails if the driver does.
    pub fn list_owned(&self, cursor: Option<&str>) -> Result<Page, Fault> {
        T::list_owned(&self.scope()?, cursor)
    }
}

/// Checks a node at this address once.
///
/// # Errors
/// Fails if the checker does.
pub fn check<T: HealthChecker>(
    host: FakeHost,
    section_json: &Value,
    address: &str,
    data: Value,
) -> Result<Observation, Fault> {
    install(host);
    T::check(&Target {
        section: section(&section_json.to_string())?,
        address: address.to_owned(),
        addresses: vec![Address { value: address.to_owned(), internal: false }],
        node_name: "node".to_owned(),
        instance_id: "instance-1".to_owned(),
        template_data: data,
        call: Call(Context(())),
    })
}

/// Instances that templates find.
#[derive(Debug, Clone, Default)]
pub struct FakeFacts(pub Vec<Instance>);

impl Facts for FakeFacts {
    fn instances(&self, node_name: Option<&str>) -> Vec<Instance> {
        let is_of_node = |instance: &&Instance| node_name.is_none_or(|name| instance.node_name == name);
        self.0.iter().filter(is_of_node).cloned().collect()
    }

    fn command(&self, line: &str) -> Result<String, Fault> {
        Err(Fault::denied("occopus.not-granted", format!("`{line}` is not run: commands are not allowed")))
    }
}

/// Renders the sections of a node, with these instances in existence.
///
/// # Errors
/// Fails if the contextualiser does.
pub fn render<T: Contextualiser>(
    section_json: &Value,
    resource: Value,
    data: Value,
    facts: FakeFacts,
) -> Result<Rendered, Fault> {
    install(FakeHost::default());
    T::render(&ContextRequest {
        section: section(&section_json.to_string())?,
        resource,
        template_data: data,
        connections: json!([]),
        facts: Arc::new(facts),
        call: Call(Context(())),
    })
}

/// Returns the template data of a config manager.
///
/// # Errors
/// Fails if the config manager does.
pub fn template_data<T: ConfigManager>(section_json: &Value) -> Result<Value, Fault> {
    install(FakeHost::default());
    T::template_data(&ConfigScope {
        section: section(&section_json.to_string())?,
        infrastructure_id: "infra-1".to_owned(),
        call: Call(Context(())),
        credential: None,
    })
}

/// Returns the JSON Schema that the host gets for a section.
pub fn section_schema<T: schemars::JsonSchema>() -> Value {
    serde_json::from_str(&crate::about::schema::<T>()).unwrap_or_default()
}
