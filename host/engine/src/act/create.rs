//! From nothing, or from what a crash left, to a ready instance.

use std::sync::Arc;

use occopus_model::{Implementation, Node};
use serde_json::Value;

use super::calls::{self, Attempts, CallError, FailedCall};
use super::output_tail::fetch_output_tail;
use super::readiness::{Assessment, Death, assess, observe_and_assess, wait_until_ready};
use super::remove::{RemovalOutcome, remove};
use super::render::{RenderInput, is_plain, render};
use super::{DesiredState, PeerFacts, RunContext, TaskError, context, inventory};
use crate::error::{FailureReason, NodeFailure};
use crate::event::EventKind;
use crate::ports::{CreateRequest, Fault, ObservedMachine, Phase, Reaction, Rendered};
use crate::state::{InstanceRecord, digest};
use crate::status::InstanceState;

/// Where a story begins.
#[derive(Debug, Clone)]
pub(crate) enum EntryPoint {
    /// There is nothing yet.
    New,
    /// There is nothing yet, and this instance goes once the new one is ready. Whoever starts it removes it.
    CreateBeforeDestroy(String),
    /// An earlier run did not finish it.
    Resume(InstanceRecord),
    /// It was ready; is it still?
    Check(InstanceRecord),
    /// It is dead: remove it, then make another.
    Replace(InstanceRecord, Death),
}

/// One instance of a node, ready. `id` is for a new one, if it takes one.
#[tracing::instrument(name = "bring up", level = "debug", skip_all, fields(node = desired.node(node).map(|node| &*node.name), instance = id))]
pub(crate) async fn bring_up_instance(
    world: Arc<RunContext>,
    desired: Arc<DesiredState>,
    node: usize,
    start: EntryPoint,
    id: String,
    facts: PeerFacts,
) -> Result<InstanceRecord, TaskError> {
    let replaces = match &start {
        EntryPoint::CreateBeforeDestroy(old) => Some(old.clone()),
        EntryPoint::Resume(record) => record.replaces.clone(),
        EntryPoint::New | EntryPoint::Check(_) | EntryPoint::Replace(..) => None,
    };
    let story = InstanceTask { world, desired, node, facts, replaces, doubtful: false };
    match start {
        EntryPoint::New | EntryPoint::CreateBeforeDestroy(_) => story.create(id, false).await,
        EntryPoint::Resume(record) => story.resume(record, id).await,
        EntryPoint::Check(mut record) => match observe_and_assess(&story.world, &story.desired, &mut record).await? {
            Assessment::Ready | Assessment::Inconclusive(_) => Ok(record),
            Assessment::NotReady => story.await_ready(record, Phase::Running).await,
            Assessment::Dead(death) => story.replace(record, death, id).await,
        },
        EntryPoint::Replace(record, death) => story.replace(record, death, id).await,
    }
}

struct InstanceTask {
    world: Arc<RunContext>,
    desired: Arc<DesiredState>,
    node: usize,
    facts: PeerFacts,
    /// The instance in whose place this one is made.
    replaces: Option<String>,
    /// An earlier request for it may still arrive.
    doubtful: bool,
}

/// What became of one implementation.
enum AttemptOutcome {
    /// `record` knows its machine.
    Placed(Phase),
    /// In the cloud's words.
    NoCapacity(String),
}

impl InstanceTask {
    fn node(&self) -> Result<&Node, TaskError> {
        self.desired.node(self.node).ok_or(TaskError::Cancelled)
    }

