//! What all routes share.

use std::sync::Arc;

use jiff::Timestamp;
use occopus::{Occopus, ServiceSettings};
use occopus_engine::Engine;
use occopus_engine::ports::Store;
use tokio::sync::Semaphore;

use crate::access::{Access, Caller, Scope};
use crate::audit::Audit;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::operations::{Kind, Ledger, Operation, Progress, RequestKey, Submitted, Work};
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
        let error = occopus_engine::EngineError::InvalidId { id: id.to_owned() };
        Err(Problem::from(error).formerly(300))
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
            return Err(occopus_engine::EngineError::Destroying { id: id.to_owned() }.into());
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

/// Whether it may be the id of an infrastructure.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// There is no such infrastructure.
pub(crate) fn unknown(id: &str) -> Problem {
    occopus_engine::EngineError::UnknownInfrastructure { id: id.to_owned() }.into()
}
