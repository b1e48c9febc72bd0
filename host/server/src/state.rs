//! What all routes share.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use occopus::graph::{TooLarge, svg_of_status};
use occopus::{Occopus, ServiceSettings};
use occopus_engine::ports::{Compare, Store};
use occopus_engine::{Engine, EngineError, InfrastructureState, NodeStatus, Status};
use occopus_model::Infrastructure;

use crate::access::{Access, Caller, Places, Scope};
use crate::api::Condition;
use crate::audit::Audit;
use crate::feed::{Answer, Feed};
use crate::metrics::Metrics;
use crate::operations::{Fits, Ledger, Next, Operation, Progress, Submitted, Work};
use crate::problem::Problem;
use crate::shares::Shares;
use crate::supervise::Supervisor;
use crate::writes::Writes;

/// The name of a drawing among the answers that are kept.
const DRAWING: &str = "drawing";

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
    pub(crate) shares: Shares,
    /// Of event streams.
    pub(crate) streams: Places,
    pub(crate) started: Timestamp,
    pub(crate) writes: Writes,
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

    /// The graph of an infrastructure with the states of its nodes, drawn once for all who look until something changes.
    pub(crate) async fn drawing(&self, caller: &Caller, id: &str) -> Result<Result<String, TooLarge>, Problem> {
        let topic = if self.engine.exists(id).await? { Some(self.feed.topic(id)) } else { None };
        let known = || topic.as_ref().map_or(Err(0), |topic| topic.answer(DRAWING));
        let mut answer = known();
        let mut turn = None;
        if answer.is_err() {
            turn = Some(self.shares.turn(caller).await);
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
            Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR, "service.panic", error.to_string())
        })?;
        if let (Ok(text), Some(topic)) = (&drawn, topic) {
            let body = bytes::Bytes::copy_from_slice(text.as_bytes());
            topic.keep(DRAWING, count, Answer { body, tag: "".into() });
        }
        Ok(drawn)
    }

    /// Refuses an id that does not exist.
    pub(crate) async fn known(&self, id: &str) -> Result<(), Problem> {
        if self.engine.exists(id).await? { Ok(()) } else { Err(unknown(id)) }
    }

    /// Promises something, if the description is as the condition wants it in the moment of the promise, and lets somebody begin
    /// with it.
    pub(crate) async fn submit(
        &self,
        id: &str,
        work: Work,
        caller: &Caller,
        condition: &Condition<'_>,
    ) -> Result<Operation, Problem> {
        let fits = As { service: self, id, condition };
        let submitted = self.ledger.submit(id, &work, &caller.name, &fits).await?;
        self.feed.touch(id);
        self.supervisor.wake(id);
        match submitted {
            Submitted::Accepted(operation) => Ok(*operation),
            Submitted::Destroying => Err(destroying(id)),
        }
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

/// Whether the description of an infrastructure is as a condition wants it.
struct As<'a> {
    service: &'a Service,
    id: &'a str,
    condition: &'a Condition<'a>,
}

#[async_trait]
impl Fits for As<'_> {
    async fn to(&self, pending: Option<&Work>) -> Result<Vec<Compare>, Problem> {
        self.condition.check(self.service, self.id, pending).await
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

/// It is about to be gone.
pub(crate) fn destroying(id: &str) -> Problem {
    EngineError::Destroying { id: id.to_owned() }.into()
}

/// There is no such infrastructure.
pub(crate) fn unknown(id: &str) -> Problem {
    EngineError::UnknownInfrastructure { id: id.to_owned() }.into()
}