    async fn resume(self, mut record: InstanceRecord, id: String) -> Result<InstanceRecord, TaskError> {
        if record.has_no_machine() {
            return self.create(record.id, true).await;
        }
        if record.is_unresolved() {
            self.correct_endpoint(&mut record);
            let found = calls::find(&self.world, &record).await;
            return match found
                .map_err(|ended| TaskError::from_call(ended, |spent| self.call_failure(&record, spent)))?
            {
                Some(observed) => {
                    let phase = self.record_placement(&mut record, observed, true).await?;
                    if matches!(phase, Phase::Stopped | Phase::Failed | Phase::Gone) {
                        // It died while nobody looked, as one that was ready may.
                        let death =
                            Death { reason: "the machine was found dead".into(), vanished: phase == Phase::Gone };
                        return self.replace(record, death, id).await;
                    }
                    self.await_ready(record, phase).await
                }
                // Nothing is there and nothing will come, so the same id may be used again.
                None => Self { doubtful: true, ..self }.create(record.id, true).await,
            };
        }
        match observe_and_assess(&self.world, &self.desired, &mut record).await? {
            Assessment::Ready => Ok(record),
            Assessment::NotReady | Assessment::Inconclusive(_) => self.await_ready(record, Phase::Unknown).await,
            Assessment::Dead(death) => self.replace(record, death, id).await,
        }
    }

    /// A machine that was never placed is looked for where the description says now, when nothing but the endpoint has
    /// changed: the old one was wrong.
    fn correct_endpoint(&self, record: &mut InstanceRecord) {
        let node = self.desired.node(self.node);
        let implementations = node.and_then(|node| self.desired.infrastructure.definitions.get(&node.node_type));
        let Some(described) = implementations.and_then(|all| all.get(record.implementation)) else { return };
        let Some(endpoint) = described.resource.get("endpoint").filter(|endpoint| is_plain(endpoint)) else { return };
        if record.section.get("endpoint") == Some(endpoint) {
            return;
        }
        let mut corrected = Value::clone(&record.section);
        if let Some(section) = corrected.as_object_mut() {
            section.insert("endpoint".into(), endpoint.clone());
            // What a template renders can't be compared, and is taken to be the same.
            let is_same = |(key, value): (&String, &Value)| corrected.get(key) == Some(value) || !is_plain(value);
            if described.resource.as_object().is_some_and(|described| described.iter().all(is_same)) {
                record.section = Arc::new(corrected);
            }
        }
    }

    async fn replace(&self, mut old: InstanceRecord, death: Death, id: String) -> Result<InstanceRecord, TaskError> {
        if death.vanished || old.state == InstanceState::Vanished {
            match self.find_before_replacing(&mut old).await? {
                Some(Assessment::Ready | Assessment::Inconclusive(_)) => return Ok(old),
                Some(Assessment::NotReady) => return self.await_ready(old, Phase::Unknown).await,
                Some(Assessment::Dead(_)) | None => {}
            }
        }
        let output = if death.vanished { None } else { fetch_output_tail(&self.world, &old).await };
        let (node_id, node_name) = (old.id.clone(), old.node.clone());
        let event = EventKind::NodeReplacing { node_id, node_name, message: death.reason, output };
        self.world.journal.write(Vec::new(), vec![event]).await?;
        // What can't be removed keeps its record and is tried again later; it does not keep the node from coming back.
        if let RemovalOutcome::Left(left) = remove(&self.world, old, death.vanished).await? {
            tracing::warn!(node = left.node, instance = left.instance, reason = left.message, "not removed");
        }
        if self.world.cancel.is_cancelled() {
            return Err(TaskError::Cancelled);
        }
        self.create(id, false).await
    }

    /// Asks by the id of an instance for its machine, which was not seen any more, and gives what it looks like when it is there
    /// all the same. Nothing is replaced when that can't be told.
    async fn find_before_replacing(&self, old: &mut InstanceRecord) -> Result<Option<Assessment>, TaskError> {
        let found = calls::find(&self.world, old).await;
        let found = found.map_err(|ended| TaskError::from_call(ended, |spent| self.call_failure(old, spent)))?;
        let Some(observed) = found.filter(|it| matches!(it.phase, Phase::Running | Phase::Pending | Phase::Unknown))
        else {
            return Ok(None);
        };
        if old.ready_at.is_none() {
            // It was never ready, and is awaited like any other.
            self.record_placement(old, observed, true).await?;
            return Ok(Some(Assessment::NotReady));
        }
        // Whether it is ready is for its checks to say.
        old.set_state(InstanceState::Unhealthy, self.world.now());
        assess(&self.world, &self.desired, old, Ok(observed)).await.map(Some)
    }

