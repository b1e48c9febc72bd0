//! Machines of a driver, created and removed as the engine would.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use occopus_engine::ports::{
    CallScope, CreateRequest, Driver, Fault, Handle, LabelledMachine, ObservedMachine, Phase, Plugins, Reaction,
};
use occopus_runtime::Runtime;
use serde_json::Value;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::MAX_REMOVAL_LAG;
use crate::fault_injection::FaultProxy;
use crate::recording_driver::RecordingDriver;
use crate::report::{CheckError, TestResult, describe_fault};
use crate::testbed::Testbed;

/// Time between two observations.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum concurrent calls.
const MAX_CONCURRENT_CALLS: usize = 32;
/// Maximum attempts of a call.
const MAX_ATTEMPTS: usize = 5;
/// Maximum time until a cloud's lists have a new machine.
const MAX_LIST_LAG: Duration = Duration::from_secs(10);

pub(crate) struct Machines<'a> {
    pub(crate) testbed: &'a Testbed,
    pub(crate) driver: Arc<dyn Driver>,
    section: Arc<Value>,
    /// Instance ids that were used.
    ids: Mutex<Vec<String>>,
    /// Calls of `create` that have not ended, even if nobody waits for them any more.
    creations: TaskTracker,
}

impl<'a> Machines<'a> {
    pub(crate) fn new(testbed: &'a Testbed) -> Option<Self> {
        let creations = TaskTracker::new();
        let driver = recording_driver(testbed, &testbed.runtime, &creations)?;
        Some(Self { testbed, driver, section: Arc::new(testbed.section.clone()), ids: Mutex::default(), creations })
    }

    pub(crate) fn driver_of(&self, runtime: &Runtime) -> Result<Arc<dyn Driver>, CheckError> {
        Ok(recording_driver(self.testbed, runtime, &self.creations).ok_or("there is no driver")?)
    }

