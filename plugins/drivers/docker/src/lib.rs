//! The `docker` driver: a node is a container on a Docker engine (or on Podman, which has the same API).
//!
//! - The container's name is made of the instance's id, so that the engine itself refuses a second one for the same
//!   instance; the first one is adopted then.
//! - A container is gone only when the engine on which it was created says so of its id (`identity`).
//! - An image that the engine has is never pulled again: a node that is replaced or added later must be the same as its
//!   siblings, and an unreachable registry must not keep a node from being healed. For a newer image the user writes
//!   another tag, or pulls it. Images stay when containers are removed.
//! - `destroy` kills the container, and removes its anonymous volumes with it.

mod check;
mod container;
mod containers;
mod engine;
mod identity;
mod image;
mod image_reference;
mod observe;
mod output;
mod section;
#[cfg(test)]
mod tests;

use occopus_sdk::{
    About, Detail, Driver, Fault, Handle, Inventory, Launch, NoCredentials, NodeRequest, Observed, Page, Phase,
    Reaction, Scope, log,
};

use container::{Container, NewContainer};
use containers::CreateOutcome;
use engine::Engine;
use identity::Reference;
use image_reference::Image;
use section::Origin;
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
            Fault::give_up("docker.bad-origin", format!("`{origin}` is not an origin of an image"))
                .at("/origin", section::ORIGIN_HELP)
        })?;
        let image = section.image_or_fault()?;
        let launch = Launch::read(&request.attributes)?;
        if request.user_data.is_some() {
            log::warn("a container has no first boot: what was rendered for it is not used");
        }
        let engine = Engine::connect(&request.scope)?;
        let engine_id = engine.id()?;
        create_on(&engine, request, &origin, &image, launch, engine_id.clone())
            .map_err(|fault| engine.remember_creation(&request.instance_id, engine_id.as_deref(), fault))
    }

    /// Also finishes an interrupted `create`: a container that is never started would be pending for ever.
    fn find(scope: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        let engine = Engine::connect(scope)?;
        let found = engine.by_instance_after_settling(instance_id)?;
        let Some((container, younger)) = found.split_first() else { return Ok(None) };
        let engine_id = engine.id()?;
        let reference = |of: &Container| Reference { container: of.id.clone(), engine: engine_id.clone() };
        // Names are made of the instance's id, so there is a second one only when the name in the section changed between two
        // attempts.
        for second in younger {
            engine.remove(&reference(second)).map_err(into_retry)?;
        }
        let reference = reference(container);
        if container.never_started() {
            match engine.start(&container.id) {
                Ok(()) => {}
                Err(fault) if containers::is_final(&fault) => {
                    let failed = container.observed(engine_id.as_deref());
                    return Ok(Some(Observed { phase: Phase::Failed, message: Some(fault.message), ..failed }));
                }
                Err(fault) => return Err(into_retry(fault)),
            }
        }
        // It exists, even if this observation fails.
        Ok(Some(engine.observe_one(&reference).unwrap_or_else(|| Observed::new(reference.handle(), Phase::Pending))))
    }

    fn observe(scope: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        Engine::connect(scope)?.observe(handles)
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        let reference = Reference::read(handle)?;
        Engine::connect(scope)?.remove(&reference)
    }

    fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
        check::check_request(request)
    }

    fn tail(scope: &Scope<Section>, handle: &Handle, lines: u32) -> Result<String, Fault> {
        let reference = Reference::read(handle)?;
        Engine::connect(scope)?.tail(&reference.container, lines)
    }
}

/// Turns an unknown outcome into `retry`: a search may always be repeated.
fn into_retry(fault: Fault) -> Fault {
    let again = matches!(fault.reaction, Reaction::UnknownOutcome | Reaction::NotFound);
    if again { Fault { reaction: Reaction::Retry, ..fault } } else { fault }
}

fn create_on(
    engine: &Engine<'_>,
    request: &NodeRequest<Section>,
    origin: &Origin<'_>,
    image: &Image,
    launch: Launch,
    engine_id: Option<String>,
) -> Result<Observed, Fault> {
    let name = container_name(request);
    let container = NewContainer::new(&name, image.to_string(), launch, request.labels.iter().cloned());
    let mut created = engine.create(&name, &container)?;
    if matches!(created, CreateOutcome::NoImage) {
        image::pull(engine, origin, image)?;
        created = engine.create(&name, &container)?;
    }
    let (id, started) = match created {
        CreateOutcome::New(id) => (id, false),
        CreateOutcome::NameTaken => engine.adopt(&name, &request.instance_id)?,
        CreateOutcome::NoImage => return Err(image::missing_image_fault(engine, image)),
    };
    let reference = Reference { container: id, engine: engine_id };
    if !started {
        engine.start_or_remove(&reference)?;
    }
    // It exists, even if this observation fails.
    Ok(engine.observe_one(&reference).unwrap_or_else(|| Observed::new(reference.handle(), Phase::Pending)))
}

impl Inventory for Docker {
    fn list_owned(scope: &Scope<Section>, cursor: Option<&str>) -> Result<Page, Fault> {
        let engine = Engine::connect(scope)?;
        let (containers, cursor) = engine.list_labelled(cursor)?;
        let id = if containers.is_empty() { None } else { engine.id()? };
        Ok(Page {
            machines: containers.iter().filter_map(|container| container.owned(id.as_deref())).collect(),
            cursor,
        })
    }
}

/// Returns the container's name: the same at every attempt and unique for each instance, which makes `create`
/// idempotent.
fn container_name(request: &NodeRequest<Section>) -> String {
    container::safe_name(&match request.scope.section.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{name}-{}", request.instance_id),
        None => request.machine_name.clone(),
    })
}

occopus_sdk::export_driver!(Docker, inventory);
