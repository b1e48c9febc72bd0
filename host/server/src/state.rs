//! The state that all routes share.

use std::sync::Arc;

use jiff::Timestamp;
use occopus::graph::{TooLarge, svg_of_status};
use occopus::{Occopus, ServiceSettings};
use occopus_api::{Operation, OperationState};
use occopus_engine::ports::Store;
use occopus_engine::{Engine, EngineError, InfrastructureId, InfrastructureState, NodeStatus, Status};
use occopus_model::Infrastructure;

use crate::access::{Access, Caller, Scope, Slots};
use crate::audit::Audit;
use crate::feed::{CachedAnswer, Feed};
use crate::metrics::Metrics;
use crate::operations::{Ledger, NextWork, Work};
use crate::path_id::parse_path_id;
use crate::problem::ApiError;
use crate::scheduler::FairScheduler;
use crate::supervise::Supervisor;
use crate::write_probe::WriteProbe;

/// Name of the drawing among the cached answers of a topic.
const GRAPH_ANSWER: &str = "drawing";

/// The state that all routes share. Cheap to clone.
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
    /// Slots for event streams.
    pub(crate) stream_slots: Slots,
    pub(crate) started: Timestamp,
    pub(crate) write_probe: WriteProbe,
}

impl Service {
    /// Checks that the caller has this scope on an infrastructure, and returns its id, which is that of a path.
    ///
    /// # Errors
    /// Fails if the caller may not, or the id is invalid.
    pub(crate) fn authorize(&self, caller: &Caller, scope: Scope, id: &str) -> Result<InfrastructureId, ApiError> {
        caller.authorize(scope, Some(id))?;
        parse_path_id(id).map_err(|error| ApiError::from(EngineError::from(error)).with_legacy_status(300))
    }

    /// Returns the status of an infrastructure from its records. One whose build is only accepted exists, too, without
    /// instances.
    ///
    /// # Errors
    /// Fails if the infrastructure is unknown, or the store can't be read.
    pub(crate) async fn status(&self, id: &InfrastructureId) -> Result<Status, ApiError> {
        match self.engine.status(id, false).await {
            Err(EngineError::UnknownInfrastructure { .. }) => {}
            status => return Ok(status?),
        }
        let NextWork::Operation(operation, work) = self.ledger.next(id).await? else {
            return Err(unknown_infrastructure(id));
        };
        let Work::Build { infrastructure, .. } = *work else { return Err(unknown_infrastructure(id)) };
        // The build may have started in the meantime.
        match self.engine.status(id, false).await {
            Err(EngineError::UnknownInfrastructure { .. }) => Ok(pending_status(id, &operation, *infrastructure)),
            status => Ok(status?),
        }
    }

    /// Renders the graph of an infrastructure with the states of its nodes as SVG. The drawing is cached until something
    /// changes; drawing waits for a permit of the scheduler.
    ///
    /// # Errors
    /// Fails if the infrastructure is unknown, the store can't be read, or drawing panics. The inner error is a graph
    /// that is too large to draw.
    pub(crate) async fn render_graph(
        &self,
        caller: &Caller,
        id: &InfrastructureId,
    ) -> Result<Result<String, TooLarge>, ApiError> {
        let topic = if self.engine.exists(id).await? { Some(self.feed.topic(id)) } else { None };
        let cached = || topic.as_ref().map_or(Err(0), |topic| topic.cached_answer(GRAPH_ANSWER));
        let mut answer = cached();
        let mut permit = None;
        if answer.is_err() {
            permit = Some(self.scheduler.acquire(caller).await);
            answer = cached();
        }
        let count = match answer {
            Ok(answer) => return Ok(Ok(String::from_utf8_lossy(&answer.body).into_owned())),
            Err(count) => count,
        };
        let status = self.status(id).await?;
        let drawing = tokio::task::spawn_blocking(move || {
            let drawing = svg_of_status(&status);
            drop(permit);
            drawing
        });
        let drawing = drawing.await.map_err(|error| {
            ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "service.panic", error.to_string())
        })?;
        if let (Ok(text), Some(topic)) = (&drawing, topic) {
            let body = bytes::Bytes::copy_from_slice(text.as_bytes());
            topic.cache_answer(GRAPH_ANSWER, count, CachedAnswer { body, tag: "".into() });
        }
        Ok(drawing)
    }

    /// Checks that an infrastructure exists.
    ///
    /// # Errors
    /// Fails if the infrastructure is unknown, or the store can't be read.
    pub(crate) async fn ensure_exists(&self, id: &InfrastructureId) -> Result<(), ApiError> {
        if self.engine.exists(id).await? { Ok(()) } else { Err(unknown_infrastructure(id)) }
    }

    /// Waits until an operation has ended; `None` if it has not within `timeout`, or if it is not in the ledger.
    ///
    /// # Errors
    /// Fails if the store can't be read.
    pub(crate) async fn wait_for_operation(
        &self,
        operation: &Operation,
        timeout: std::time::Duration,
    ) -> Result<Option<Operation>, ApiError> {
        let (infraid, id) = (&operation.infraid, &operation.id);
        let mut changes = self.feed.watch_all();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                match self.ledger.operation(infraid, id).await? {
                    Some(found) if matches!(found.state, OperationState::Pending | OperationState::Running) => {}
                    found => return Ok(found),
                }
                // The end of an operation in another process is seen with a delay: the ledger is read again after this time.
                let _ = tokio::time::timeout(std::time::Duration::from_millis(500), changes.changed()).await;
            }
        };
        tokio::time::timeout(timeout, waiting).await.unwrap_or(Ok(None))
    }
}

/// Returns the status of an infrastructure whose build is accepted and has not started.
fn pending_status(id: &InfrastructureId, operation: &Operation, infrastructure: Infrastructure) -> Status {
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
        id: id.clone(),
        name: infrastructure.name,
        state: InfrastructureState::Building,
        message: operation.message.clone(),
        suspended: false,
        owner: None,
        created: operation.requested,
        nodes: nodes.collect(),
    }
}

/// Creates the error for an infrastructure that is being destroyed.
pub(crate) fn destroying_error(id: &str) -> ApiError {
    EngineError::Destroying { id: id.to_owned() }.into()
}

/// Creates the error for an unknown infrastructure.
pub(crate) fn unknown_infrastructure(id: &str) -> ApiError {
    EngineError::UnknownInfrastructure { id: id.to_owned() }.into()
}
