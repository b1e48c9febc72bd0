//! A cloud in memory: one driver, one checker, one contextualiser.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::ports::{
    Address, CallScope, CheckResult, ContextRequest, Contextualiser, CreateRequest, Driver, Fault, Handle,
    HealthChecker, HealthTarget, LabelledMachine, LabelledPage, ObservedMachine, OfflinePlugins, Phase, Plugins,
    Preflight, Reaction, Rendered, Renderers, Verdict,
};
use crate::state::digest;

/// Secret that is in the user data of every machine, and must be nowhere else.
pub const SECRET: &str = "hush-hush";

/// Outcome of the next call of a kind for a node.
#[derive(Debug, Clone)]
pub enum Script {
    /// The call fails with this fault, and has no effect.
    Fault(Fault),
    /// The call has its effect, and the answer is lost.
    LostAnswer,
    /// The call has no effect, and the answer is lost.
    LostRequest,
    /// The answer is lost, and the call has its effect as late as [`FakeCloud::set_late_arrival`] says. For `create`.
    LateRequest,
}

/// A machine of the cloud.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The cloud's own number.
    pub number: u64,
    /// Id of the instance, from the ownership label.
    pub instance: String,
    /// Id of the infrastructure, from the ownership label.
    pub infrastructure: String,
    /// Name of the node.
    pub node: String,
    /// Time of the request.
    pub since: Instant,
    /// Current phase, if not the one by its age.
    pub phase: Option<Phase>,
    /// Set if the second delivery of a request created it.
    pub is_twin: bool,
}

/// A cloud in memory. Clones are the same cloud.
#[derive(Clone, Default)]
pub struct FakeCloud {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    machines: BTreeMap<u64, Machine>,
    by_instance: HashMap<String, u64>,
    /// Set once a twin was made, so that ordinary lookups search no list.
    has_twins: bool,
    number: u64,
    create: Duration,
    boot: Duration,
    healthy_after: Duration,
    destroy: Duration,
    idempotent: bool,
    /// Age up to which `observe` does not see a machine.
    listing_delay: Duration,
    /// Seed; with one, calls take between no time and twice their time.
    jitter: Option<u64>,
    /// Number of unanswered calls that change something.
    in_flight: usize,
    /// Time after its sender's death at which a request to create still arrives; if none, it never does.
    late_arrival: Option<Duration>,
    scripts: HashMap<(String, String), VecDeque<Script>>,
    sick: HashSet<String>,
    outputs: HashMap<String, String>,
    unreachable: HashSet<String>,
    is_hidden: bool,
    full: HashSet<String>,
    calls: Vec<(String, String)>,
    contextualised: Vec<(String, Vec<String>)>,
    checked: Vec<(String, Instant)>,
}

impl FakeCloud {
    /// Creates a cloud where everything takes no time.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time that calls of `create` take, that machines boot, that nodes take to be healthy after that, and
    /// that calls of `destroy` take.
    pub fn set_timing(&self, create: Duration, boot: Duration, healthy_after: Duration, destroy: Duration) {
        let mut state = self.lock();
        (state.create, state.boot, state.healthy_after, state.destroy) = (create, boot, healthy_after, destroy);
    }

    /// Sets the age at which `observe` begins to see new machines: until then they seem to be gone. `find` sees them at
    /// once, as the contract requires.
    pub fn set_listing_delay(&self, delay: Duration) {
        self.lock().listing_delay = delay;
    }

    /// Lets a request to create whose sender dies while it is on its way still arrive, this long afterwards.
    pub fn set_late_arrival(&self, after: Option<Duration>) {
        self.lock().late_arrival = after;
    }

    /// Creates a twin for an instance that has a machine, as if its request had been delivered twice.
    pub fn deliver_twice(&self, instance: &str) {
        self.duplicate(instance, true);
    }

    /// Copies a machine with its labels, as a user may. `list_owned` returns it, and `find` never does.
    pub fn copy_machine(&self, instance: &str) {
        self.duplicate(instance, false);
    }

