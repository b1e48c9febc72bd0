//! Driver calls, repeated according to the reactions of their faults.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::backoff::retry_delay;
use super::endpoints::Purpose;
use super::limiter::Admission;
use super::{RunContext, TaskError};
use crate::error::FailureReason;
use crate::event::EventKind;
use crate::ports::{
    CallScope, CreateRequest, Driver, Fault, Handle, LabelledMachine, LabelledPage, ObservedMachine, Reaction,
};
use crate::state::InstanceRecord;

/// Wait for a cloud that has refused calls, after which an event reports that the call is queued.
const QUEUED_NOTICE_DELAY: Duration = Duration::from_secs(5);

/// The node and instance that a call is for.
pub(super) struct CallSubject<'a> {
    node: &'a str,
    instance: &'a str,
    section: &'a Value,
    /// Time within which the instance must become healthy.
    timeout: Duration,
}

impl<'a> From<&'a InstanceRecord> for CallSubject<'a> {
    fn from(record: &'a InstanceRecord) -> Self {
        let timeout = Duration::from_secs(record.health_check.timeout);
        Self { node: &record.node, instance: &record.id, section: &record.section, timeout }
    }
}

/// A call that failed and is not repeated.
pub(super) struct FailedCall {
    pub(super) call: &'static str,
    pub(super) fault: Fault,
    pub(super) attempts: u32,
    pub(super) seconds: u64,
}

/// The attempts at one call, from the first to the last. They keep one permit of the endpoint.
#[derive(Default)]
pub(super) struct Attempts {
    failed: u32,
    streak: Option<FailureStreak>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Time for which a call has been failing, as of its last failure.
struct FailureStreak {
    since: Duration,
    lasted: Duration,
}

impl Attempts {
    /// Returns the failed call that these attempts end with. `fault` is that of one more attempt, which is counted.
    pub(super) fn failed_call(&self, call: &'static str, fault: Fault) -> FailedCall {
        let seconds = self.streak.as_ref().map_or(0, |streak| streak.lasted.as_secs());
        FailedCall { call, fault, attempts: self.failed + 1, seconds }
    }