    pub(crate) fn new_id(&self) -> String {
        let id = Uuid::new_v4().to_string();
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).push(id.clone());
        id
    }

    pub(crate) fn section(&self) -> Arc<Value> {
        Arc::clone(&self.section)
    }

    pub(crate) fn scope(&self) -> CallScope {
        self.scope_of(self.section(), self.testbed.call_timeout())
    }

    /// Returns the scope of a call behind a proxy.
    pub(crate) fn scope_behind(&self, proxy: &FaultProxy) -> CallScope {
        self.scope_of(Arc::clone(&proxy.section), self.testbed.call_timeout())
    }

    pub(crate) fn scope_of(&self, section: Arc<Value>, timeout: Duration) -> CallScope {
        CallScope { context: self.testbed.call(timeout), section }
    }

    pub(crate) fn request(&self, id: &str, section: Arc<Value>, repeated: bool) -> CreateRequest {
        CreateRequest {
            scope: self.scope_of(section, self.testbed.call_timeout()),
            instance_id: id.to_owned(),
            node_name: "node".to_owned(),
            infrastructure_id: self.testbed.infrastructure.clone(),
            infrastructure_name: "conformance".to_owned(),
            machine_name: format!("occopus-conformance-node-{}", id.get(..8).unwrap_or(id)),
            user_data: self.testbed.fixture.user_data.clone().map(String::into_bytes),
            attributes: Value::Object(self.testbed.fixture.attributes.clone()),
            repeated,
        }
    }

    pub(crate) async fn create(&self, id: &str) -> Result<Handle, Fault> {
        Ok(self.driver.create(&self.request(id, self.section(), false)).await?.handle)
    }

    pub(crate) async fn destroy(&self, handle: &Handle) -> Result<(), Fault> {
        self.driver.destroy(&self.scope(), handle).await
    }

    /// Runs [`MAX_CONCURRENT_CALLS`] calls at a time.
    pub(crate) async fn destroy_all(&self, handles: &[Handle]) -> Result<(), Fault> {
        for some in handles.chunks(MAX_CONCURRENT_CALLS) {
            try_join_all(some.iter().map(|handle| self.destroy(handle))).await?;
        }
        Ok(())
    }

    /// Runs [`MAX_CONCURRENT_CALLS`] calls at a time.
    pub(crate) async fn create_all(&self, ids: &[String]) -> Result<Vec<Handle>, Fault> {
        let mut handles = Vec::with_capacity(ids.len());
        for some in ids.chunks(MAX_CONCURRENT_CALLS) {
            handles.extend(try_join_all(some.iter().map(|id| self.create(id))).await?);
        }
        Ok(handles)
    }

    /// Waits until the machine runs.
    pub(crate) async fn wait_until_running(&self, handle: &Handle) -> Result<ObservedMachine, CheckError> {
        self.wait_for_phase(handle, Phase::Running).await
    }

    /// Waits until the machine is gone.
    pub(crate) async fn wait_until_gone(&self, handle: &Handle) -> Result<ObservedMachine, CheckError> {
        self.wait_for_phase(handle, Phase::Gone).await
    }

    /// Returns the current phase of the machine.
    pub(crate) async fn phase(&self, handle: &Handle) -> Result<Phase, CheckError> {
        let seen = self.driver.observe(&self.scope(), std::slice::from_ref(handle)).await?;
        Ok(seen.first().ok_or("`observe` gives no answer")?.phase)
    }

    async fn wait_for_phase(&self, handle: &Handle, phase: Phase) -> Result<ObservedMachine, CheckError> {
        let began = Instant::now();
        loop {
            let mut seen = self.driver.observe(&self.scope(), std::slice::from_ref(handle)).await?;
            let seen = seen.pop().ok_or("`observe` gives no answer")?;
            if seen.phase == phase {
                return Ok(seen);
            }
            let ended = matches!(seen.phase, Phase::Failed | Phase::Stopped | Phase::Gone) && phase == Phase::Running;
            // The removal has had no effect.
            let untouched = phase == Phase::Gone && seen.phase == Phase::Running && began.elapsed() > MAX_REMOVAL_LAG;
            if ended || untouched || began.elapsed() > self.testbed.call_timeout() {
                let why = seen.message.map(|why| format!(" ({why})")).unwrap_or_default();
                let after = began.elapsed().as_secs();
                return Err(format!("it should be {phase:?} and is {:?} after {after} s{why}", seen.phase).into());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Finds or creates the machine after a failed call of `create`, as the engine does.
    pub(crate) async fn recover_create(&self, id: &str, section: Arc<Value>) -> Result<Handle, CheckError> {
        let scope = self.scope_of(Arc::clone(&section), self.testbed.call_timeout());
        let mut last = None;
        for _ in 0..MAX_ATTEMPTS {
            match self.driver.find(&scope, id).await {
                Ok(Some(found)) if found.phase != Phase::Gone => return Ok(found.handle),
                Ok(_) => match self.driver.create(&self.request(id, Arc::clone(&section), true)).await {
                    Ok(made) => return Ok(made.handle),
                    Err(fault) => last = Some(fault),
                },
                Err(fault) => last = Some(fault),
            }
            match &last {
                Some(fault) if matches!(fault.reaction, Reaction::Retry | Reaction::UnknownOutcome) => {}
                _ => break,
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        let why = last.map(|fault| describe_fault(&fault)).unwrap_or_default();
        Err(format!("it can't be created after a fault: {why}").into())
    }

    /// Returns the only machine of this id. Fails if there is not exactly one within [`MAX_LIST_LAG`].
    pub(crate) async fn require_exactly_one(&self, id: &str) -> Result<Handle, CheckError> {
        let began = Instant::now();
        loop {
            let mut handles = self.list_of_instance(id).await?;
            match (handles.pop(), handles.len()) {
                (Some(one), 0) => return Ok(one),
                (last, others) if began.elapsed() > MAX_LIST_LAG => {
                    return Err(match last {
                        Some(_) => format!("one id has {} machines", others + 1),
                        None => "the id has no machine".to_owned(),
                    }
                    .into());
                }
                _ => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// Checks that a machine is the only one of this id.
    pub(crate) async fn require_only(&self, id: &str, expected: &Handle) -> Result<(), CheckError> {
        let one = self.require_exactly_one(id).await?;
        if one != *expected {
            return Err(format!("there is {one:?}, and the answer was {expected:?}").into());
        }
        Ok(())
    }

    /// Returns the machines of an id: from the inventory if the driver has one, otherwise by `find`.
    pub(crate) async fn list_of_instance(&self, id: &str) -> Result<Vec<Handle>, Fault> {
        match self.list_owned().await? {
            Some(owned) => Ok(owned
                .into_iter()
                .filter(|one| one.instance_id == id && one.observed.phase != Phase::Gone)
                .map(|one| one.observed.handle)
                .collect()),
            None => {
                let found = self.driver.find(&self.scope(), id).await?;
                Ok(found.filter(|found| found.phase != Phase::Gone).map(|found| found.handle).into_iter().collect())
            }
        }
    }

    /// Returns all existing machines of these tests; `None` if the driver can't list them.
    pub(crate) async fn list_owned(&self) -> Result<Option<Vec<LabelledMachine>>, Fault> {
        let (mut owned, mut cursor) = (Vec::new(), None);
        loop {
            let page = match self.driver.list_owned(&self.scope(), cursor.as_deref()).await {
                Err(fault) if fault.reaction == Reaction::Unsupported => return Ok(None),
                page => page?,
            };
            let ours = |one: &LabelledMachine| {
                one.infrastructure_id == self.testbed.infrastructure && one.observed.phase != Phase::Gone
            };
            owned.extend(page.machines.into_iter().filter(ours));
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(Some(owned));
            }
        }
    }

    /// Returns true if the cloud reports all of them as running.
    async fn are_all_running(&self, handles: &[Handle]) -> bool {
        let seen = self.driver.observe(&self.scope(), handles).await.unwrap_or_default();
        !seen.is_empty() && seen.iter().all(|one| one.phase == Phase::Running)
    }

    /// Removes every machine of these tests. Fails if some are left.
    pub(crate) async fn remove_all(&self) -> TestResult {
        // Creations of an interrupted check. Each call ends by its deadline.
        self.creations.close();
        self.creations.wait().await;
        let began = Instant::now();
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut removed = 0;
        loop {
            let left: Vec<_> = match self.list_owned().await? {
                Some(owned) => owned.into_iter().map(|one| one.observed.handle).collect(),
                None => {
                    let mut left = Vec::new();
                    for id in &ids {
                        left.extend(self.list_of_instance(id).await?);
                    }
                    left
                }
            };
            if left.is_empty() {
                return Ok(format!("{} ids were used, and no machine is left", ids.len()));
            }
            // They may be shutting down; but if they all still run, the removal has no effect.
            let untouched = self.are_all_running(&left).await && began.elapsed() > MAX_REMOVAL_LAG;
            if untouched || began.elapsed() > self.testbed.call_timeout() {
                let handles: Vec<_> = left.iter().take(10).map(|handle| handle.data.as_str()).collect();
                return Err(
                    format!("{} machines are left and can't be removed: {}", left.len(), handles.join(", ")).into()
                );
            }
            self.destroy_all(&left).await?;
            removed += left.len();
            if removed > 2 * ids.len() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    }
}

fn recording_driver(testbed: &Testbed, runtime: &Runtime, creations: &TaskTracker) -> Option<Arc<dyn Driver>> {
    let driver = runtime.driver(testbed.keyword())?;
    Some(Arc::new(RecordingDriver { driver, meter: testbed.meter.clone(), creations: creations.clone() }))
}