    fn duplicate(&self, instance: &str, is_twin: bool) {
        let mut state = self.lock();
        if let Some(machine) = state.machine_of(instance).cloned() {
            state.number += 1;
            let number = state.number;
            state.has_twins |= is_twin;
            state.machines.insert(number, Machine { number, is_twin, ..machine });
        }
    }

    /// Varies the times of calls from now on, so that later ones may end earlier.
    pub fn set_jitter(&self, seed: u64) {
        self.lock().jitter = Some(seed);
    }

    /// Returns whether a call that changes something is on its way.
    pub fn is_busy(&self) -> bool {
        self.lock().in_flight > 0
    }

    fn begin(&self) -> InFlight<'_> {
        self.lock().in_flight += 1;
        InFlight(self)
    }

    /// Sets whether `create` returns the machine that an instance already has, as the contract requires. By default it
    /// does not: a blind retry creates a second machine, and the tests see it.
    pub fn set_idempotent(&self, idempotent: bool) {
        self.lock().idempotent = idempotent;
    }

    /// Makes an endpoint unreachable for all calls.
    pub fn set_unreachable(&self, endpoint: &str) {
        self.lock().unreachable.insert(endpoint.into());
    }

    /// Sets whether `list_owned` returns nothing.
    pub fn hide_from_lists(&self, hide: bool) {
        self.lock().is_hidden = hide;
    }

    fn check_reachable(&self, scope: &CallScope) -> Result<(), Fault> {
        let endpoint = scope.section.get("endpoint").and_then(Value::as_str).unwrap_or_default();
        if !self.lock().unreachable.contains(endpoint) {
            return Ok(());
        }
        let mut fault = Fault::new(Reaction::Retry, "fake.unreachable", "connection refused");
        fault.unreachable = true;
        Err(fault)
    }

    /// Sets the output of every machine of a node.
    pub fn set_output(&self, node: &str, output: &str) {
        self.lock().outputs.insert(node.into(), output.into());
    }

    /// Scripts the next call ("create", "find", "destroy", "observe") for a node ("" for `observe`). Scripts of the
    /// same call and node are used in order.
    pub fn script(&self, call: &str, node: &str, script: Script) {
        self.lock().scripts.entry((call.into(), node.into())).or_default().push_back(script);
    }

    /// Clears all scripts, makes all nodes healthy, gives all zones capacity, and makes unknown phases known. Stopped
    /// and failed machines stay so.
    pub fn recover(&self) {
        let mut state = self.lock();
        for machine in state.machines.values_mut().filter(|machine| machine.phase == Some(Phase::Unknown)) {
            machine.phase = None;
        }
        state.scripts.clear();
        state.sick.clear();
        state.full.clear();
    }

    /// Makes a node's instances unhealthy, or healthy again.
    pub fn set_sick(&self, node: &str, sick: bool) {
        let mut state = self.lock();
        if sick {
            state.sick.insert(node.into())
        } else {
            state.sick.remove(node)
        };
    }

    /// Takes all capacity from a zone (`zone` in the `resource` section).
    pub fn fill_zone(&self, zone: &str) {
        self.lock().full.insert(zone.into());
    }

    /// Removes every machine of a node, without a call of the engine.
    pub fn remove_machines_of(&self, node: &str) {
        self.lock().machines.retain(|_, machine| machine.node != node);
    }

    /// Removes the machine of an instance, without a call of the engine.
    pub fn remove_machine_of(&self, instance: &str) {
        self.lock().machines.retain(|_, machine| machine.instance != instance);
    }

    /// Changes the phase of every machine of a node, without a call of the engine.
    pub fn set_phase(&self, node: &str, phase: Phase) {
        for machine in self.lock().machines.values_mut().filter(|machine| machine.node == node) {
            machine.phase = Some(phase);
        }
    }

    /// Returns all machines.
    pub fn machines(&self) -> Vec<Machine> {
        self.lock().machines.values().cloned().collect()
    }

    /// Returns the names of the nodes of all machines, sorted.
    pub fn nodes(&self) -> Vec<String> {
        let mut nodes: Vec<_> = self.lock().machines.values().map(|machine| machine.node.clone()).collect();
        nodes.sort();
        nodes
    }

    /// Returns every call that has begun so far: its kind and node.
    pub fn calls(&self) -> Vec<(String, String)> {
        self.lock().calls.clone()
    }

    /// Returns the number of calls of a kind that have begun.
    pub fn count(&self, call: &str) -> usize {
        self.lock().calls.iter().filter(|(kind, _)| kind == call).count()
    }

    /// Returns the name of the node and the time of every health check.
    pub fn checked(&self) -> Vec<(String, Instant)> {
        self.lock().checked.clone()
    }

    /// Returns, for each rendered context, its node and the nodes of the first hundred peers in it.
    pub fn contextualised_with(&self) -> Vec<(String, Vec<String>)> {
        self.lock().contextualised.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a call, and returns its script.
    fn record_call(&self, call: &str, node: &str) -> Option<Script> {
        let mut state = self.lock();
        state.calls.push((call.into(), node.into()));
        state.scripts.get_mut(&(call.to_owned(), node.to_owned())).and_then(VecDeque::pop_front)
    }

    fn lost_answer() -> Fault {
        Fault::new(Reaction::UnknownOutcome, "fake.lost", "the answer was lost")
    }
}