    /// Records a failed attempt; returns for how long the attempts have been failing.
    fn record_failure(&mut self, now: Duration) -> Duration {
        let since = self.streak.as_ref().map_or(now, |streak| streak.since);
        let lasted = now.saturating_sub(since);
        self.streak = Some(FailureStreak { since, lasted });
        lasted
    }
}

/// The error of a call.
pub(super) enum CallError {
    Cancelled,
    Failed(FailedCall),
}

/// Returns the driver of a record.
pub(super) fn driver_for(ctx: &RunContext, record: &InstanceRecord) -> Result<Arc<dyn Driver>, Fault> {
    let keyword = record.driver();
    ctx.plugins.driver(keyword).ok_or_else(|| {
        let message = format!("there is no driver for {keyword:?}; is its plugin still installed?");
        Fault::new(Reaction::GiveUp, "engine.no-plugin", message)
    })
}

/// Reports that a call is repeated, and waits before the next attempt. Fails if the call has been failing for longer
/// than its retry budget, if the cloud asks for a pause beyond it, or if the run is cancelled.
pub(super) async fn back_off(
    ctx: &RunContext,
    record: &InstanceRecord,
    call: &'static str,
    attempts: &mut Attempts,
    fault: Fault,
) -> Result<(), CallError> {
    back_off_for(ctx, &record.into(), call, attempts, fault).await
}

async fn back_off_for(
    ctx: &RunContext,
    subject: &CallSubject<'_>,
    call: &'static str,
    attempts: &mut Attempts,
    fault: Fault,
) -> Result<(), CallError> {
    let lasted = attempts.record_failure(ctx.clock.uptime());
    let rest = retry_budget(ctx, subject.timeout, &fault).saturating_sub(lasted);
    if rest.is_zero() || fault.retry_after.is_some_and(|retry_after| retry_after > rest) {
        return Err(CallError::Failed(attempts.failed_call(call, fault)));
    }
    attempts.failed += 1;
    let caller = format!("{}/{call}", subject.instance);
    let pause = retry_delay(&ctx.settings, attempts.failed, &caller, fault.retry_after).min(rest);
    ctx.journal.emit(EventKind::Retrying {
        node_name: subject.node.to_owned(),
        call: call.into(),
        message: fault.message,
        seconds: pause.as_secs_f64(),
    });
    if ctx.sleep_unless_cancelled(pause).await { Ok(()) } else { Err(CallError::Cancelled) }
}

/// Returns for how long a call may go on failing with such faults: as long as its node may take to become healthy. Less
/// if no server answers, since a wrong endpoint is likelier than a cloud that will be back.
fn retry_budget(ctx: &RunContext, timeout: Duration, fault: &Fault) -> Duration {
    let min = ctx.settings.unreachable_patience;
    // A call that timed out is not a crash of its plugin.
    let crashed = fault.code.starts_with("occopus.plugin-") && fault.code != "occopus.plugin-timeout";
    if fault.unreachable || crashed { min } else { min.max(timeout) }
}

/// Finds the machine of an instance, and repeats the call until the cloud answers.
pub(super) async fn find(ctx: &Arc<RunContext>, record: &InstanceRecord) -> Result<Option<ObservedMachine>, CallError> {
    let mut attempts = Attempts::default();
    let driver = driver_for(ctx, record).map_err(|fault| CallError::Failed(attempts.failed_call("find", fault)))?;
    let scope = ctx.query_scope(record);
    loop {
        let admission = await_admission(ctx, &record.into(), "find", Purpose::Query, &mut attempts).await?;
        let answer = driver.find(&scope, &record.id).await;
        admission.report(&answer);
        match answer {
            Ok(found) => return Ok(found),
            Err(fault) if fault.reaction == Reaction::NotFound => return Ok(None),
            // The call changes nothing, so a lost answer is no unresolved outcome.
            Err(fault) if matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) => {
                back_off(ctx, record, "find", &mut attempts, fault).await?;
            }
            Err(fault) => return Err(CallError::Failed(attempts.failed_call("find", fault))),
        }
    }
}

/// Makes one attempt to create a machine; it may be repeated under the same id. From here on a machine may exist, so
/// the record is written before the call. It is written anew before every attempt, as late as possible: if another
/// process owns the infrastructure by now, the write fails and no call is made.
pub(super) async fn create_once(
    ctx: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    request: &CreateRequest,
    record: &InstanceRecord,
    events: Vec<EventKind>,
    attempts: &mut Attempts,
) -> Result<Result<ObservedMachine, Fault>, TaskError> {
    let admission = await_admission(ctx, &record.into(), "create", Purpose::Mutate, attempts)
        .await
        .map_err(|_| TaskError::Cancelled)?;
    ctx.journal.put_instance(record, events).await?;
    let answer = driver.create(request).await;
    admission.report(&answer);
    if answer.is_ok() {
        attempts.permit = None;
    }
    Ok(answer)
}

/// Makes one attempt to destroy a machine.
pub(super) async fn destroy_once(
    ctx: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    record: &InstanceRecord,
    attempts: &mut Attempts,
) -> Result<Result<(), Fault>, CallError> {
    let Some(handle) = &record.handle else { return Ok(Ok(())) };
    let admission = await_admission(ctx, &record.into(), "destroy", Purpose::Mutate, attempts).await?;
    let answer = driver.destroy(scope, handle).await;
    admission.report(&answer);
    Ok(answer)
}

/// Makes one attempt to observe many machines. `first` is one of them.
pub(super) async fn observe(
    ctx: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    first: &InstanceRecord,
    handles: &[Handle],
) -> Result<Vec<ObservedMachine>, Fault> {
    let mut attempts = Attempts::default();
    let Ok(admission) = await_admission(ctx, &first.into(), "observe", Purpose::Query, &mut attempts).await else {
        return Err(cancelled_fault());
    };
    let answer = driver.observe(scope, handles).await;
    admission.report(&answer);
    answer
}

