//! Calls of drivers, repeated as their faults tell.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::backoff::before_retry;
use super::endpoints::Purpose;
use super::gate::Pass;
use super::{Trouble, World};
use crate::error::Reason;
use crate::event::What;
use crate::ports::{CreateRequest, Driver, Fault, Handle, Observed, Owned, OwnedPage, Reaction, Scope};
use crate::state::InstanceRecord;

/// Who waits for longer to call a cloud that has refused calls is told so.
const SILENT: Duration = Duration::from_secs(5);

/// Whom a call is for.
pub(super) struct Subject<'a> {
    node: &'a str,
    instance: &'a str,
    section: &'a Value,
    /// How long it may take to become healthy.
    timeout: Duration,
}

impl<'a> From<&'a InstanceRecord> for Subject<'a> {
    fn from(record: &'a InstanceRecord) -> Self {
        let timeout = Duration::from_secs(record.health_check.timeout);
        Self { node: &record.node, instance: &record.id, section: &record.section, timeout }
    }
}

/// A call that failed for good.
pub(super) struct Spent {
    pub(super) call: &'static str,
    pub(super) fault: Fault,
    pub(super) attempts: u32,
    pub(super) seconds: u64,
}

/// The attempts at one call, from the first to the last. They keep one permit of the endpoint.
#[derive(Default)]
pub(super) struct Tries {
    failed: u32,
    failing: Option<Failing>,
    permit: Option<OwnedSemaphorePermit>,
}

/// How long a call has been failing, when it was last looked at.
struct Failing {
    since: Duration,
    lasted: Duration,
}

impl Tries {
    /// The end of these attempts by a last one that failed.
    pub(super) fn spent(&self, call: &'static str, fault: Fault) -> Spent {
        let seconds = self.failing.as_ref().map_or(0, |failing| failing.lasted.as_secs());
        Spent { call, fault, attempts: self.failed + 1, seconds }
    }

    /// One more has failed; gives for how long they have been failing.
    fn fail(&mut self, now: Duration) -> Duration {
        let since = self.failing.as_ref().map_or(now, |failing| failing.since);
        let lasted = now.saturating_sub(since);
        self.failing = Some(Failing { since, lasted });
        lasted
    }
}

/// How a call ended that did not succeed.
pub(super) enum Ended {
    Cancelled,
    Spent(Spent),
}

/// The driver that serves a record.
pub(super) fn driver(world: &World, record: &InstanceRecord) -> Result<Arc<dyn Driver>, Fault> {
    let keyword = record.driver();
    world.plugins.driver(keyword).ok_or_else(|| {
        let message = format!("there is no driver for {keyword:?}; is its plugin still installed?");
        Fault::new(Reaction::GiveUp, "engine.no-plugin", message)
    })
}

/// Before a call is repeated: tells so and waits. Gives the fault back when the call has been failing for too long, or when the
/// cloud asks for a longer pause than there is patience for.
pub(super) async fn again(
    world: &World,
    record: &InstanceRecord,
    call: &'static str,
    tries: &mut Tries,
    fault: Fault,
) -> Result<(), Ended> {
    pause(world, &record.into(), call, tries, fault).await
}

async fn pause(
    world: &World,
    subject: &Subject<'_>,
    call: &'static str,
    tries: &mut Tries,
    fault: Fault,
) -> Result<(), Ended> {
    let lasted = tries.fail(world.clock.uptime());
    let rest = patience(world, subject.timeout, &fault).saturating_sub(lasted);
    if rest.is_zero() || fault.retry_after.is_some_and(|asked| asked > rest) {
        return Err(Ended::Spent(tries.spent(call, fault)));
    }
    tries.failed += 1;
    let who = format!("{}/{call}", subject.instance);
    let pause = before_retry(&world.settings, tries.failed, &who, fault.retry_after).min(rest);
    world.journal.tell(What::Retrying {
        node_name: subject.node.to_owned(),
        call: call.into(),
        message: fault.message,
        seconds: pause.as_secs_f64(),
    });
    if world.pause(pause).await { Ok(()) } else { Err(Ended::Cancelled) }
}

/// How long a call may go on failing like this: as long as its node may take to become healthy. Where nobody answers, a wrong
/// endpoint is likelier than a cloud that will be back.
fn patience(world: &World, timeout: Duration, fault: &Fault) -> Duration {
    let least = world.settings.unreachable_patience;
    // A call that took too long says nothing against its plugin.
    let crashed = fault.code.starts_with("occopus.plugin-") && fault.code != "occopus.plugin-timeout";
    if fault.unreachable || crashed { least } else { least.max(timeout) }
}

/// Asks the cloud for the machine of an instance, until it answers.
pub(super) async fn find(world: &Arc<World>, record: &InstanceRecord) -> Result<Option<Observed>, Ended> {
    let mut tries = Tries::default();
    let driver = driver(world, record).map_err(|fault| Ended::Spent(tries.spent("find", fault)))?;
    let scope = world.short_scope(record);
    loop {
        let pass = admitted(world, &record.into(), "find", Purpose::Look, &mut tries).await?;
        let answer = driver.find(&scope, &record.id).await;
        pass.end(&answer);
        match answer {
            Ok(found) => return Ok(found),
            Err(fault) if fault.reaction == Reaction::NotFound => return Ok(None),
            // To look changes nothing, so a lost answer is as good as none.
            Err(fault) if matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) => {
                again(world, record, "find", &mut tries, fault).await?;
            }
            Err(fault) => return Err(Ended::Spent(tries.spent("find", fault))),
        }
    }
}

