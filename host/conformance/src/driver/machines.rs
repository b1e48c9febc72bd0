//! Machines of a driver, made and removed as the engine would.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use occopus_engine::ports::{CreateRequest, Driver, Fault, Handle, Observed, Owned, Phase, Plugins, Reaction, Scope};
use occopus_runtime::Runtime;
use serde_json::Value;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::GOING;
use crate::bed::Bed;
use crate::recording::Recording;
use crate::report::{Checked, Miss, words};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Calls at the same time.
const AT_A_TIME: usize = 32;
/// How often a call is repeated.
const ATTEMPTS: usize = 5;
/// How long a cloud may take until its lists have what was made.
const LAG: Duration = Duration::from_secs(10);

pub(crate) struct Machines<'a> {
    pub(crate) bed: &'a Bed,
    pub(crate) driver: Arc<dyn Driver>,
    section: Arc<Value>,
    /// The ids that were used.
    ids: Mutex<Vec<String>>,
    /// Calls of `create` that have not ended, whoever waits for them.
    creations: TaskTracker,
}

impl<'a> Machines<'a> {
    pub(crate) fn new(bed: &'a Bed) -> Option<Self> {
        let creations = TaskTracker::new();
        let driver = recorded(bed, &bed.runtime, &creations)?;
        Some(Self { bed, driver, section: Arc::new(bed.section.clone()), ids: Mutex::default(), creations })
    }

    pub(crate) fn driver_of(&self, runtime: &Runtime) -> Result<Arc<dyn Driver>, Miss> {
        Ok(recorded(self.bed, runtime, &self.creations).ok_or("there is no driver")?)
    }

