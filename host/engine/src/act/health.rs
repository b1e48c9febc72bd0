//! The health checks of one instance.

use std::sync::Arc;

use super::observation::is_retryable;
use super::{DesiredState, RunContext, context};
use crate::ports::{Fault, HealthTarget, Reaction, Verdict};
use crate::state::InstanceRecord;

/// The combined result of the health checks.
pub(super) enum Health {
    Healthy,
    Unhealthy(Verdict, String),
}

/// Runs the health checks in order, up to the first that does not pass. A fault means that a section is unusable.
pub(super) async fn check(
    ctx: &Arc<RunContext>,
    desired: &DesiredState,
    record: &InstanceRecord,
) -> Result<Health, Fault> {
    if record.health_check.checks.is_empty() {
        return Ok(Health::Healthy);
    }
    let template_data = context::check_data(&ctx.id, desired, record);
    for (keyword, section) in &record.health_check.checks {
        let Some(checker) = ctx.plugins.health_checker(keyword) else {
            let message = format!("there is no health checker for {keyword:?}");
            return Err(Fault::new(Reaction::GiveUp, "engine.no-plugin", message));
        };
        let target = HealthTarget {
            context: ctx.call_context(&record.node, ctx.settings.query_timeout),
            section: Arc::new(section.clone()),
            addresses: record.addresses.clone(),
            node_name: record.node.clone(),
            instance_id: record.id.clone(),
            template_data: template_data.clone(),
        };
        match checker.check(&target).await {
            Ok(result) if result.verdict == Verdict::Healthy => {}
            Ok(result) => return Ok(Health::Unhealthy(result.verdict, result.reason)),
            Err(fault) if is_retryable(&fault) => return Ok(Health::Unhealthy(Verdict::CannotTell, fault.message)),
            Err(fault) => return Err(fault),
        }
    }
    Ok(Health::Healthy)
}