/// A create that may be repeated under the same id. From here on a machine may exist: the record says so before anyone is
/// asked for it. It is written anew for every attempt, and as late as can be: the write is refused when another owns the
/// infrastructure by now, and then nobody is asked.
pub(super) async fn create_once(
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    request: &CreateRequest,
    record: &InstanceRecord,
    events: Vec<What>,
    tries: &mut Tries,
) -> Result<Result<Observed, Fault>, Trouble> {
    let pass =
        admitted(world, &record.into(), "create", Purpose::Change, tries).await.map_err(|_| Trouble::Cancelled)?;
    world.journal.put(record, events).await?;
    let answer = driver.create(request).await;
    pass.end(&answer);
    if answer.is_ok() {
        tries.permit = None;
    }
    Ok(answer)
}

/// A destroy, once.
pub(super) async fn destroy_once(
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    scope: &Scope,
    record: &InstanceRecord,
    tries: &mut Tries,
) -> Result<Result<(), Fault>, Ended> {
    let Some(handle) = &record.handle else { return Ok(Ok(())) };
    let pass = admitted(world, &record.into(), "destroy", Purpose::Change, tries).await?;
    let answer = driver.destroy(scope, handle).await;
    pass.end(&answer);
    Ok(answer)
}

/// A look at many machines, once. `first` is one of them.
pub(super) async fn observe(
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    scope: &Scope,
    first: &InstanceRecord,
    handles: &[Handle],
) -> Result<Vec<Observed>, Fault> {
    let mut tries = Tries::default();
    let Ok(pass) = admitted(world, &first.into(), "observe", Purpose::Look, &mut tries).await else {
        return Err(not_asked());
    };
    let answer = driver.observe(scope, handles).await;
    pass.end(&answer);
    answer
}

/// Lists all that carries our mark, page by page. A page that fails in a way that may pass is asked for again for `timeout`.
pub(crate) async fn list_owned(
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    scope: &Scope,
    timeout: Duration,
) -> Result<Vec<Owned>, Reason> {
    match list_all(world, driver, scope, timeout).await {
        Ok(machines) => Ok(machines),
        Err(Ended::Spent(spent)) => Err(spent.into()),
        Err(Ended::Cancelled) => Err(Tries::default().spent("list", not_asked()).into()),
    }
}

/// The same, for those who end with the run.
pub(super) async fn list_all(
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    scope: &Scope,
    timeout: Duration,
) -> Result<Vec<Owned>, Ended> {
    let subject = Subject { node: &scope.context.node, instance: "", section: &scope.section, timeout };
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
    world: &Arc<World>,
    driver: &Arc<dyn Driver>,
    scope: &Scope,
    cursor: Option<&str>,
    subject: &Subject<'_>,
) -> Result<OwnedPage, Ended> {
    let mut tries = Tries::default();
    loop {
        let pass = admitted(world, subject, "list", Purpose::Look, &mut tries).await?;
        let answer = driver.list_owned(scope, cursor).await;
        pass.end(&answer);
        let fault = match answer {
            Ok(page) => return Ok(page),
            Err(fault) => fault,
        };
        if !matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) {
            return Err(Ended::Spent(tries.spent("list", fault)));
        }
        pause(world, subject, "list", &mut tries, fault).await?;
    }
}

fn not_asked() -> Fault {
    Fault::new(Reaction::Retry, "engine.cancelled", "stopped before the cloud was asked")
}

/// Waits until the endpoint takes another call. A wait for a cloud that has refused calls is told when it is long.
async fn admitted(
    world: &World,
    subject: &Subject<'_>,
    call: &str,
    purpose: Purpose,
    tries: &mut Tries,
) -> Result<Pass, Ended> {
    let endpoint = world.endpoints.of(subject.section);
    let mut admission = pin!(async {
        if tries.permit.is_none() {
            tries.permit = endpoint.permit(purpose).await;
        }
        endpoint.gate.enter().await
    });
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            () = world.cancel.cancelled() => return Err(Ended::Cancelled),
            pass = &mut admission => return Ok(pass),
            () = world.clock.sleep(SILENT), if !told => {
                told = endpoint.gate.is_limited();
                if told {
                    let message = format!("the cloud refuses more calls at a time; `{call}` is queued");
                    let (node_id, node_name) = (subject.instance.to_owned(), subject.node.to_owned());
                    world.journal.tell(What::Waiting { node_id, node_name, message });
                }
            }
        }
    }
}

impl Trouble {
    /// A call's end as the end of a story about a node.
    pub(super) fn of(ended: Ended, fail: impl FnOnce(Spent) -> Self) -> Self {
        match ended {
            Ended::Cancelled => Self::Cancelled,
            Ended::Spent(spent) => fail(spent),
        }
    }
}