impl State {
    /// Varies a time by the number of the call, so that a history can be replayed.
    fn jittered(&self, time: Duration) -> Duration {
        let Some(seed) = self.jitter else { return time };
        let factor = digest(format!("{seed}/{}", self.calls.len()).as_bytes()) % 1000;
        time.mul_f64(factor as f64 / 500.0)
    }

    fn create_machine(&mut self, request: &CreateRequest) -> ObservedMachine {
        self.number += 1;
        let machine = Machine {
            number: self.number,
            instance: request.instance_id.clone(),
            infrastructure: request.infrastructure_id.clone(),
            node: request.node_name.clone(),
            since: Instant::now(),
            phase: None,
            is_twin: false,
        };
        let observed = self.observed(&machine);
        if self.machine_of(&machine.instance).is_none() {
            self.by_instance.insert(machine.instance.clone(), machine.number);
        }
        self.machines.insert(machine.number, machine);
        observed
    }

    /// Returns the first machine that was created for an instance, or else a twin.
    fn machine_of(&self, instance: &str) -> Option<&Machine> {
        let known = self.by_instance.get(instance).and_then(|number| self.machines.get(number));
        if known.is_some() || !self.has_twins {
            return known;
        }
        self.machines.values().find(|machine| machine.is_twin && machine.instance == instance)
    }

    fn observed(&self, machine: &Machine) -> ObservedMachine {
        let age = machine.since.elapsed();
        let by_age = if age >= self.boot { Phase::Running } else { Phase::Pending };
        ObservedMachine {
            handle: Handle { version: 1, data: machine.number.to_string() },
            phase: machine.phase.unwrap_or(by_age),
            addresses: vec![Address { value: format!("10.0.0.{}", machine.number), internal: false }],
            attributes: vec![("number".into(), machine.number.to_string())],
            message: (machine.phase == Some(Phase::Unknown)).then(|| "it is of another account".to_owned()),
        }
    }
}

/// A request to create that has left its sender. If the sender dies, it is dropped with the request in it.
struct InTransit<'a> {
    cloud: &'a FakeCloud,
    request: Option<&'a CreateRequest>,
}

impl Drop for InTransit<'_> {
    fn drop(&mut self) {
        let after = self.cloud.lock().late_arrival;
        let (Some(request), Some(after)) = (self.request, after) else { return };
        let (cloud, request) = (self.cloud.clone(), request.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let mut state = cloud.lock();
            // The instance id is an idempotency token: nothing is created for it twice.
            if state.machine_of(&request.instance_id).is_none() {
                state.create_machine(&request);
            }
        });
    }
}

