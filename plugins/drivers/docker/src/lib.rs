//! The `docker` driver: a node is a container on a Docker engine (or on Podman, which speaks the same language).
//!
//! - The container's name is made of the instance's id, so the engine itself refuses a second one for the same instance;
//!   the first one is then taken.
//! - An image that the engine has is never fetched again: a node that is replaced or added later must be the same as its
//!   siblings, and a registry that is away must not keep a node from being healed. Who wants a newer image writes
//!   another tag, or pulls it. Images stay when containers go.
//! - `destroy` kills: what should be saved at the end must be saved before. Anonymous volumes go with the container.

mod container;
mod containers;
mod engine;
mod image;
mod section;
#[cfg(test)]
mod tests;

use occopus_sdk::{
    About, Driver, Fault, Handle, Inventory, Launch, NoCredentials, NodeRequest, Observed, Page, Phase, Scope, log,
};

use container::{Container, NewContainer};
use containers::Created;
use engine::Engine;
pub use section::Section;

/// The driver.
pub struct Docker;

impl Driver for Docker {
    type Section = Section;
    type Credentials = NoCredentials;

    const ABOUT: About = About {
        name: "docker",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "docker",
        summary: "Containers on a Docker engine",
        ..About::DRIVER
    };

    fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
        let section = &request.scope.section;
        let origin = section.origin().ok_or_else(|| {
            let origin = section.origin.as_deref().unwrap_or_default();
            Fault::give_up("docker.bad-origin", format!("`{origin}` is no origin of an image"))
                .at("/origin", "write `dockerhub`, `local` or the URL of a tarball")
        })?;
        let launch = Launch::read(&request.attributes)?;
        if request.user_data.is_some() {
            log::warn("a container has no first boot: what was rendered for it is not used");
        }
        let engine = Engine::connect(&request.scope)?;
        let name = name(request);
        let container = NewContainer::new(section.reference(), launch, request.labels.iter().cloned());

        let mut created = engine.create(&name, &container)?;
        if matches!(created, Created::NoImage) {
            image::fetch(&engine, &origin)?;
            created = engine.create(&name, &container)?;
        }
        let (id, started) = match created {
            Created::New(id) => (id, false),
            Created::NameTaken => engine.adopt(&name, &request.instance_id)?,
            Created::NoImage => return Err(image::absent(&engine)),
        };
        if !started {
            engine.start_or_remove(&id)?;
        }
        let handle = container::handle(id);
        let seen = engine.observe(std::slice::from_ref(&handle)).ok().and_then(|mut seen| seen.pop());
        // It is there, whatever this look at it said.
        Ok(seen.filter(|seen| seen.phase != Phase::Gone).unwrap_or_else(|| Observed::new(handle, Phase::Pending)))
    }

    /// Also finishes what an interrupted `create` began: a container that nobody starts would be pending for ever.
    fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        let engine = Engine::connect(scope)?;
        let Some(container) = engine.settled(instance_id)? else { return Ok(None) };
        if !container.never_started() {
            return Ok(Some(container.observed()));
        }
        match engine.start(&container.id) {
            Ok(()) => Ok(engine.by_instance(instance_id)?.as_ref().map(Container::observed)),
            Err(fault) if containers::is_final(&fault) => {
                Ok(Some(Observed { phase: Phase::Failed, message: Some(fault.message), ..container.observed() }))
            }
            Err(fault) => Err(fault),
        }
    }

    fn observe(scope: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        Engine::connect(scope)?.observe(handles)
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        Engine::connect(scope)?.remove(&handle.data)
    }
}

impl Inventory for Docker {
    fn list_owned(scope: &Scope<Section>, cursor: Option<&str>) -> Result<Page, Fault> {
        let (containers, cursor) = Engine::connect(scope)?.marked(cursor)?;
        Ok(Page { machines: containers.iter().filter_map(Container::owned).collect(), cursor })
    }
}

/// The same at every attempt and unique for each instance: that is what makes `create` idempotent.
fn name(request: &NodeRequest<Section>) -> String {
    container::safe_name(&match request.scope.section.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{name}-{}", request.instance_id),
        None => request.machine_name.clone(),
    })
}

occopus_sdk::export_driver!(Docker, inventory);
