//! Calls of drivers, repeated as their faults tell.

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
    CallScope, CreateRequest, Driver, Fault, Handle, ObservedMachine, OwnedMachine, OwnedPage, Reaction,
};
use crate::state::InstanceRecord;

/// Who waits for longer to call a cloud that has refused calls is told so.
const QUEUED_NOTICE_DELAY: Duration = Duration::from_secs(5);

/// Whom a call is for.
pub(super) struct CallSubject<'a> {
    node: &'a str,
    instance: &'a str,
    section: &'a Value,
    /// How long it may take to become healthy.
    timeout: Duration,
}

impl<'a> From<&'a InstanceRecord> for CallSubject<'a> {
    fn from(record: &'a InstanceRecord) -> Self {
        let timeout = Duration::from_secs(record.health_check.timeout);
        Self { node: &record.node, instance: &record.id, section: &record.section, timeout }
    }
}

/// A call that failed for good.
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

/// How long a call has been failing, when it was last looked at.
struct FailureStreak {
    since: Duration,
    lasted: Duration,
}

impl Attempts {
    /// The end of these attempts by a last one that failed.
    pub(super) fn failed_call(&self, call: &'static str, fault: Fault) -> FailedCall {
        let seconds = self.streak.as_ref().map_or(0, |failing| failing.lasted.as_secs());
        FailedCall { call, fault, attempts: self.failed + 1, seconds }
    }

    /// One more has failed; gives for how long they have been failing.
    fn record_failure(&mut self, now: Duration) -> Duration {
        let since = self.streak.as_ref().map_or(now, |failing| failing.since);
        let lasted = now.saturating_sub(since);
        self.streak = Some(FailureStreak { since, lasted });
        lasted
    }
}

/// How a call ended that did not succeed.
pub(super) enum CallError {
    Cancelled,
    Failed(FailedCall),
}

/// The driver that serves a record.
pub(super) fn driver_for(world: &RunContext, record: &InstanceRecord) -> Result<Arc<dyn Driver>, Fault> {
    let keyword = record.driver();
    world.plugins.driver(keyword).ok_or_else(|| {
        let message = format!("there is no driver for {keyword:?}; is its plugin still installed?");
        Fault::new(Reaction::GiveUp, "engine.no-plugin", message)
    })
}

/// Before a call is repeated: tells so and waits. Gives the fault back when the call has been failing for too long, or when the
/// cloud asks for a longer pause than there is patience for.
pub(super) async fn back_off(
    world: &RunContext,
    record: &InstanceRecord,
    call: &'static str,
    tries: &mut Attempts,
    fault: Fault,
) -> Result<(), CallError> {
    back_off_for(world, &record.into(), call, tries, fault).await
}

async fn back_off_for(
    world: &RunContext,
    subject: &CallSubject<'_>,
    call: &'static str,
    tries: &mut Attempts,
    fault: Fault,
) -> Result<(), CallError> {
    let lasted = tries.record_failure(world.clock.uptime());
    let rest = retry_budget(world, subject.timeout, &fault).saturating_sub(lasted);
    if rest.is_zero() || fault.retry_after.is_some_and(|asked| asked > rest) {
        return Err(CallError::Failed(tries.failed_call(call, fault)));
    }
    tries.failed += 1;
    let who = format!("{}/{call}", subject.instance);
    let pause = retry_delay(&world.settings, tries.failed, &who, fault.retry_after).min(rest);
    world.journal.emit(EventKind::Retrying {
        node_name: subject.node.to_owned(),
        call: call.into(),
        message: fault.message,
        seconds: pause.as_secs_f64(),
    });
    if world.sleep_unless_cancelled(pause).await { Ok(()) } else { Err(CallError::Cancelled) }
}

/// How long a call may go on failing like this: as long as its node may take to become healthy. Where nobody answers, a wrong
/// endpoint is likelier than a cloud that will be back.
fn retry_budget(world: &RunContext, timeout: Duration, fault: &Fault) -> Duration {
    let least = world.settings.unreachable_patience;
    // A call that took too long says nothing against its plugin.
    let crashed = fault.code.starts_with("occopus.plugin-") && fault.code != "occopus.plugin-timeout";
    if fault.unreachable || crashed { least } else { least.max(timeout) }
}

/// Asks the cloud for the machine of an instance, until it answers.
pub(super) async fn find(
    world: &Arc<RunContext>,
    record: &InstanceRecord,
) -> Result<Option<ObservedMachine>, CallError> {
    let mut tries = Attempts::default();
    let driver = driver_for(world, record).map_err(|fault| CallError::Failed(tries.failed_call("find", fault)))?;
    let scope = world.query_scope(record);
    loop {
        let pass = await_admission(world, &record.into(), "find", Purpose::Query, &mut tries).await?;
        let answer = driver.find(&scope, &record.id).await;
        pass.report(&answer);
        match answer {
            Ok(found) => return Ok(found),
            Err(fault) if fault.reaction == Reaction::NotFound => return Ok(None),
            // To look changes nothing, so a lost answer is as good as none.
            Err(fault) if matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) => {
                back_off(world, record, "find", &mut tries, fault).await?;
            }
            Err(fault) => return Err(CallError::Failed(tries.failed_call("find", fault))),
        }
    }
}