/// Lists all machines with an ownership label, page by page. A page that fails with a fault that may pass is requested
/// again for `timeout`.
pub(crate) async fn list_labelled(
    ctx: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    timeout: Duration,
) -> Result<Vec<LabelledMachine>, FailureReason> {
    match list_labelled_cancellable(ctx, driver, scope, timeout).await {
        Ok(machines) => Ok(machines),
        Err(CallError::Failed(failed)) => Err(failed.into()),
        Err(CallError::Cancelled) => Err(Attempts::default().failed_call("list", cancelled_fault()).into()),
    }
}

/// Does the same as [`list_labelled`], with a separate error if the run is cancelled.
pub(super) async fn list_labelled_cancellable(
    ctx: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    timeout: Duration,
) -> Result<Vec<LabelledMachine>, CallError> {
    let subject = CallSubject { node: &scope.context.node, instance: "", section: &scope.section, timeout };
    let (mut machines, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = list_page(ctx, driver, scope, cursor.as_deref(), &subject).await?;
        machines.extend(page.machines);
        match page.cursor {
            Some(next) if Some(&next) != cursor.as_ref() => cursor = Some(next),
            _ => return Ok(machines),
        }
    }
}

async fn list_page(
    ctx: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    cursor: Option<&str>,
    subject: &CallSubject<'_>,
) -> Result<LabelledPage, CallError> {
    let mut attempts = Attempts::default();
    loop {
        let admission = await_admission(ctx, subject, "list", Purpose::Query, &mut attempts).await?;
        let answer = driver.list_owned(scope, cursor).await;
        admission.report(&answer);
        let fault = match answer {
            Ok(page) => return Ok(page),
            Err(fault) => fault,
        };
        if !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) {
            return Err(CallError::Failed(attempts.failed_call("list", fault)));
        }
        back_off_for(ctx, subject, "list", &mut attempts, fault).await?;
    }
}

fn cancelled_fault() -> Fault {
    Fault::new(Reaction::Retry, "engine.cancelled", "stopped before the cloud was called")
}

/// Waits until the endpoint admits another call. Reports a wait of more than [`QUEUED_NOTICE_DELAY`] for a cloud that
/// has refused calls.
async fn await_admission(
    ctx: &RunContext,
    subject: &CallSubject<'_>,
    call: &str,
    purpose: Purpose,
    attempts: &mut Attempts,
) -> Result<Admission, CallError> {
    let endpoint = ctx.calls.endpoints.limits_for(subject.section);
    let mut admission = pin!(async {
        if attempts.permit.is_none() {
            attempts.permit = endpoint.acquire_permit(purpose).await;
        }
        endpoint.limiter.admit().await
    });
    let mut is_reported = false;
    loop {
        tokio::select! {
            biased;
            () = ctx.cancel.cancelled() => return Err(CallError::Cancelled),
            admitted = &mut admission => return Ok(admitted),
            () = ctx.clock.sleep(QUEUED_NOTICE_DELAY), if !is_reported => {
                if let Some(refusal) = endpoint.limiter.refusal() {
                    is_reported = true;
                    let message = format!("`{call}` is queued; the cloud gets fewer calls since it refused one ({refusal})");
                    let (node_id, node_name) = (subject.instance.to_owned(), subject.node.to_owned());
                    ctx.journal.emit(EventKind::Waiting { node_id, node_name, message });
                }
            }
        }
    }
}

impl TaskError {
    /// Converts the error of a call; `fail` converts a failed one.
    pub(super) fn from_call(error: CallError, fail: impl FnOnce(FailedCall) -> Self) -> Self {
        match error {
            CallError::Cancelled => Self::Cancelled,
            CallError::Failed(failed) => fail(failed),
        }
    }
}
