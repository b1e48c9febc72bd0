//! What all routes share.

use std::sync::Arc;

use jiff::Timestamp;
use occopus::{Occopus, ServiceSettings};
use occopus_engine::ports::Store;
use occopus_engine::{Engine, EngineError, InfrastructureState, NodeStatus, Status};
use occopus_model::Infrastructure;
use tokio::sync::Semaphore;

use crate::access::{Access, Caller, Scope};
use crate::audit::Audit;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::operations::{Kind, Ledger, Next, Operation, Progress, RequestKey, Submitted, Work};
use crate::problem::Problem;
use crate::supervise::Supervisor;

/// Documents that are compiled at the same time.
pub(crate) const COMPILED_AT_ONCE: usize = 2;

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
    pub(crate) compiling: Arc<Semaphore>,
    pub(crate) tls: bool,
    pub(crate) started: Timestamp,
}

impl Service {
    /// Refuses whoever may not do this to an infrastructure, and ids that can't be any.
    pub(crate) fn allow(&self, caller: &Caller, scope: Scope, id: &str) -> Result<(), Problem> {
        caller.may(scope, Some(id))?;
        if is_id(id) {
            return Ok(());
        }
        let error = EngineError::InvalidId { id: id.to_owned() };
        Err(Problem::from(error).formerly(300))
    }

    /// What is known of an infrastructure. One that is about to be built exists for whoever asked for it.
    pub(crate) async fn status(&self, id: &str) -> Result<Status, Problem> {
        match self.engine.status(id, false).await {
            Err(EngineError::UnknownInfrastructure { .. }) => {}
            known => return Ok(known?),
        }
        let Next::Operation(operation, work) = self.ledger.next(id).await? else { return Err(unknown(id)) };
        let Work::Build { infrastructure, .. } = *work else { return Err(unknown(id)) };
        // It may have begun in the meantime.
        match self.engine.status(id, false).await {
            Err(EngineError::UnknownInfrastructure { .. }) => Ok(promised(&operation, *infrastructure)),
            known => Ok(known?),
        }
    }

    /// Refuses an id that does not exist.
    pub(crate) async fn known(&self, id: &str) -> Result<(), Problem> {
        if self.engine.exists(id).await? { Ok(()) } else { Err(unknown(id)) }
    }

    /// Promises something, and lets somebody begin with it.
    pub(crate) async fn submit(
        &self,
        id: &str,
        work: Work,
        caller: &Caller,
        request: Option<&RequestKey>,
    ) -> Result<Submitted, Problem> {
        let pending = self.ledger.pending(id).await?;
        let is_going = pending.is_some_and(|pending| pending.kind == Kind::Destroy);
        if is_going && work.kind() != Kind::Destroy {
            return Err(EngineError::Destroying { id: id.to_owned() }.into());
        }
        let submitted = self.ledger.submit(id, &work, &caller.name, request).await?;
        self.feed.touch(id);
        self.supervisor.wake(id);
        Ok(submitted)
    }

    /// Waits until an operation has ended; none when that takes too long.
    pub(crate) async fn ended(
        &self,
        operation: &Operation,
        patience: std::time::Duration,
    ) -> Result<Option<Operation>, Problem> {
        let (id, wanted) = (&operation.infraid, &operation.id);
        let mut all = self.feed.all();
        let waiting = async {
            loop {
                all.borrow_and_update();
                match self.ledger.operation(id, wanted).await? {
                    Some(found) if matches!(found.state, Progress::Pending | Progress::Running) => {}
                    found => return Ok(found),
                }
                // Other processes may have done it, which is seen only a little later.
                let _ = tokio::time::timeout(std::time::Duration::from_millis(500), all.changed()).await;
            }
        };
        tokio::time::timeout(patience, waiting).await.unwrap_or(Ok(None))
    }
}

/// Whether it may be the id of an infrastructure. What means another place in a path can't be asked for.
pub(crate) fn is_id(id: &str) -> bool {
    !matches!(id, "." | "..") && is_like_id(id)
}

/// Whether it has the length and the letters of an id.
pub(crate) fn is_like_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// What is known of an infrastructure with which nobody has begun.
fn promised(operation: &Operation, infrastructure: Infrastructure) -> Status {
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

/// There is no such infrastructure.
pub(crate) fn unknown(id: &str) -> Problem {
    EngineError::UnknownInfrastructure { id: id.to_owned() }.into()
}