    /// `repeated`: an earlier run may have asked for it.
    async fn create(&self, id: String, repeated: bool) -> Result<InstanceRecord, TaskError> {
        let node = self.node()?;
        let mut candidates: Vec<_> = self.desired.infrastructure.candidates(node).collect();
        if candidates.is_empty() {
            let message = format!("no implementation of type {} matches the node's filter", node.node_type);
            return Err(self.failure(&id, None, FailureReason::NoImplementation { message }));
        }
        // Spreads instances over equal implementations, and always the same way for one instance.
        let first = digest(id.as_bytes()) % candidates.len() as u64;
        candidates.rotate_left(usize::try_from(first).unwrap_or_default());
        let mut tried = Vec::new();
        let mut last = None;
        for (index, implementation) in candidates {
            let mut record = self.new_record(&id, node, index, implementation);
            match self.try_implementation(&mut record, node, implementation, repeated).await? {
                AttemptOutcome::Placed(phase) => return self.await_ready(record, phase).await,
                AttemptOutcome::NoCapacity(message) => {
                    let (node_id, node_name, driver) = (id.clone(), node.name.clone(), record.driver().to_owned());
                    tried.push(format!("{driver}: {message}"));
                    let event = EventKind::NodeFallback { node_id, node_name, driver, message };
                    self.world.journal.write(Vec::new(), vec![event]).await?;
                    last = Some(record);
                }
            }
        }
        let reason = FailureReason::NoCapacity { tried };
        match last {
            Some(mut record) => Err(self.record_failure(&mut record, reason).await),
            None => Err(self.failure(&id, None, reason)),
        }
    }

    fn new_record(&self, id: &str, node: &Node, index: usize, implementation: &Implementation) -> InstanceRecord {
        let now = self.world.now();
        InstanceRecord {
            id: id.into(),
            node: node.name.clone(),
            state: InstanceState::Creating,
            depends_on: node.depends_on.clone(),
            implementation: index,
            section: Arc::new(implementation.resource.clone()),
            health_check: Arc::new(implementation.health_check.clone()),
            handle: None,
            addresses: Vec::new(),
            attributes: Vec::new(),
            message: None,
            health: None,
            failing_since: None,
            unobserved: None,
            without_effect: false,
            doubtful: self.doubtful,
            replaces: self.replaces.clone(),
            created: now,
            since: now,
            running_at: None,
            ready_at: None,
            user_data_digest: None,
            made: Some(self.desired.fingerprints.of_instance(node, index)),
            mentions: Vec::new(),
        }
    }

    async fn try_implementation(
        &self,
        record: &mut InstanceRecord,
        node: &Node,
        implementation: &Implementation,
        repeated: bool,
    ) -> Result<AttemptOutcome, TaskError> {
        let rendered = match self.render(record, node, implementation).await {
            Ok(rendered) => rendered,
            Err(CallError::Cancelled) => return Err(TaskError::Cancelled),
            // No machine was asked for; a record of an earlier try may exist, and says so from now on.
            Err(CallError::Failed(spent)) => return Err(self.record_failure(record, spent.into()).await),
        };
        record.mentions = self.facts.references_in(&rendered);
        if let Some(section) = rendered.resource {
            record.section = Arc::new(with_type(section, &implementation.resource));
        }
        record.user_data_digest = rendered.user_data.as_deref().map(|data| format!("{:016x}", digest(data)));
        let infrastructure = &self.desired.infrastructure;
        let request = CreateRequest {
            scope: self.world.mutation_scope(record),
            instance_id: record.id.clone(),
            node_name: node.name.clone(),
            infrastructure_id: self.world.id.clone(),
            infrastructure_name: infrastructure.name.clone(),
            machine_name: context::machine_name(&infrastructure.name, &self.world.id, &node.name, &record.id),
            user_data: rendered.user_data,
            attributes: rendered.attributes,
            repeated,
        };
        let (node_id, node_name, driver) = (record.id.clone(), node.name.clone(), record.driver().to_owned());
        self.request_machine(record, request, EventKind::NodeCreating { node_id, node_name, driver }).await
    }

