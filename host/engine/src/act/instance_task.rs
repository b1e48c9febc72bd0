//! Bring-up of one instance, from nothing or from the record that an earlier run left, until it is ready. An instance
//! that is not ready yet has one way there, however far an earlier run came: `create`, and the wait in `readiness`.

use std::sync::Arc;

use serde_json::Value;

use super::assessment::{Assessment, Death, assess, observe_and_assess};
use super::calls;
use super::create::InstanceTask;
use super::observation::observe_confirmed;
use super::output_tail::fetch_output_tail;
use super::remove::{RemovalOutcome, remove};
use super::user_fields::is_plain;
use super::{DesiredState, PeerFacts, RunContext, TaskError};
use crate::event::EventKind;
use crate::ports::Phase;
use crate::state::InstanceRecord;
use crate::status::InstanceState;

/// The state in which a task finds its instance.
#[derive(Debug, Clone)]
pub(crate) enum EntryPoint {
    /// An instance without record and machine.
    New,
    /// An instance without record and machine, in place of an old one that the caller removes once the new one is ready.
    CreateBeforeDestroy(String),
    /// An instance that an earlier run did not finish.
    Resume(InstanceRecord),
    /// An instance that was ready, to be observed again.
    Check(InstanceRecord),
    /// A dead instance, to be removed before another is created.
    Replace(InstanceRecord, Death),
}

/// Brings up one instance of a node and returns its record once it is ready. `id` is for a new instance, if one is created.
///
/// The run context cancels it: at a request to stop, when another node fails and the build rolls back, or when the lease
/// is lost. A call under way then has 10 s to end. The record stays; what was made is removed by the rollback, if any.
#[tracing::instrument(name = "bring up", level = "debug", skip_all, fields(node = desired.node(node).map(|node| &*node.name), instance = id))]
pub(crate) async fn bring_up_instance(
    ctx: Arc<RunContext>,
    desired: Arc<DesiredState>,
    node: usize,
    entry_point: EntryPoint,
    id: String,
    facts: PeerFacts,
) -> Result<InstanceRecord, TaskError> {
    let replaces = match &entry_point {
        EntryPoint::CreateBeforeDestroy(old) => Some(old.clone()),
        EntryPoint::Resume(record) => record.replaces.clone(),
        EntryPoint::New | EntryPoint::Check(_) | EntryPoint::Replace(..) => None,
    };
    let task = InstanceTask { ctx, desired, node, facts, replaces, has_lost_answer: false };
    match entry_point {
        EntryPoint::New | EntryPoint::CreateBeforeDestroy(_) => task.create(id, false).await,
        EntryPoint::Resume(record) => task.resume(record, id).await,
        EntryPoint::Check(mut record) => match observe_and_assess(&task.ctx, &task.desired, &mut record).await? {
            Assessment::Ready | Assessment::Inconclusive(_) => Ok(record),
            Assessment::NotReady => task.await_ready(record, Phase::Running).await,
            Assessment::Dead(death) => task.replace(record, death, id).await,
        },
        EntryPoint::Replace(record, death) => task.replace(record, death, id).await,
    }
}

impl InstanceTask {
    async fn resume(self, mut record: InstanceRecord, id: String) -> Result<InstanceRecord, TaskError> {
        if record.has_no_machine() {
            return self.create(record.id, true).await;
        }
        if record.is_unresolved() {
            self.correct_endpoint(&mut record);
            let found = calls::find(&self.ctx, &record).await;
            return match found
                .map_err(|error| TaskError::from_call(error, |failed| self.call_failure(&record, failed)))?
            {
                Some(observed) => {
                    let phase = self.record_placement(&mut record, observed, true).await?;
                    self.await_ready_or_replace(record, phase, id).await
                }
                // No machine exists and none will appear, so the same id may be used again.
                None => Self { has_lost_answer: true, ..self }.create(record.id, true).await,
            };
        }
        let phase = match observe_confirmed(&self.ctx, &record).await? {
            Ok(observed) => {
                let phase = observed.phase;
                record.apply_observation(observed);
                phase
            }
            // It is observed again while it is awaited.
            Err(_) => Phase::Unknown,
        };
        self.await_ready_or_replace(record, phase, id).await
    }

    /// Waits until an instance that an earlier run left is ready. One that died while no run observed it is replaced, as
    /// a ready one would be.
    async fn await_ready_or_replace(
        &self,
        record: InstanceRecord,
        phase: Phase,
        id: String,
    ) -> Result<InstanceRecord, TaskError> {
        match Death::from_phase(phase, &record) {
            Some(death) => self.replace(record, death, id).await,
            None => self.await_ready(record, phase).await,
        }
    }

    /// Takes the endpoint of the current description for a machine that was never placed, if nothing else in the
    /// section has changed: the recorded endpoint was wrong.
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
            // A rendered value cannot be compared with its template, and counts as unchanged.
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
        let output = if death.vanished { None } else { fetch_output_tail(&self.ctx, &old).await };
        let (node_id, node_name) = (old.id.clone(), old.node.clone());
        let event = EventKind::NodeReplacing { node_id, node_name, message: death.reason, output };
        self.ctx.journal.write(Vec::new(), vec![event]).await?;
        // An instance that cannot be removed keeps its record and is removed later; it does not block its replacement.
        if let RemovalOutcome::Left(left) = remove(&self.ctx, old, death.vanished).await? {
            tracing::warn!(
                node = left.node,
                instance = left.instance,
                reason = left.message,
                "cannot remove the replaced instance"
            );
        }
        if self.ctx.cancel.is_cancelled() {
            return Err(TaskError::Cancelled);
        }
        self.create(id, false).await
    }

    /// Finds the machine of a vanished instance by the instance's id, and assesses it if it exists after all. If the
    /// call fails, nothing is replaced.
    async fn find_before_replacing(&self, old: &mut InstanceRecord) -> Result<Option<Assessment>, TaskError> {
        let found = calls::find(&self.ctx, old).await;
        let found = found.map_err(|error| TaskError::from_call(error, |failed| self.call_failure(old, failed)))?;
        let Some(observed) = found.filter(|it| matches!(it.phase, Phase::Running | Phase::Pending | Phase::Unknown))
        else {
            return Ok(None);
        };
        if old.ready_at.is_none() {
            // The instance was never ready, and is awaited like any other.
            self.record_placement(old, observed, true).await?;
            return Ok(Some(Assessment::NotReady));
        }
        // Its checks decide whether it is ready.
        old.set_state(InstanceState::Unhealthy, self.ctx.now());
        assess(&self.ctx, &self.desired, old, Ok(observed)).await.map(Some)
    }
}
