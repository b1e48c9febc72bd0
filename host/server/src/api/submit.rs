//! Acceptance of operations.

use async_trait::async_trait;
use occopus_api::Operation;
use occopus_engine::InfrastructureId;
use occopus_engine::ports::Compare;

use super::description::Precondition;
use crate::access::Caller;
use crate::operations::{SubmitCheck, SubmitOutcome, Work};
use crate::problem::ApiError;
use crate::state::{Service, destroying_error};

impl Service {
    /// Accepts an operation into the ledger, if the description satisfies the condition in the same transaction, and
    /// wakes the supervisor.
    ///
    /// # Errors
    /// Fails if the condition does not hold, the infrastructure is being destroyed, or the store fails.
    pub(crate) async fn submit(
        &self,
        id: &InfrastructureId,
        work: Work,
        caller: &Caller,
        condition: &Precondition<'_>,
    ) -> Result<Operation, ApiError> {
        let check = PreconditionCheck { service: self, id, condition };
        let submitted = self.ledger.submit(id, &work, &caller.name, &check).await?;
        self.feed.invalidate(id);
        self.supervisor.wake(id);
        match submitted {
            SubmitOutcome::Accepted(operation) => Ok(*operation),
            SubmitOutcome::Destroying => Err(destroying_error(id)),
        }
    }
}

/// Check of a request's precondition on the description of an infrastructure.
struct PreconditionCheck<'a> {
    service: &'a Service,
    id: &'a InfrastructureId,
    condition: &'a Precondition<'a>,
}

#[async_trait]
impl SubmitCheck for PreconditionCheck<'_> {
    async fn check(&self, pending: Option<&Work>) -> Result<Vec<Compare>, ApiError> {
        self.condition.check(self.service, self.id, pending).await
    }
}