    async fn render(
        &self,
        record: &InstanceRecord,
        node: &Node,
        implementation: &Implementation,
    ) -> Result<Rendered, CallError> {
        let rendering = RenderInput {
            infra_id: &self.world.id,
            infrastructure: &self.desired.infrastructure,
            node,
            implementation,
            instance: &record.id,
            facts: self.facts.clone(),
            context: self.world.call_context(&node.name, self.world.settings.query_timeout),
        };
        let mut tries = Attempts::default();
        loop {
            match render(&*self.world.plugins, &rendering).await {
                Ok(rendered) => return Ok(rendered),
                Err(fault) if matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) => {
                    calls::back_off(&self.world, record, "render", &mut tries, fault).await?;
                }
                Err(fault) => return Err(CallError::Failed(tries.failed_call("render", fault))),
            }
        }
    }

    /// Asks for the machine until it is there or certainly is not.
    async fn request_machine(
        &self,
        record: &mut InstanceRecord,
        mut request: CreateRequest,
        announcement: EventKind,
    ) -> Result<AttemptOutcome, TaskError> {
        let world = &self.world;
        let driver = match calls::driver_for(world, record) {
            Ok(driver) => driver,
            Err(fault) => {
                return Err(self.record_failure(record, Attempts::default().failed_call("create", fault).into()).await);
            }
        };
        if let Some(reason) = inventory::find_conflict(world, &driver, record).await? {
            return Err(self.record_failure(record, reason).await);
        }
        let mut tries = Attempts::default();
        let mut announced = vec![announcement];
        loop {
            // From here on a machine may exist, until an answer says that none does.
            record.without_effect = false;
            let answer =
                calls::create_once(world, &driver, &request, record, std::mem::take(&mut announced), &mut tries)
                    .await?;
            let fault = match answer {
                Ok(observed) => {
                    let phase = self.record_placement(record, observed, false).await?;
                    return Ok(AttemptOutcome::Placed(phase));
                }
                Err(fault) => fault,
            };
            match fault.reaction {
                Reaction::NoCapacity => return Ok(AttemptOutcome::NoCapacity(fault.message)),
                // Written down before the wait: whoever comes next needs no answer of this cloud to know it.
                Reaction::Retry => {
                    record.without_effect = true;
                    world.journal.put_instance(record, Vec::new()).await?;
                }
                Reaction::UnknownOutcome => {
                    if let Some(observed) = self.resolve_outcome(record, &fault).await? {
                        let phase = self.record_placement(record, observed, true).await?;
                        return Ok(AttemptOutcome::Placed(phase));
                    }
                }
                _ => return Err(self.record_failure(record, tries.failed_call("create", fault).into()).await),
            }
            match calls::back_off(world, record, "create", &mut tries, fault).await {
                Ok(()) => request.repeated = true,
                Err(CallError::Cancelled) => return Err(TaskError::Cancelled),
                // Each attempt either had no effect, or `find` has said that it had none.
                Err(CallError::Failed(spent)) => return Err(self.record_failure(record, spent.into()).await),
            }
        }
    }

    /// After a lost answer: what is there? Writes down that it is not known before asking.
    async fn resolve_outcome(
        &self,
        record: &mut InstanceRecord,
        fault: &Fault,
    ) -> Result<Option<ObservedMachine>, TaskError> {
        record.set_state(InstanceState::UnknownOutcome, self.world.now());
        record.doubtful = true;
        record.message = Some(fault.message.clone());
        let (node_id, node_name, message) = (record.id.clone(), record.node.clone(), fault.message.clone());
        self.world.journal.put_instance(record, vec![EventKind::NodeUnknown { node_id, node_name, message }]).await?;
        let found = calls::find(&self.world, record).await;
        match found {
            Ok(found) => Ok(found),
            Err(CallError::Cancelled) => Err(TaskError::Cancelled),
            // Still not known: the record stays as it is, and the next run asks again.
            Err(CallError::Failed(spent)) => Err(self.call_failure(record, spent)),
        }
    }

    /// The machine is known: written down before anything else.
    async fn record_placement(
        &self,
        record: &mut InstanceRecord,
        observed: ObservedMachine,
        adopted: bool,
    ) -> Result<Phase, TaskError> {
        let phase = observed.phase;
        // Even when nothing else can be concluded, the reference is known from here on.
        record.handle = Some(observed.handle.clone());
        record.apply_observation(observed);
        record.set_state(InstanceState::Pending, self.world.now());
        let mut events =
            vec![EventKind::NodePlaced { node_id: record.id.clone(), node_name: record.node.clone(), adopted }];
        if phase == Phase::Running {
            events.extend(super::readiness::mark_running(&self.world, record));
        }
        self.world.journal.put_instance(record, events).await?;
        Ok(phase)
    }

    async fn await_ready(&self, mut record: InstanceRecord, phase: Phase) -> Result<InstanceRecord, TaskError> {
        match wait_until_ready(&self.world, &self.desired, &mut record, phase).await? {
            Ok(()) => Ok(record),
            Err(reason) => Err(self.record_failure(&mut record, reason).await),
        }
    }

    /// Writes down that an instance has failed.
    async fn record_failure(&self, record: &mut InstanceRecord, reason: FailureReason) -> TaskError {
        let output = fetch_output_tail(&self.world, record).await;
        record.set_state(InstanceState::Failed, self.world.now());
        let message = reason.to_string();
        record.message = Some(message.clone());
        let event = EventKind::NodeFailed {
            node_id: record.id.clone(),
            node_name: record.node.clone(),
            message,
            output: output.clone(),
        };
        match self.world.journal.put_instance(record, vec![event]).await {
            Ok(()) => match self.failure(&record.id, Some(record), reason) {
                TaskError::Failed(failure) => TaskError::Failed(Box::new(NodeFailure { output, ..*failure })),
                trouble => trouble,
            },
            Err(refused) => TaskError::Journal(refused),
        }
    }

    fn call_failure(&self, record: &InstanceRecord, spent: FailedCall) -> TaskError {
        self.failure(&record.id, Some(record), spent.into())
    }

    /// A failure with the places in the user's files that it is about.
    fn failure(&self, instance: &str, record: Option<&InstanceRecord>, reason: FailureReason) -> TaskError {
        let node = self.desired.node(self.node);
        let implementations = node.and_then(|node| self.desired.infrastructure.definitions.get(&node.node_type));
        let implementation = record.and_then(|record| implementations?.get(record.implementation));
        TaskError::Failed(Box::new(NodeFailure::new(
            node.map(|node| node.name.clone()).unwrap_or_default(),
            instance,
            record.map(|record| record.driver().to_owned()).unwrap_or_default(),
            implementation,
            reason,
        )))
    }
}

impl From<FailedCall> for FailureReason {
    fn from(FailedCall { call, fault, attempts, seconds }: FailedCall) -> Self {
        Self::Call { call: call.into(), fault, attempts, seconds }
    }
}

/// A rendered section keeps the `type` that chose its driver.
pub(crate) fn with_type(mut section: Value, original: &Value) -> Value {
    if let (Some(section), Some(kind)) = (section.as_object_mut(), original.get("type")) {
        section.insert("type".into(), kind.clone());
    }
    section
}
