//! A driver in the program itself, whose machines are entries of a map. Everything else works as with a plugin: the
//! description is checked against the driver's schema, and the engine creates, finds, observes and destroys.
//!
//! `cargo run -p occopus --example own_driver`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use occopus::engine::ports::{
    Address, CallScope, CreateRequest, Driver, Fault, Handle, ObservedMachine, Phase, Reaction,
};
use occopus::engine::{BuildRequest, RunHandle};
use occopus::{Config, Occopus, Preparation, Purpose, Step};
use serde_json::json;

const DESCRIPTION: &str = "
infra_name: example
user_id: me
nodes:
- {name: worker, type: worker, scaling: {min: 3, max: 3}}
";

const DEFINITIONS: &str = "
'node_def:worker':
- resource: {type: map, size: small}
  health_check: {ping: false}
";

/// A cloud of machines by the id of their instance, with their sizes.
#[derive(Clone, Default)]
pub(crate) struct MapCloud(Arc<Mutex<BTreeMap<String, String>>>);

impl MapCloud {
    /// Returns the number of machines.
    pub(crate) fn count(&self) -> usize {
        self.machines().len()
    }

    fn machines(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observed(&self, instance: &str) -> ObservedMachine {
        let size = self.machines().get(instance).cloned();
        ObservedMachine {
            handle: Handle { version: 1, data: instance.to_owned() },
            phase: if size.is_some() { Phase::Running } else { Phase::Gone },
            addresses: vec![Address { value: "127.0.0.1".to_owned(), internal: false }],
            attributes: size.into_iter().map(|size| ("size".to_owned(), size)).collect(),
            message: None,
        }
    }
}

#[async_trait]
impl Driver for MapCloud {
    /// Creates one machine for each id: the engine may repeat a call whose answer was lost.
    async fn create(&self, request: &CreateRequest) -> Result<ObservedMachine, Fault> {
        let size = request.scope.section.get("size").and_then(|size| size.as_str()).unwrap_or("small");
        if size == "huge" {
            return Err(Fault::new(Reaction::NoCapacity, "map.full", "the cloud has no capacity for a huge machine"));
        }
        self.machines().insert(request.instance_id.clone(), size.to_owned());
        Ok(self.observed(&request.instance_id))
    }

    async fn find(&self, _: &CallScope, instance_id: &str) -> Result<Option<ObservedMachine>, Fault> {
        Ok(Some(self.observed(instance_id)).filter(|found| found.phase != Phase::Gone))
    }

    async fn observe(&self, _: &CallScope, handles: &[Handle]) -> Result<Vec<ObservedMachine>, Fault> {
        Ok(handles.iter().map(|handle| self.observed(&handle.data)).collect())
    }

    async fn destroy(&self, _: &CallScope, handle: &Handle) -> Result<(), Fault> {
        self.machines().remove(&handle.data);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join("occopus-own-driver");
    std::fs::create_dir_all(&folder)?;
    run(&folder).await
}

/// Runs the example with all files in this folder.
pub(crate) async fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::write(folder.join("infra.yaml"), DESCRIPTION)?;
    std::fs::write(folder.join("definitions.yaml"), DEFINITIONS)?;
    let cloud = MapCloud::default();
    let schema = json!({
        "type": "object",
        "properties": {"size": {"enum": ["small", "large", "huge"]}},
        "additionalProperties": false,
    });
    let occopus = Occopus::new(Config::in_folder(folder)).with_driver("map", Arc::new(cloud.clone()), schema);
    let compiled = occopus.compile(folder.join("infra.yaml"), vec![folder.join("definitions.yaml")]).await?;
    let mut preparation = Preparation::new(&occopus, compiled, Purpose::Deploy)?;
    preparation.advance(Step::Authenticate, |plugin| println!("compiling {plugin}")).await?;
    let (infrastructure, _) = preparation.into_parts();
    let engine = occopus.engine().await?;
    let status = engine.build(BuildRequest::new(infrastructure), RunHandle::new().0).await?;
    println!("{} is {}, on {} machines", status.name, status.state, cloud.count());
    assert_eq!(cloud.count(), 3);
    engine.destroy(&status.id, RunHandle::new().0).await?;
    assert_eq!(cloud.count(), 0);
    Ok(())
}
