//! Creation of one instance, until it is ready: chooses an implementation, renders, requests the machine, resolves
//! unresolved outcomes, and waits for readiness.

use std::sync::Arc;

use occopus_model::{Implementation, Node, section_type};
use serde_json::Value;

use super::calls::{self, Attempts, CallError, FailedCall};
use super::output_tail::fetch_output_tail;
use super::readiness::{mark_running, wait_until_ready};
use super::remove::find_until_deadline;
use super::render::{RenderInput, render};
use super::{DesiredState, PeerFacts, RunContext, TaskError, context, inventory};
use crate::error::{FailureReason, NodeFailure};
use crate::event::EventKind;
use crate::ports::{CreateRequest, Fault, ObservedMachine, Phase, Reaction, Rendered};
use crate::state::{InstanceRecord, digest};
use crate::status::InstanceState;

/// The task of one instance.
pub(super) struct InstanceTask {
    pub(super) ctx: Arc<RunContext>,
    pub(super) desired: Arc<DesiredState>,
    pub(super) node: usize,
    pub(super) facts: PeerFacts,
    /// The instance that this one replaces.
    pub(super) replaces: Option<String>,
    /// Set if an earlier request for the instance may still arrive.
    pub(super) has_lost_answer: bool,
}

/// The outcome of one implementation.
enum AttemptOutcome {
    /// The machine is known, and its handle is in the record.
    Placed(Phase),
    /// Lack of capacity; the message is the cloud's.
    NoCapacity(String),
}

impl InstanceTask {
    fn node(&self) -> Result<&Node, TaskError> {
        self.desired.node(self.node).ok_or(TaskError::Cancelled)
    }

