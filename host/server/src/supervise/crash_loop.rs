//! Operations over which services die. One that a service has begun, and over which it died, is begun again by the next one; when
//! that dies as well, and nothing was done in between, it is set aside: it ends as failed, and its infrastructure is let go until
//! somebody asks for something. Otherwise it would end every service that comes.
//!
//! A service that is killed for another reason leaves operations alone that have got somewhere, or were under way for a while.

use std::time::Duration;

use jiff::Timestamp;
use occopus_engine::EngineError;
use sha2::{Digest as _, Sha256};
use tokio::sync::MutexGuard;

use super::SupervisorInner;
use crate::operations::{Claim, Operation};
use crate::problem::ApiError;

/// Services that die over an operation before it is set aside.
const MAX_DEATHS: u32 = 2;
/// Over what a service has survived for so long it does not die.
const SURVIVAL_TIME: Duration = Duration::from_secs(600);
/// Time in which an operation over which a service may have died has the service for itself, before the next one of them begins.
const ISOLATION_TIME: Duration = Duration::from_secs(30);

/// Time after which whoever has begun an operation owns the infrastructure or is dead.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(20);

/// Outcome of beginning an operation.
pub(super) enum ClaimOutcome<'a> {
    /// Under way.
    Claimed {
        /// Held as long as no other one that is suspect may begin.
        isolation: Option<MutexGuard<'a, ()>>,
    },
    /// Not begun again.
    SetAside(ApiError),
    /// Another request has taken its place.
    Superseded,
}

impl SupervisorInner {
    /// Writes down that this service begins with an operation.
    pub(super) async fn claim(&self, operation: &Operation) -> Result<ClaimOutcome<'_>, EngineError> {
        let (holder, before) = (occopus::this_holder(), self.state_digest(&operation.infraid).await?);
        let deaths = match self.ledger.find_claim(operation).await? {
            Some(begun) if begun.before == before => {
                // Nobody works on it, or this would not begin. Of another machine or container it can't be told at once.
                let is_long_ago = Timestamp::now().duration_since(begun.since).unsigned_abs() > CLAIM_TIMEOUT;
                let has_died = is_long_ago || occopus::holder_is_dead(&begun.holder);
                let has_died = has_died && begun.holder != holder;
                begun.deaths.saturating_add(has_died.into())
            }
            _ => 0,
        };
        if deaths >= MAX_DEATHS {
            return Ok(ClaimOutcome::SetAside(set_aside_error(operation)));
        }
        let apart = if deaths > 0 { Some(self.isolation.lock().await) } else { None };
        let is_ours = self.ledger.claim(operation, &Claim { holder, since: Timestamp::now(), deaths, before }).await?;
        Ok(if is_ours { ClaimOutcome::Claimed { isolation: apart } } else { ClaimOutcome::Superseded })
    }

    /// Does not end. Writes down that this service has survived an operation, when it has.
    pub(super) async fn record_survival(&self, operation: &Operation, apart: Option<MutexGuard<'_, ()>>) {
        if let Some(apart) = apart {
            tokio::time::sleep(ISOLATION_TIME).await;
            drop(apart);
        }
        tokio::time::sleep(SURVIVAL_TIME).await;
        self.release_claim(operation).await;
        std::future::pending::<()>().await;
    }

    /// Writes down that it is not for this operation if this service dies.
    pub(super) async fn release_claim(&self, operation: &Operation) {
        if let Err(error) = self.ledger.release_claim(operation, &occopus::this_holder()).await {
            tracing::warn!(infrastructure = operation.infraid, "it could not be noted how it stands: {error}");
        }
    }

    /// Returns a text for what there is of an infrastructure, which changes when something is done.
    async fn state_digest(&self, id: &str) -> Result<String, EngineError> {
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
    let text = format!("{MAX_DEATHS} services died while they began with this operation ({kind:?}); it is set aside");
    tracing::error!(infrastructure = id, operation = operation.id, "{text}, and infrastructure {id} is let go");
    ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "operation.set-aside", text).with_help(format!(
        "infrastructure {id} is not kept alive until it is attached; ask for something else, or for the same to try again; \
         the log of the service, or that of its machine, has why it died"
    ))
}
