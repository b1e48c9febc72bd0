//! What all routes share.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use occopus::graph::{TooLarge, svg_of_status};
use occopus::{Occopus, ServiceSettings};
use occopus_engine::ports::{Compare, Store};
use occopus_engine::{Engine, EngineError, InfrastructureState, NodeStatus, Status};
use occopus_model::Infrastructure;

use crate::access::{Access, Caller, Scope, Slots};
use crate::api::Precondition;
use crate::audit::Audit;
use crate::feed::{CachedAnswer, Feed};
use crate::metrics::Metrics;
use crate::operations::{Ledger, NextWork, Operation, OperationState, SubmitCheck, SubmitOutcome, Work};
use crate::problem::ApiError;
use crate::scheduler::FairScheduler;
use crate::supervise::Supervisor;
use crate::write_probe::WriteProbe;

/// The name of a drawing among the answers that are kept.
const GRAPH_ANSWER: &str = "drawing";

/// What all routes share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) occopus: Arc<Occopus>,
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Ledger,
    pub(crate) supervisor: Supervisor,
    pub(crate) feed: Feed,
    pub(crate) access: Access,
    pub(crate) audit: Audit,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Arc<ServiceSettings>,
    pub(crate) scheduler: FairScheduler,
    /// Of event streams.
    pub(crate) stream_slots: Slots,
    pub(crate) started: Timestamp,
    pub(crate) write_probe: WriteProbe,
}

impl Service {
    /// Refuses whoever may not do this to an infrastructure, and ids that can't be any.
    pub(crate) fn authorize(&self, caller: &Caller, scope: Scope, id: &str) -> Result<(), ApiError> {
        caller.authorize(scope, Some(id))?;
        if is_id(id) {
            return Ok(());
        }
        let error = EngineError::InvalidId { id: id.to_owned() };
        Err(ApiError::from(error).with_legacy_status(300))
    }

    /// What is known of an infrastructure. One that is about to be built exists for whoever asked for it.
    pub(crate) async fn status(&self, id: &str) -> Result<Status, ApiError> {
        match self.engine.status(id, false).await {
            Err(EngineError::UnknownInfrastructure { .. }) => {}
            known => return Ok(known?),
        }
        let NextWork::Operation(operation, work) = self.ledger.next(id).await? else {
            return Err(unknown_infrastructure(id));
        };
        let Work::Build { infrastructure, .. } = *work else { return Err(unknown_infrastructure(id)) };
        // It may have begun in the meantime.
        match self.engine.status(id, false).await {
            Err(EngineError::UnknownInfrastructure { .. }) => Ok(pending_status(&operation, *infrastructure)),
            known => Ok(known?),
        }
    }

    /// The graph of an infrastructure with the states of its nodes, drawn once for all who look until something changes.
    pub(crate) async fn render_graph(&self, caller: &Caller, id: &str) -> Result<Result<String, TooLarge>, ApiError> {
        let topic = if self.engine.exists(id).await? { Some(self.feed.topic(id)) } else { None };
        let known = || topic.as_ref().map_or(Err(0), |topic| topic.cached_answer(GRAPH_ANSWER));
        let mut answer = known();
        let mut turn = None;
        if answer.is_err() {
            turn = Some(self.scheduler.acquire(caller).await);
            answer = known();
        }
        let count = match answer {
            Ok(answer) => return Ok(Ok(String::from_utf8_lossy(&answer.body).into_owned())),
            Err(count) => count,
        };
        let status = self.status(id).await?;
        let drawn = tokio::task::spawn_blocking(move || {
            let drawn = svg_of_status(&status);
            drop(turn);
            drawn
        });
        let drawn = drawn.await.map_err(|error| {
            ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "service.panic", error.to_string())
        })?;
        if let (Ok(text), Some(topic)) = (&drawn, topic) {
            let body = bytes::Bytes::copy_from_slice(text.as_bytes());
            topic.cache_answer(GRAPH_ANSWER, count, CachedAnswer { body, tag: "".into() });
        }
        Ok(drawn)
    }

    /// Refuses an id that does not exist.
    pub(crate) async fn ensure_exists(&self, id: &str) -> Result<(), ApiError> {
        if self.engine.exists(id).await? { Ok(()) } else { Err(unknown_infrastructure(id)) }
    }

    /// Promises something, if the description is as the condition wants it in the moment of the promise, and lets somebody begin
    /// with it.
    pub(crate) async fn submit(
        &self,
        id: &str,
        work: Work,
        caller: &Caller,
        condition: &Precondition<'_>,
    ) -> Result<Operation, ApiError> {
        let fits = PreconditionCheck { service: self, id, condition };
        let submitted = self.ledger.submit(id, &work, &caller.name, &fits).await?;
        self.feed.invalidate(id);
        self.supervisor.wake(id);
        match submitted {
            SubmitOutcome::Accepted(operation) => Ok(*operation),
            SubmitOutcome::Destroying => Err(destroying_error(id)),
        }
    }

    /// Waits until an operation has ended; none when that takes too long.
    pub(crate) async fn wait_for_operation(
        &self,
        operation: &Operation,
        patience: std::time::Duration,
    ) -> Result<Option<Operation>, ApiError> {
        let (id, wanted) = (&operation.infraid, &operation.id);
        let mut all = self.feed.watch_all();
        let waiting = async {
            loop {
                all.borrow_and_update();
                match self.ledger.operation(id, wanted).await? {
                    Some(found) if matches!(found.state, OperationState::Pending | OperationState::Running) => {}
                    found => return Ok(found),
                }
                // Other processes may have done it, which is seen only a little later.
                let _ = tokio::time::timeout(std::time::Duration::from_millis(500), all.changed()).await;
            }
        };
        tokio::time::timeout(patience, waiting).await.unwrap_or(Ok(None))
    }
}

/// Whether the description of an infrastructure is as a condition wants it.
struct PreconditionCheck<'a> {
    service: &'a Service,
    id: &'a str,
    condition: &'a Precondition<'a>,
}

#[async_trait]
impl SubmitCheck for PreconditionCheck<'_> {
    async fn check(&self, pending: Option<&Work>) -> Result<Vec<Compare>, ApiError> {
        self.condition.check(self.service, self.id, pending).await
    }
}

/// Whether it may be the id of an infrastructure. What means another place in a path can't be asked for.
pub(crate) fn is_id(id: &str) -> bool {
    !matches!(id, "." | "..") && has_id_syntax(id)
}

/// Whether it has the length and the letters of an id.
pub(crate) fn has_id_syntax(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// What is known of an infrastructure with which nobody has begun.
fn pending_status(operation: &Operation, infrastructure: Infrastructure) -> Status {
    let nodes = infrastructure.nodes.into_iter().map(|node| NodeStatus {
        name: node.name,
        node_type: node.node_type,
        depends_on: node.depends_on,
        target: node.scaling.min,
        min: node.scaling.min,
        max: node.scaling.max,
        instances: Vec::new(),
        failing: None,
    });
    Status {
        id: operation.infraid.clone(),
        name: infrastructure.name,
        state: InfrastructureState::Building,
        message: operation.message.clone(),
        suspended: false,
        owner: None,
        created: operation.requested,
        nodes: nodes.collect(),
    }
}

/// It is about to be gone.
pub(crate) fn destroying_error(id: &str) -> ApiError {
    EngineError::Destroying { id: id.to_owned() }.into()
}

/// There is no such infrastructure.
pub(crate) fn unknown_infrastructure(id: &str) -> ApiError {
    EngineError::UnknownInfrastructure { id: id.to_owned() }.into()
}