    pub(crate) fn new_id(&self) -> String {
        let id = Uuid::new_v4().to_string();
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).push(id.clone());
        id
    }

    pub(crate) fn section(&self) -> Arc<Value> {
        Arc::clone(&self.section)
    }

    pub(crate) fn scope(&self) -> Scope {
        self.scope_of(self.section(), self.bed.patience())
    }

    pub(crate) fn scope_of(&self, section: Arc<Value>, timeout: Duration) -> Scope {
        Scope { context: self.bed.call(timeout), section }
    }

    pub(crate) fn request(&self, id: &str, section: Arc<Value>, repeated: bool) -> CreateRequest {
        CreateRequest {
            scope: self.scope_of(section, self.bed.patience()),
            instance_id: id.to_owned(),
            node_name: "node".to_owned(),
            infrastructure_id: self.bed.infrastructure.clone(),
            infrastructure_name: "conformance".to_owned(),
            machine_name: format!("occopus-conformance-node-{}", id.get(..8).unwrap_or(id)),
            user_data: self.bed.fixture.user_data.clone().map(String::into_bytes),
            attributes: Value::Object(self.bed.fixture.attributes.clone()),
            repeated,
        }
    }

    pub(crate) async fn create(&self, id: &str) -> Result<Handle, Fault> {
        Ok(self.driver.create(&self.request(id, self.section(), false)).await?.handle)
    }

    pub(crate) async fn destroy(&self, handle: &Handle) -> Result<(), Fault> {
        self.driver.destroy(&self.scope(), handle).await
    }

    /// Some at a time.
    pub(crate) async fn destroy_all(&self, handles: &[Handle]) -> Result<(), Fault> {
        for some in handles.chunks(AT_A_TIME) {
            try_join_all(some.iter().map(|handle| self.destroy(handle))).await?;
        }
        Ok(())
    }

    /// Some at a time.
    pub(crate) async fn create_all(&self, ids: &[String]) -> Result<Vec<Handle>, Fault> {
        let mut handles = Vec::with_capacity(ids.len());
        for some in ids.chunks(AT_A_TIME) {
            handles.extend(try_join_all(some.iter().map(|id| self.create(id))).await?);
        }
        Ok(handles)
    }

    /// Waits until it runs.
    pub(crate) async fn runs(&self, handle: &Handle) -> Result<Observed, Miss> {
        self.until(handle, Phase::Running).await
    }

    /// Waits until it is gone.
    pub(crate) async fn gone(&self, handle: &Handle) -> Result<Observed, Miss> {
        self.until(handle, Phase::Gone).await
    }

    /// What the cloud says of it now.
    pub(crate) async fn phase(&self, handle: &Handle) -> Result<Phase, Miss> {
        let seen = self.driver.observe(&self.scope(), std::slice::from_ref(handle)).await?;
        Ok(seen.first().ok_or("`observe` gives no answer")?.phase)
    }

    async fn until(&self, handle: &Handle, phase: Phase) -> Result<Observed, Miss> {
        let began = Instant::now();
        loop {
            let mut seen = self.driver.observe(&self.scope(), std::slice::from_ref(handle)).await?;
            let seen = seen.pop().ok_or("`observe` gives no answer")?;
            if seen.phase == phase {
                return Ok(seen);
            }
            let ended = matches!(seen.phase, Phase::Failed | Phase::Stopped | Phase::Gone) && phase == Phase::Running;
            // Nothing has begun to happen to it.
            let untouched = phase == Phase::Gone && seen.phase == Phase::Running && began.elapsed() > GOING;
            if ended || untouched || began.elapsed() > self.bed.patience() {
                let why = seen.message.map(|why| format!(" ({why})")).unwrap_or_default();
                let after = began.elapsed().as_secs();
                return Err(format!("it should be {phase:?} and is {:?} after {after} s{why}", seen.phase).into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Goes on after a call of `create` that failed, as the engine does.
    pub(crate) async fn settled(&self, id: &str, section: Arc<Value>) -> Result<Handle, Miss> {
        let scope = self.scope_of(Arc::clone(&section), self.bed.patience());
        let mut last = None;
        for _ in 0..ATTEMPTS {
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
            tokio::time::sleep(PAUSE).await;
        }
        let why = last.map(|fault| words(&fault)).unwrap_or_default();
        Err(format!("after a fault it can't be made any more: {why}").into())
    }

    /// There is exactly one machine of this id.
    pub(crate) async fn exactly_one(&self, id: &str) -> Result<Handle, Miss> {
        let began = Instant::now();
        loop {
            let mut handles = self.of(id).await?;
            match (handles.pop(), handles.len()) {
                (Some(one), 0) => return Ok(one),
                (last, others) if began.elapsed() > LAG => {
                    return Err(match last {
                        Some(_) => format!("one id has {} machines", others + 1),
                        None => "the id has no machine".to_owned(),
                    }
                    .into());
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// The machines of an id: by the inventory where there is one.
    pub(crate) async fn of(&self, id: &str) -> Result<Vec<Handle>, Fault> {
        match self.owned().await? {
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

    /// All machines of these tests that are there. None when the driver can't tell.
    pub(crate) async fn owned(&self) -> Result<Option<Vec<Owned>>, Fault> {
        let (mut owned, mut cursor) = (Vec::new(), None);
        loop {
            let page = match self.driver.list_owned(&self.scope(), cursor.as_deref()).await {
                Err(fault) if fault.reaction == Reaction::Unsupported => return Ok(None),
                page => page?,
            };
            let ours =
                |one: &Owned| one.infrastructure_id == self.bed.infrastructure && one.observed.phase != Phase::Gone;
            owned.extend(page.machines.into_iter().filter(ours));
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(Some(owned));
            }
        }
    }

    /// Whether the cloud says so of all of them.
    async fn all_run(&self, handles: &[Handle]) -> bool {
        let seen = self.driver.observe(&self.scope(), handles).await.unwrap_or_default();
        !seen.is_empty() && seen.iter().all(|one| one.phase == Phase::Running)
    }

    /// Removes every machine of these tests, and says whether there are any after that.
    pub(crate) async fn remove_all(&self) -> Checked {
        // Of an interrupted check. Each call ends by its deadline.
        self.creations.close();
        self.creations.wait().await;
        let began = Instant::now();
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut removed = 0;
        loop {
            let left: Vec<_> = match self.owned().await? {
                Some(owned) => owned.into_iter().map(|one| one.observed.handle).collect(),
                None => {
                    let mut left = Vec::new();
                    for id in &ids {
                        left.extend(self.of(id).await?);
                    }
                    left
                }
            };
            if left.is_empty() {
                return Ok(format!("{} ids were used, and none has a machine", ids.len()));
            }
            // They may be on their way out; but when they all run as before, nothing happens to them.
            let untouched = self.all_run(&left).await && began.elapsed() > GOING;
            if untouched || began.elapsed() > self.bed.patience() {
                let handles: Vec<_> = left.iter().take(10).map(|handle| handle.data.as_str()).collect();
                return Err(
                    format!("{} machines can't be removed, and are left: {}", left.len(), handles.join(", ")).into()
                );
            }
            self.destroy_all(&left).await?;
            removed += left.len();
            if removed > 2 * ids.len() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn recorded(bed: &Bed, runtime: &Runtime, creations: &TaskTracker) -> Option<Arc<dyn Driver>> {
    let driver = runtime.driver(bed.keyword())?;
    Some(Arc::new(Recording { driver, meter: bed.meter.clone(), creations: creations.clone() }))
}