/// A call on its way.
struct InFlight<'a>(&'a FakeCloud);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

#[async_trait]
impl Driver for FakeCloud {
    async fn create(&self, request: &CreateRequest) -> Result<ObservedMachine, Fault> {
        let script = self.record_call("create", &request.node_name);
        let _in_flight = self.begin();
        let take = {
            let state = self.lock();
            state.jittered(state.create)
        };
        let mut on_its_way = InTransit { cloud: self, request: Some(request) };
        if !take.is_zero() {
            tokio::time::sleep(take).await;
        }
        if matches!(script, Some(Script::LateRequest)) {
            return Err(Self::lost_answer());
        }
        on_its_way.request = None;
        match script {
            Some(Script::Fault(fault)) => return Err(fault),
            Some(Script::LostRequest | Script::LateRequest) => return Err(Self::lost_answer()),
            Some(Script::LostAnswer) | None => {}
        }
        let zone = request.scope.section.get("zone").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut state = self.lock();
        if state.full.contains(&zone) {
            return Err(Fault::new(Reaction::NoCapacity, "fake.full", format!("zone {zone} is full")));
        }
        if let Some(machine) = state.machine_of(&request.instance_id).filter(|_| state.idempotent) {
            return Ok(state.observed(machine));
        }
        let observed = state.create_machine(request);
        if script.is_some() { Err(Self::lost_answer()) } else { Ok(observed) }
    }

    async fn find(&self, scope: &CallScope, instance_id: &str) -> Result<Option<ObservedMachine>, Fault> {
        match self.record_call("find", &scope.context.node) {
            Some(Script::Fault(fault)) => return Err(fault),
            Some(_) => return Err(Self::lost_answer()),
            None => {}
        }
        self.check_reachable(scope)?;
        let state = self.lock();
        let found = state.machine_of(instance_id);
        Ok(found.map(|machine| state.observed(machine)))
    }

    async fn observe(&self, _scope: &CallScope, handles: &[Handle]) -> Result<Vec<ObservedMachine>, Fault> {
        match self.record_call("observe", "") {
            Some(Script::Fault(fault)) => return Err(fault),
            Some(_) => return Err(Self::lost_answer()),
            None => {}
        }
        let state = self.lock();
        let answers = handles.iter().map(|handle| {
            let found = handle.data.parse().ok().and_then(|number: u64| state.machines.get(&number));
            let listed = found.filter(|machine| machine.since.elapsed() >= state.listing_delay);
            listed.map(|machine| state.observed(machine)).unwrap_or_else(|| ObservedMachine {
                handle: handle.clone(),
                phase: Phase::Gone,
                addresses: Vec::new(),
                attributes: Vec::new(),
                message: None,
            })
        });
        Ok(answers.collect())
    }

    async fn list_owned(&self, _scope: &CallScope, cursor: Option<&str>) -> Result<LabelledPage, Fault> {
        // Pages of two.
        let after: u64 = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
        let state = self.lock();
        if state.is_hidden {
            return Ok(LabelledPage { machines: Vec::new(), cursor: None });
        }
        let machines: Vec<_> = state.machines.range(after + 1..).take(2).map(|(_, machine)| machine).collect();
        let last = machines.last().filter(|last| state.machines.range(last.number + 1..).next().is_some());
        let cursor = last.map(|last| last.number.to_string());
        let owned = |machine: &&Machine| LabelledMachine {
            instance_id: machine.instance.clone(),
            infrastructure_id: machine.infrastructure.clone(),
            observed: state.observed(machine),
        };
        Ok(LabelledPage { machines: machines.iter().map(owned).collect(), cursor })
    }

