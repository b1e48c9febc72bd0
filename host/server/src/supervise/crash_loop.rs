//! Crash loops: operations during which services die. If a service dies during an operation, the next service begins it
//! again; if that dies as well, and nothing was done in between, the operation is set aside: it ends as failed, and its
//! infrastructure is detached until the next request. Otherwise it would end every service that starts.
//!
//! The death of a service for another reason does not count against operations that made progress, or ran for a while.

use std::time::Duration;

use jiff::Timestamp;
use occopus_api::Operation;
use occopus_engine::{EngineError, InfrastructureId};
use sha2::{Digest as _, Sha256};
use tokio::sync::MutexGuard;

use super::SupervisorInner;
use crate::operations::Claim;
use crate::problem::ApiError;

/// Deaths of services during an operation after which it is set aside.
const MAX_DEATHS: u32 = 2;
/// Running time of an operation after which a later death of the service does not count against it.
const SURVIVAL_TIME: Duration = Duration::from_secs(600);
/// Time for which a suspect operation (one during which a service died) runs before the next suspect one begins.
const ISOLATION_TIME: Duration = Duration::from_secs(30);

/// Time after which the process that claimed an operation owns the infrastructure or is dead.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(20);

/// Outcome of claiming an operation.
pub(super) enum ClaimOutcome<'a> {
    /// Claimed by this service.
    Claimed {
        /// Lock of a suspect operation, held while no other suspect one may begin.
        isolation: Option<MutexGuard<'a, ()>>,
    },
    /// Set aside with this error.
    SetAside(ApiError),
    /// Superseded by another request.
    Superseded,
}

impl SupervisorInner {
    /// Records in the ledger that this service begins an operation, unless too many services died during it.
    pub(super) async fn claim(
        &self,
        id: &InfrastructureId,
        operation: &Operation,
    ) -> Result<ClaimOutcome<'_>, EngineError> {
        let (holder, before) = (occopus::this_holder(), self.state_digest(id).await?);
        let deaths = match self.ledger.find_claim(operation).await? {
            Some(claim) if claim.before == before => {
                // The infrastructure has no owner now, or this would not begin it. The death of a process on another
                // machine or in another container can't be detected at once.
                let is_old = Timestamp::now().duration_since(claim.since).unsigned_abs() > CLAIM_TIMEOUT;
                let has_died = is_old || occopus::holder_is_dead(&claim.holder);
                let has_died = has_died && claim.holder != holder;
                claim.deaths.saturating_add(has_died.into())
            }
            _ => 0,
        };
        if deaths >= MAX_DEATHS {
            return Ok(ClaimOutcome::SetAside(set_aside_error(operation)));
        }
        let isolation = if deaths > 0 { Some(self.isolation.lock().await) } else { None };
        let is_ours = self.ledger.claim(operation, &Claim { holder, since: Timestamp::now(), deaths, before }).await?;
        Ok(if is_ours { ClaimOutcome::Claimed { isolation } } else { ClaimOutcome::Superseded })
    }

    /// Releases `isolation` after [`ISOLATION_TIME`] and the claim after [`SURVIVAL_TIME`] more. Never returns; the
    /// caller cancels it by dropping it.
    pub(super) async fn record_survival(&self, operation: &Operation, isolation: Option<MutexGuard<'_, ()>>) {
        if let Some(isolation) = isolation {
            tokio::time::sleep(ISOLATION_TIME).await;
            drop(isolation);
        }
        tokio::time::sleep(SURVIVAL_TIME).await;
        self.release_claim(operation).await;
        std::future::pending::<()>().await;
    }

    /// Records in the ledger that a later death of this service does not count against the operation.
    pub(super) async fn release_claim(&self, operation: &Operation) {
        if let Err(error) = self.ledger.release_claim(operation, &occopus::this_holder()).await {
            tracing::warn!(
                infrastructure = operation.infraid,
                "the claim on an operation could not be released: {error}"
            );
        }
    }

    /// Returns a digest of an infrastructure's instances and their states, which changes with any progress.
    async fn state_digest(&self, id: &InfrastructureId) -> Result<String, EngineError> {
        let status = match self.engine.status(id, false).await {
            Ok(status) => status,
            Err(EngineError::UnknownInfrastructure { .. }) => return Ok(String::new()),
            Err(error) => return Err(error),
        };
        let mut digest = Sha256::new();
        for instance in status.nodes.iter().flat_map(|node| &node.instances) {
            digest.update(format!("{} {}\n", instance.id, instance.state));
        }
        Ok(digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

fn set_aside_error(operation: &Operation) -> ApiError {
    let (id, kind) = (&operation.infraid, operation.kind);
    let text = format!("the operation ({kind:?}) is set aside: {MAX_DEATHS} services died after they began it");
    tracing::error!(
        infrastructure = id,
        operation = operation.id,
        "{text}; infrastructure {id} is no longer maintained"
    );
    ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "operation.set-aside", text).with_help(format!(
        "infrastructure {id} is not maintained until it is attached; request another operation, or the same one to try \
         again; the log of the service, or of its machine, shows why it died"
    ))
}
