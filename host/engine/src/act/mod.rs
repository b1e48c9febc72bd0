//! Work on single instances: plugin calls, waits, and the records of their outcomes. In come the run context, the
//! desired state and an instance's record; out come records, events and [`TaskError`]s. The order in which instances
//! start is decided in `dispatch` and must not be known here.

mod address_references;
mod assessment;
mod backoff;
mod batcher;
mod calls;
mod context;
mod create;
mod endpoints;
mod health;
mod instance_task;
mod inventory;
mod limiter;
mod monotonic;
mod observation;
mod output_tail;
mod rate_limit;
mod readiness;
mod remove;
mod render;
mod survey;
mod user_fields;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use occopus_model::{Infrastructure, Node};
use tokio_util::sync::CancellationToken;

pub(crate) use address_references::PeerIndex;
pub(crate) use assessment::{Assessment, Death};
pub(crate) use calls::list_labelled;
pub(crate) use context::{PeerFacts, instance_facts, machine_name};
pub(crate) use create::with_type;
pub(crate) use endpoints::Limiters;
pub(crate) use instance_task::{EntryPoint, bring_up_instance};
pub(crate) use inventory::{RemainingMachines, list_remaining};
pub(crate) use remove::{RemovalOutcome, leftover, remove};
pub(crate) use render::{RenderInput, render, render_checks};
pub(crate) use survey::survey;
pub(crate) use user_fields::is_plain;

use crate::drift::Fingerprints;
use crate::error::NodeFailure;
use crate::event::EventKind;
use crate::lease::{InfrastructureLease, Journal, JournalError, KnownInstances};
use crate::ports::{CallContext, CallScope, Clock, Plugins, ProgressCallback};
use crate::settings::Settings;
use crate::state::InstanceRecord;
use batcher::ObserveBatcher;
use endpoints::Endpoints;
pub(crate) use monotonic::{MonotonicTime, elapsed};

/// Services that the engine gives to every run.
pub(crate) struct Services {
    pub(crate) plugins: Arc<dyn Plugins>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) limiters: Arc<Limiters>,
}

/// Limits and batches of a run's calls.
struct RunCalls {
    endpoints: Arc<Endpoints>,
    batcher: ObserveBatcher,
}

/// Dependencies shared by all instance tasks of one run.
#[derive(Clone)]
pub(crate) struct RunContext {
    pub(crate) id: String,
    pub(crate) plugins: Arc<dyn Plugins>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) journal: Arc<Journal>,
    /// Cancelled by the dispatcher after a stop request or a failure that aborts all, and by the reconciler to end a
    /// survey.
    pub(crate) cancel: CancellationToken,
    /// Clock for durations in records, without the jumps of the wall clock.
    pub(crate) monotonic: Arc<MonotonicTime>,
    pub(crate) known_instances: Arc<KnownInstances>,
    calls: Arc<RunCalls>,
}

/// The desired state of an infrastructure, with an index of its nodes by name.
pub(crate) struct DesiredState {
    pub(crate) infrastructure: Infrastructure,
    pub(crate) fingerprints: Fingerprints,
    by_name: HashMap<String, usize>,
}

/// The error of a task that ended early.
#[derive(Debug)]
pub(crate) enum TaskError {
    /// The run was cancelled.
    Cancelled,
    /// State cannot be written, so the whole run stops.
    Journal(JournalError),
    /// The instance failed.
    Failed(Box<NodeFailure>),
}

impl From<JournalError> for TaskError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl DesiredState {
    pub(crate) fn new(infrastructure: Infrastructure) -> Self {
        let by_name = infrastructure.nodes.iter().enumerate().map(|(index, node)| (node.name.clone(), index)).collect();
        Self { fingerprints: Fingerprints::of(&infrastructure), infrastructure, by_name }
    }

    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn node(&self, index: usize) -> Option<&Node> {
        self.infrastructure.nodes.get(index)
    }
}

impl RunContext {
    pub(crate) fn new(
        id: &str,
        services: Services,
        lease: &InfrastructureLease,
        cancel: CancellationToken,
        monotonic: Arc<MonotonicTime>,
    ) -> Arc<Self> {
        let Services { plugins, clock, settings, limiters } = services;
        let endpoints = Arc::new(Endpoints::new(settings.clone(), limiters));
        let batcher = ObserveBatcher::new(settings.observe_batch_size, clock.clone(), endpoints.clone());
        Arc::new(Self {
            id: id.into(),
            plugins,
            clock,
            settings,
            journal: lease.journal.clone(),
            cancel,
            monotonic,
            known_instances: lease.known_instances.clone(),
            calls: Arc::new(RunCalls { endpoints, batcher }),
        })
    }

    /// Returns a copy with another cancellation token.
    pub(crate) fn with_cancel(&self, cancel: CancellationToken) -> Arc<Self> {
        Arc::new(Self { cancel, ..self.clone() })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sleeps; returns false if the run is cancelled meanwhile.
    async fn sleep_unless_cancelled(&self, duration: std::time::Duration) -> bool {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => false,
            () = self.clock.sleep(duration) => true,
        }
    }

    fn call_context(self: &Arc<Self>, node: &str, timeout: std::time::Duration) -> CallContext {
        // Weak, since a plugin may keep the callback for longer than the run lasts.
        let (ctx, name) = (Arc::downgrade(self), node.to_owned());
        let progress: ProgressCallback = Arc::new(move |phase, detail| {
            let Some(ctx) = ctx.upgrade() else { return };
            ctx.journal.emit(EventKind::Progress {
                node_name: name.clone(),
                phase: phase.into(),
                detail: detail.map(str::to_owned),
            });
        });
        CallContext {
            infrastructure_id: self.id.clone(),
            node: node.into(),
            timeout,
            cancel: self.cancel.clone(),
            progress: Some(progress),
            preview: false,
        }
    }

    fn query_scope(self: &Arc<Self>, record: &InstanceRecord) -> CallScope {
        CallScope {
            context: self.call_context(&record.node, self.settings.query_timeout),
            section: record.section.clone(),
        }
    }

    fn mutation_scope(self: &Arc<Self>, record: &InstanceRecord) -> CallScope {
        CallScope {
            context: self.call_context(&record.node, self.settings.mutation_timeout),
            section: record.section.clone(),
        }
    }
}
