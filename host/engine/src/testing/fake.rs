//! An engine over fakes, and small infrastructures.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use occopus_model::{HealthCheck, Implementation, Infrastructure, Maintenance, Mappings, Node, Scaling};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use super::{FakeCloud, MemoryStore, VirtualClock};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::event::Event;
use crate::id::InfrastructureId;
use crate::plan::Rollout;
use crate::ports::{Store, StoreError, Transaction, Write};
use crate::request::{BuildRequest, MaintainOptions, OnFailure, RunHandle, StopSignal};
use crate::settings::Settings;
use crate::state::keys;
use crate::status::{DestroyReport, Status};

/// An engine with its fakes.
#[derive(Clone)]
pub struct Fakes {
    /// The cloud.
    pub cloud: FakeCloud,
    /// The store.
    pub store: MemoryStore,
    /// The clock.
    pub clock: VirtualClock,
    /// The engine over them.
    pub engine: Engine,
    /// Id of the infrastructure that the methods build and destroy: `test`.
    pub id: InfrastructureId,
}

impl Fakes {
    /// Creates the fakes and an engine over them; the clock follows Tokio's time.
    pub fn new() -> Self {
        let clock = VirtualClock::new();
        let (cloud, store) = (FakeCloud::new(), MemoryStore::new(Arc::new(clock.clone())));
        let engine = Engine::new(Arc::new(cloud.clone()), Arc::new(store.clone()), Arc::new(clock.clone()));
        Self { cloud, store, clock, engine, id: id("test") }
    }

    /// Returns an engine with an empty store of its own, on the same cloud.
    pub fn with_empty_store(&self) -> Self {
        let Self { store, clock, id, .. } = Self::new();
        let engine = Engine::new(Arc::new(self.cloud.clone()), Arc::new(store.clone()), Arc::new(clock.clone()));
        Self { cloud: self.cloud.clone(), store, clock, engine, id }
    }

    /// Returns the same cloud and store, with an engine of other settings.
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { engine: self.engine.with_settings(settings), ..self }
    }

    /// Stores the text of an event, as another version might write it.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    pub async fn store_event(&self, number: u64, text: &str) -> Result<(), StoreError> {
        let (key, value) = (keys::event(&self.id, number), text.as_bytes().to_vec());
        let writes = vec![Write::Put { key, value, lease: None }];
        self.store.commit(Transaction { compares: Vec::new(), writes }).await.map(drop)
    }

    /// Builds under the id `test`, with rollback.
    ///
    /// # Errors
    /// As for [`Engine::build`].
    pub async fn build(&self, infrastructure: &Infrastructure) -> Result<Status, EngineError> {
        self.build_with(infrastructure, OnFailure::Rollback, RunHandle::new().0).await
    }

    /// Builds under the id `test`.
    ///
    /// # Errors
    /// As for [`Engine::build`].
    pub async fn build_with(
        &self,
        infrastructure: &Infrastructure,
        on_failure: OnFailure,
        run: RunHandle,
    ) -> Result<Status, EngineError> {
        let request = BuildRequest {
            id: Some(self.id.clone()),
            infrastructure: infrastructure.clone(),
            on_failure,
            rollout: Rollout::default(),
            is_new_id: false,
        };
        self.engine.build(request, run).await
    }

    /// Destroys the infrastructure `test`.
    ///
    /// # Errors
    /// As for [`Engine::destroy`].
    pub async fn destroy(&self) -> Result<DestroyReport, EngineError> {
        self.engine.destroy(&self.id, RunHandle::new().0).await
    }

    /// Runs one pass over the infrastructure `test`.
    ///
    /// # Errors
    /// As for [`Engine::maintain`].
    pub async fn maintain(&self) -> Result<Status, EngineError> {
        self.engine.maintain(&self.id, MaintainOptions::default(), RunHandle::new().0).await
    }

    /// Spawns a build under the id `test`, with rollback.
    pub fn spawn_build(
        &self,
        infrastructure: &Infrastructure,
    ) -> (StopSignal, JoinHandle<Result<Status, EngineError>>) {
        let (run, _) = RunHandle::new();
        (run.stop.clone(), self.spawn_build_with(infrastructure, OnFailure::Rollback, run))
    }

    /// Spawns a build under the id `test`.
    pub fn spawn_build_with(
        &self,
        infrastructure: &Infrastructure,
        on_failure: OnFailure,
        run: RunHandle,
    ) -> JoinHandle<Result<Status, EngineError>> {
        let (fakes, infrastructure) = (self.clone(), infrastructure.clone());
        tokio::spawn(async move { fakes.build_with(&infrastructure, on_failure, run).await })
    }

    /// Spawns maintenance of the infrastructure `test`: a pass every ten seconds, until stopped.
    pub fn spawn_maintain(&self) -> (StopSignal, JoinHandle<Result<Status, EngineError>>) {
        let (run, _) = RunHandle::new();
        (run.stop.clone(), self.spawn_maintain_every(Duration::from_secs(10), run))
    }

    /// Spawns maintenance of the infrastructure `test`, with this time from pass to pass, until stopped.
    pub fn spawn_maintain_every(&self, interval: Duration, run: RunHandle) -> JoinHandle<Result<Status, EngineError>> {
        let (engine, id) = (self.engine.clone(), self.id.clone());
        let options = MaintainOptions { cyclic: Some(interval), ..MaintainOptions::default() };
        tokio::spawn(async move { engine.maintain(&id, options, run).await })
    }

    /// Returns the stored events of the infrastructure `test`.
    ///
    /// # Errors
    /// As for [`Engine::events`].
    pub async fn events(&self) -> Result<Vec<Event>, EngineError> {
        self.engine.events(&self.id, 0, 100_000).await
    }
}

impl Default for Fakes {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the id with this text.
///
/// # Panics
/// Panics if the text is not a valid id.
pub fn id(text: &str) -> InfrastructureId {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// Returns a node of type `small`, with this number of instances and these dependencies.
pub fn node(name: &str, count: u32, depends_on: &[&str]) -> Node {
    Node {
        name: name.into(),
        node_type: "small".into(),
        scaling: Scaling { min: count, max: count },
        scaling_section: Value::Null,
        filter: Map::new(),
        variables: json!({}),
        depends_on: depends_on.iter().map(|name| (*name).to_owned()).collect(),
        mappings: Mappings::default(),
    }
}

/// Returns an infrastructure of these nodes. The type `small` has one implementation, on the fake cloud, with its
/// health checker.
pub fn infrastructure(nodes: Vec<Node>) -> Infrastructure {
    let implementation = Implementation {
        resource: json!({ "type": "fake", "endpoint": "fake://", "zone": "a" }),
        contextualisation: None,
        config_management: None,
        health_check: HealthCheck {
            checks: IndexMap::from([("fake".to_owned(), json!({}))]),
            timeout: 60,
            min_ready_seconds: None,
        },
        definition_dir: String::new(),
        origin: "nodes.yaml:1:1".into(),
        lines: IndexMap::from([("/resource/zone".to_owned(), "nodes.yaml:4:11".to_owned())]),
    };
    Infrastructure {
        name: "test infrastructure".into(),
        user_id: Value::Null,
        variables: json!({}),
        nodes,
        definitions: IndexMap::from([("small".to_owned(), vec![implementation])]),
        maintenance: Maintenance::default(),
        webhooks: Vec::new(),
    }
}
