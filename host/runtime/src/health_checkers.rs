//! Health checkers, for the engine.

use std::sync::Arc;

use async_trait::async_trait;
use occopus_engine::ports::{CheckResult, Fault, HealthChecker, HealthTarget, Reaction, Verdict};

use crate::bindings::health::HealthCheckerPre;
use crate::bindings::health::exports::occopus::health::checker;
use crate::calls::RuntimeCore;
use crate::convert::fault_from_wit;
use crate::host::{CallInput, HealthTargetHandle};
use crate::invoke::{SideEffects, finish_fault};
use crate::plugin::Plugin;
use crate::sanitize;

pub(crate) struct SandboxedHealthChecker {
    pub(crate) shared: Arc<RuntimeCore>,
    pub(crate) plugin: Arc<Plugin>,
}

#[async_trait]
impl HealthChecker for SandboxedHealthChecker {
    async fn check(&self, target: &HealthTarget) -> Result<CheckResult, Fault> {
        let call = self.shared.prepare(&self.plugin, CallInput::Health(target.clone()), &target.context).await?;
        let checked =
            self.shared.run(&self.plugin, "check", Arc::clone(&call), SideEffects::None, async |pre, store| {
                let checker = HealthCheckerPre::new(pre.clone())?.instantiate_async(&mut *store).await?;
                let target = store.data_mut().push(HealthTargetHandle)?;
                checker.occopus_health_checker().call_check(&mut *store, target).await
            });
        let checked = match checked.await {
            Ok(checked) => checked,
            // A failure of the plugin itself says nothing about the node.
            Err(fault) if fault.reaction == Reaction::Retry => {
                let mut details = vec![("fault".to_owned(), fault.code)];
                details.extend(fault.details.into_iter().map(|detail| ("plugin".to_owned(), detail.message)));
                return Ok(CheckResult { verdict: Verdict::CannotTell, reason: fault.message, details });
            }
            Err(fault) => return Err(fault),
        };
        let section = format!("/health_check/{}", self.plugin.description.keyword);
        let observation = checked.map_err(|fault| finish_fault(&call, fault_from_wit(fault, &section)))?;
        Ok(CheckResult {
            verdict: match observation.verdict {
                checker::Verdict::Healthy => Verdict::Healthy,
                checker::Verdict::Unhealthy => Verdict::Unhealthy,
                checker::Verdict::CannotTell => Verdict::CannotTell,
            },
            reason: call.sanitized_message(&observation.reason),
            details: sanitize::pairs(&call, observation.details),
        })
    }
}
