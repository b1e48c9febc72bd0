//! The way in.

use std::sync::Arc;

use indexmap::IndexMap;
use occopus_model::{Implementation, Infrastructure};

use crate::error::EngineError;
use crate::event::StoredEvent;
use crate::plan::Plan;
use crate::ports::{Clock, Plugins, Store};
use crate::request::{BuildRequest, MaintainOptions, Run};
use crate::settings::Settings;
use crate::status::{DestroyReport, Status, Summary};

/// Builds, maintains and destroys infrastructures. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    plugins: Arc<dyn Plugins>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
}

impl Engine {
    /// An engine over these plugins, this store and this clock.
    pub fn new(plugins: Arc<dyn Plugins>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { plugins, store, clock, settings: Arc::default() }
    }

    /// The same with other settings.
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings: Arc::new(settings), ..self }
    }

    /// What a build would do. Reads the store, calls no cloud.
    pub async fn plan(&self, _id: Option<&str>, _desired: &Infrastructure) -> Result<Plan, EngineError> {
        Err(EngineError::Invalid { message: "not yet".into() })
    }

    /// Makes what is described, and returns when every node is ready. With an id that exists: finishes or changes it.
    pub async fn build(&self, _request: BuildRequest, _run: Run) -> Result<Status, EngineError> {
        Err(EngineError::Invalid { message: "not yet".into() })
    }

    /// Looks at every node and heals what is dead: one pass, or passes until stopped.
    pub async fn maintain(&self, _id: &str, _options: MaintainOptions, _run: Run) -> Result<Status, EngineError> {
        Err(EngineError::Invalid { message: "not yet".into() })
    }

    /// Removes every node, dependents first. What can't be removed is in the report.
    pub async fn destroy(&self, _id: &str, _run: Run) -> Result<DestroyReport, EngineError> {
        Err(EngineError::Invalid { message: "not yet".into() })
    }

    /// What is known. With `refresh` the clouds are asked, without it only the store.
    pub async fn status(&self, _id: &str, _refresh: bool) -> Result<Status, EngineError> {
        Err(EngineError::Invalid { message: "not yet".into() })
    }

    /// Every infrastructure in the store.
    pub async fn list(&self) -> Result<Vec<Summary>, EngineError> {
        Err(EngineError::Invalid { message: "not yet".into() })
    }

    /// Stored events after the one with the id `after`, at most `limit`.
    pub async fn events(&self, _id: &str, _after: u64, _limit: usize) -> Result<Vec<StoredEvent>, EngineError> {
        Err(EngineError::Invalid { message: "not yet".into() })
    }

    /// Keeps node definitions in the store, by type; replaces those of the same types.
    pub async fn save_definitions(&self, _types: &IndexMap<String, Vec<Implementation>>) -> Result<(), EngineError> {
        Err(EngineError::Invalid { message: "not yet".into() })
    }

    /// The node definitions in the store, by type.
    pub async fn definitions(&self) -> Result<IndexMap<String, Vec<Implementation>>, EngineError> {
        Err(EngineError::Invalid { message: "not yet".into() })
    }
}