    /// Creates the instance with the first implementation that has capacity. `repeated`: an earlier run may have
    /// requested it.
    pub(super) async fn create(&self, id: String, repeated: bool) -> Result<InstanceRecord, TaskError> {
        let node = self.node()?;
        let mut candidates: Vec<_> = self.desired.infrastructure.candidates(node).collect();
        if candidates.is_empty() {
            let message = format!("no implementation of type {} matches the node's filter", node.node_type);
            return Err(self.failure(&id, None, FailureReason::NoImplementation { message }));
        }
        // Spreads instances over equal implementations, always in the same way for one instance.
        let first = digest(id.as_bytes()) % candidates.len() as u64;
        candidates.rotate_left(usize::try_from(first).unwrap_or_default());
        let mut tried = Vec::new();
        let mut last = None;
        for (index, implementation) in candidates {
            let mut record = self.new_record(&id, node, index, implementation);
            match self.try_implementation(&mut record, node, implementation, repeated).await? {
                AttemptOutcome::Placed(phase) => return self.await_ready(record, phase).await,
                AttemptOutcome::NoCapacity(message) => {
                    if let Some(observed) = self.outlast_late_requests(&record).await? {
                        let phase = self.record_placement(&mut record, observed, true).await?;
                        return self.await_ready(record, phase).await;
                    }
                    let (node_id, node_name, driver) = (id.clone(), node.name.clone(), record.driver().to_owned());
                    tried.push(format!("{driver}: {message}"));
                    let event = EventKind::NodeFallback { node_id, node_name, driver, message };
                    self.ctx.journal.write(Vec::new(), vec![event]).await?;
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
        let now = self.ctx.now();
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
            has_lost_answer: self.has_lost_answer,
            replaces: self.replaces.clone(),
            created: now,
            since: now,
            running_at: None,
            ready_at: None,
            user_data_digest: None,
            fingerprints: Some(self.desired.fingerprints.of_instance(node, index)),
            address_references: Vec::new(),
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
            // No machine was requested; a record of an earlier attempt may exist, and is marked as failed.
            Err(CallError::Failed(failed)) => return Err(self.record_failure(record, failed.into()).await),
        };
        record.address_references = self.facts.references_in(&rendered);
        if let Some(section) = rendered.resource {
            record.section = Arc::new(with_type(section, &implementation.resource));
        }
        record.user_data_digest = rendered.user_data.as_deref().map(|data| format!("{:016x}", digest(data)));
        let infrastructure = &self.desired.infrastructure;
        let request = CreateRequest {
            scope: self.ctx.mutation_scope(record),
            instance_id: record.id.clone(),
            node_name: node.name.clone(),
            infrastructure_id: self.ctx.id.clone(),
            infrastructure_name: infrastructure.name.clone(),
            machine_name: context::machine_name(&infrastructure.name, &self.ctx.id, &node.name, &record.id),
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
        let input = RenderInput {
            infra_id: &self.ctx.id,
            infrastructure: &self.desired.infrastructure,
            node,
            implementation,
            instance: &record.id,
            facts: self.facts.clone(),
            context: self.ctx.call_context(&node.name, self.ctx.settings.query_timeout),
        };
        let mut attempts = Attempts::default();
        loop {
            match render(&*self.ctx.plugins, &input).await {
                Ok(rendered) => return Ok(rendered),
                Err(fault) if matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) => {
                    calls::back_off(&self.ctx, record, "render", &mut attempts, fault).await?;
                }
                Err(fault) => return Err(CallError::Failed(attempts.failed_call("render", fault))),
            }
        }
    }

    /// Requests the machine until it exists, or certainly does not.
    async fn request_machine(
        &self,
        record: &mut InstanceRecord,
        mut request: CreateRequest,
        announcement: EventKind,
    ) -> Result<AttemptOutcome, TaskError> {
        let ctx = &self.ctx;
        let driver = match calls::driver_for(ctx, record) {
            Ok(driver) => driver,
            Err(fault) => {
                return Err(self.record_failure(record, Attempts::default().failed_call("create", fault).into()).await);
            }
        };
        if let Some(reason) = inventory::find_conflict(ctx, &driver, record).await? {
            return Err(self.record_failure(record, reason).await);
        }
        let mut attempts = Attempts::default();
        let mut announced = vec![announcement];
        loop {
            // From here on a machine may exist, until an answer rules it out.
            record.without_effect = false;
            let answer =
                calls::create_once(ctx, &driver, &request, record, std::mem::take(&mut announced), &mut attempts)
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
                // Recorded before the wait, so that the next run can tell without an answer of this cloud.
                Reaction::Retry => {
                    record.without_effect = true;
                    ctx.journal.put_instance(record, Vec::new()).await?;
                }
                Reaction::UnknownOutcome => {
                    if let Some(observed) = self.resolve_outcome(record, &fault).await? {
                        let phase = self.record_placement(record, observed, true).await?;
                        return Ok(AttemptOutcome::Placed(phase));
                    }
                }
                _ => return Err(self.record_failure(record, attempts.failed_call("create", fault).into()).await),
            }
            match calls::back_off(ctx, record, "create", &mut attempts, fault).await {
                Ok(()) => request.repeated = true,
                Err(CallError::Cancelled) => return Err(TaskError::Cancelled),
                // Each attempt had no effect, either by its own answer or by that of `find`.
                Err(CallError::Failed(failed)) => return Err(self.record_failure(record, failed.into()).await),
            }
        }
    }

    /// Finds the machine after a lost answer. Records the unresolved outcome before the call.
    async fn resolve_outcome(
        &self,
        record: &mut InstanceRecord,
        fault: &Fault,
    ) -> Result<Option<ObservedMachine>, TaskError> {
        record.set_state(InstanceState::UnknownOutcome, self.ctx.now());
        record.has_lost_answer = true;
        record.message = Some(fault.message.clone());
        let (node_id, node_name, message) = (record.id.clone(), record.node.clone(), fault.message.clone());
        self.ctx.journal.put_instance(record, vec![EventKind::NodeUnknown { node_id, node_name, message }]).await?;
        let found = calls::find(&self.ctx, record).await;
        match found {
            Ok(found) => Ok(found),
            Err(CallError::Cancelled) => Err(TaskError::Cancelled),
            // Still unresolved: the record stays as it is, and the next run calls `find` again.
            Err(CallError::Failed(failed)) => Err(self.call_failure(record, failed)),
        }
    }

    /// Finds the machine of an instance whose answer was lost, until no request for it can still arrive. The next
    /// implementation may be on another cloud, and its record says nothing of this one.
    async fn outlast_late_requests(&self, record: &InstanceRecord) -> Result<Option<ObservedMachine>, TaskError> {
        if !record.has_lost_answer {
            return Ok(None);
        }
        let found = find_until_deadline(&self.ctx, record).await;
        found.map_err(|error| TaskError::from_call(error, |failed| self.call_failure(record, failed)))
    }

    /// Records the handle of a machine, before anything else is done with it.
    pub(super) async fn record_placement(
        &self,
        record: &mut InstanceRecord,
        observed: ObservedMachine,
        adopted: bool,
    ) -> Result<Phase, TaskError> {
        let phase = observed.phase;
        // The handle is known from here on, even if nothing else can be concluded.
        record.handle = Some(observed.handle.clone());
        record.apply_observation(observed);
        record.set_state(InstanceState::Pending, self.ctx.now());
        let mut events =
            vec![EventKind::NodePlaced { node_id: record.id.clone(), node_name: record.node.clone(), adopted }];
        if phase == Phase::Running {
            events.extend(mark_running(&self.ctx, record));
        }
        self.ctx.journal.put_instance(record, events).await?;
        Ok(phase)
    }

    pub(super) async fn await_ready(
        &self,
        mut record: InstanceRecord,
        phase: Phase,
    ) -> Result<InstanceRecord, TaskError> {
        match wait_until_ready(&self.ctx, &self.desired, &mut record, phase).await? {
            Ok(()) => Ok(record),
            Err(reason) => Err(self.record_failure(&mut record, reason).await),
        }
    }

    /// Records the failure of an instance, with the last output of its machine.
    async fn record_failure(&self, record: &mut InstanceRecord, reason: FailureReason) -> TaskError {
        let output = fetch_output_tail(&self.ctx, record).await;
        record.set_state(InstanceState::Failed, self.ctx.now());
        let message = reason.to_string();
        record.message = Some(message.clone());
        let event = EventKind::NodeFailed {
            node_id: record.id.clone(),
            node_name: record.node.clone(),
            message,
            output: output.clone(),
        };
        match self.ctx.journal.put_instance(record, vec![event]).await {
            Ok(()) => match self.failure(&record.id, Some(record), reason) {
                TaskError::Failed(failure) => TaskError::Failed(Box::new(NodeFailure { output, ..*failure })),
                error => error,
            },
            Err(error) => TaskError::Journal(error),
        }
    }

    pub(super) fn call_failure(&self, record: &InstanceRecord, failed: FailedCall) -> TaskError {
        self.failure(&record.id, Some(record), failed.into())
    }

    /// Returns a failure with its locations in the user's files.
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

/// Returns a rendered section with the `type` of the original, which selects the driver.
pub(crate) fn with_type(mut section: Value, original: &Value) -> Value {
    if let (Some(section), Some(kind)) = (section.as_object_mut(), section_type(original)) {
        section.insert("type".into(), kind.into());
    }
    section
}