/// A create that may be repeated under the same id. From here on a machine may exist: the record says so before anyone is
/// asked for it. It is written anew for every attempt, and as late as can be: the write is refused when another owns the
/// infrastructure by now, and then nobody is asked.
pub(super) async fn create_once(
    world: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    request: &CreateRequest,
    record: &InstanceRecord,
    events: Vec<EventKind>,
    tries: &mut Attempts,
) -> Result<Result<ObservedMachine, Fault>, TaskError> {
    let pass = await_admission(world, &record.into(), "create", Purpose::Mutate, tries)
        .await
        .map_err(|_| TaskError::Cancelled)?;
    world.journal.put_instance(record, events).await?;
    let answer = driver.create(request).await;
    pass.report(&answer);
    if answer.is_ok() {
        tries.permit = None;
    }
    Ok(answer)
}

/// A destroy, once.
pub(super) async fn destroy_once(
    world: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    record: &InstanceRecord,
    tries: &mut Attempts,
) -> Result<Result<(), Fault>, CallError> {
    let Some(handle) = &record.handle else { return Ok(Ok(())) };
    let pass = await_admission(world, &record.into(), "destroy", Purpose::Mutate, tries).await?;
    let answer = driver.destroy(scope, handle).await;
    pass.report(&answer);
    Ok(answer)
}

/// A look at many machines, once. `first` is one of them.
pub(super) async fn observe(
    world: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    first: &InstanceRecord,
    handles: &[Handle],
) -> Result<Vec<ObservedMachine>, Fault> {
    let mut tries = Attempts::default();
    let Ok(pass) = await_admission(world, &first.into(), "observe", Purpose::Query, &mut tries).await else {
        return Err(cancelled_fault());
    };
    let answer = driver.observe(scope, handles).await;
    pass.report(&answer);
    answer
}

/// Lists all that carries our mark, page by page. A page that fails in a way that may pass is asked for again for `timeout`.
pub(crate) async fn list_owned(
    world: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    timeout: Duration,
) -> Result<Vec<OwnedMachine>, FailureReason> {
    match list_owned_cancellable(world, driver, scope, timeout).await {
        Ok(machines) => Ok(machines),
        Err(CallError::Failed(spent)) => Err(spent.into()),
        Err(CallError::Cancelled) => Err(Attempts::default().failed_call("list", cancelled_fault()).into()),
    }
}

/// The same, for those who end with the run.
pub(super) async fn list_owned_cancellable(
    world: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    timeout: Duration,
) -> Result<Vec<OwnedMachine>, CallError> {
    let subject = CallSubject { node: &scope.context.node, instance: "", section: &scope.section, timeout };
    let (mut machines, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = list_page(world, driver, scope, cursor.as_deref(), &subject).await?;
        machines.extend(page.machines);
        match page.cursor {
            Some(next) if Some(&next) != cursor.as_ref() => cursor = Some(next),
            _ => return Ok(machines),
        }
    }
}

async fn list_page(
    world: &Arc<RunContext>,
    driver: &Arc<dyn Driver>,
    scope: &CallScope,
    cursor: Option<&str>,
    subject: &CallSubject<'_>,
) -> Result<OwnedPage, CallError> {
    let mut tries = Attempts::default();
    loop {
        let pass = await_admission(world, subject, "list", Purpose::Query, &mut tries).await?;
        let answer = driver.list_owned(scope, cursor).await;
        pass.report(&answer);
        let fault = match answer {
            Ok(page) => return Ok(page),
            Err(fault) => fault,
        };
        if !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) {
            return Err(CallError::Failed(tries.failed_call("list", fault)));
        }
        back_off_for(world, subject, "list", &mut tries, fault).await?;
    }
}

fn cancelled_fault() -> Fault {
    Fault::new(Reaction::Retry, "engine.cancelled", "stopped before the cloud was asked")
}

/// Waits until the endpoint takes another call. A wait for a cloud that has refused calls is told when it is long.
async fn await_admission(
    world: &RunContext,
    subject: &CallSubject<'_>,
    call: &str,
    purpose: Purpose,
    tries: &mut Attempts,
) -> Result<Admission, CallError> {
    let endpoint = world.endpoints.endpoint_for(subject.section);
    let mut admission = pin!(async {
        if tries.permit.is_none() {
            tries.permit = endpoint.acquire_permit(purpose).await;
        }
        endpoint.limiter.admit().await
    });
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            () = world.cancel.cancelled() => return Err(CallError::Cancelled),
            pass = &mut admission => return Ok(pass),
            () = world.clock.sleep(QUEUED_NOTICE_DELAY), if !told => {
                if let Some(refusal) = endpoint.limiter.refusal() {
                    told = true;
                    let message = format!("`{call}` is queued; fewer calls are made since one was answered with: {refusal}");
                    let (node_id, node_name) = (subject.instance.to_owned(), subject.node.to_owned());
                    world.journal.emit(EventKind::Waiting { node_id, node_name, message });
                }
            }
        }
    }
}

impl TaskError {
    /// A call's end as the end of a story about a node.
    pub(super) fn from_call(ended: CallError, fail: impl FnOnce(FailedCall) -> Self) -> Self {
        match ended {
            CallError::Cancelled => Self::Cancelled,
            CallError::Failed(spent) => fail(spent),
        }
    }
}