    async fn destroy(&self, scope: &CallScope, handle: &Handle) -> Result<(), Fault> {
        let script = self.record_call("destroy", &scope.context.node);
        let _in_flight = self.begin();
        let take = {
            let state = self.lock();
            state.jittered(state.destroy)
        };
        if !take.is_zero() {
            tokio::time::sleep(take).await;
        }
        match script {
            Some(Script::Fault(fault)) => return Err(fault),
            Some(Script::LostRequest | Script::LateRequest) => return Err(Self::lost_answer()),
            Some(Script::LostAnswer) | None => {}
        }
        if let Ok(number) = handle.data.parse() {
            self.lock().machines.remove(&number);
        }
        if script.is_some() { Err(Self::lost_answer()) } else { Ok(()) }
    }

    async fn tail(&self, _scope: &CallScope, handle: &Handle, _lines: u32) -> Result<String, Fault> {
        let state = self.lock();
        let machine = handle.data.parse().ok().and_then(|number: u64| state.machines.get(&number));
        Ok(machine.and_then(|machine| state.outputs.get(&machine.node)).cloned().unwrap_or_default())
    }
}

#[async_trait]
impl HealthChecker for FakeCloud {
    async fn check(&self, target: &HealthTarget) -> Result<CheckResult, Fault> {
        let mut state = self.lock();
        state.checked.push((target.node_name.clone(), Instant::now()));
        let machine = state.machine_of(&target.instance_id);
        let ready = state.boot + state.healthy_after;
        let healthy = machine.is_some_and(|machine| {
            machine.since.elapsed() >= ready && machine.phase.is_none() && !state.sick.contains(&machine.node)
        });
        let (verdict, reason) = match healthy {
            true => (Verdict::Healthy, "it answers"),
            false => (Verdict::Unhealthy, "it does not answer"),
        };
        Ok(CheckResult { verdict, reason: reason.into(), details: Vec::new() })
    }
}

#[async_trait]
impl Contextualiser for FakeCloud {
    async fn render(&self, request: &ContextRequest) -> Result<Rendered, Fault> {
        // Not all of thousands, which would cost more than everything else together.
        let peers = request.instances.iter().take(100).map(|instance| instance.node_name.clone()).collect();
        self.lock().contextualised.push((request.context.node.clone(), peers));
        // The variable `tell` names a node whose addresses are in the user data.
        let node = request.template_data.pointer("/variables/tell").and_then(Value::as_str);
        let peers = node.into_iter().flat_map(|node| request.instances.iter().filter(move |it| it.node_name == node));
        let addresses: Vec<_> = peers.flat_map(|it| &it.addresses).map(|address| address.value.as_str()).collect();
        let user_data = format!("user data, {SECRET} {}", addresses.join(" "));
        Ok(Rendered {
            user_data: Some(user_data.into_bytes()),
            attributes: json!({}),
            resource: None,
            warnings: Vec::new(),
        })
    }
}

impl Renderers for FakeCloud {
    fn contextualiser(&self, keyword: &str) -> Option<Arc<dyn Contextualiser>> {
        (keyword == "basic").then(|| Arc::new(self.clone()) as Arc<dyn Contextualiser>)
    }
}

#[async_trait]
impl OfflinePlugins for FakeCloud {
    async fn check(&self, _: &str, request: &CreateRequest) -> Result<Preflight, Fault> {
        Driver::check(self, request).await
    }
}

impl Plugins for FakeCloud {
    fn driver(&self, keyword: &str) -> Option<Arc<dyn Driver>> {
        (keyword == "fake").then(|| Arc::new(self.clone()) as Arc<dyn Driver>)
    }

    fn health_checker(&self, keyword: &str) -> Option<Arc<dyn HealthChecker>> {
        (keyword == "fake").then(|| Arc::new(self.clone()) as Arc<dyn HealthChecker>)
    }

    fn offline(&self) -> Arc<dyn OfflinePlugins> {
        Arc::new(self.clone())
    }
}
