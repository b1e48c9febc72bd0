//! `occopus scale`

use occopus::{Occopus, needs_of_description, needs_of_status};
use occopus_api::ExitStatus;
use occopus_engine::{EngineError, InfrastructureId, MaintainOptions, Scale, Status};
use serde_json::json;

use super::args::{GlobalArgs, OutputFormat, ScaleArgs};
use super::backend::Backend;
use super::failure::{Failure, exit_of_status};
use super::remote::{self, ScaleCall, ServiceClient, StreamStart};
use super::report::ProgressTree;
use super::{backend, print, report};

const PROGRESS_VERB: &str = "scaling";

pub(crate) async fn run(arguments: ScaleArgs, common: &GlobalArgs) -> Result<ExitStatus, Failure> {
    let format = arguments.output.format;
    let scale = match (arguments.change, arguments.set, arguments.filter) {
        (Some(change), ..) => Scale::By(change),
        (_, Some(number), _) => Scale::To(number),
        (.., filter) => Scale::Remove(filter.unwrap_or_default()),
    };
    let request = ScaleRequest {
        id: InfrastructureId::try_from(arguments.infra_id)?,
        node: arguments.node,
        scale,
        later: arguments.later,
    };
    let outcome = match backend::open_backend(common)? {
        Backend::Local(occopus) => run_local(request, &occopus).await?,
        Backend::Service(service) => run_on_service(request, &service).await?,
    };
    match (outcome, format) {
        (ScaleOutcome::Recorded { node, number }, OutputFormat::Json) => {
            print::json(&json!({"node": node, "target": number, "applied": false}));
        }
        (ScaleOutcome::Recorded { .. }, OutputFormat::Text) => {
            print::line("recorded; the next pass of `occopus maintain` applies it");
        }
        (ScaleOutcome::Applied(status), format) => {
            report::print_status(&status, format);
            return Ok(exit_of_status(&status));
        }
        (ScaleOutcome::LeftToOwner(status), format) => report::print_status(&status, format),
    }
    Ok(ExitStatus::Success)
}

/// A request to scale a node.
struct ScaleRequest {
    id: InfrastructureId,
    node: String,
    scale: Scale,
    later: bool,
}

/// Outcome of a request to scale.
enum ScaleOutcome {
    /// The target is on record, for the process that maintains the infrastructure.
    Recorded { node: String, number: u32 },
    /// The target was applied, as far as possible.
    Applied(Status),
    /// Another process owns the infrastructure, and will apply the target.
    LeftToOwner(Status),
}

fn print_target(node: &str, number: u32) {
    print::note(format_args!("target of {node}: {number}"));
}

async fn run_local(request: ScaleRequest, occopus: &Occopus) -> Result<ScaleOutcome, Failure> {
    let ScaleRequest { id, node, scale, later } = request;
    let (id, node) = (&id, &node);
    let reader = occopus.reader().await?;
    let number = reader.scale(id, node, scale).await?;
    print_target(node, number);
    if later {
        return Ok(ScaleOutcome::Recorded { node: node.clone(), number });
    }
    let before = reader.status(id, false).await?;
    let mut needs = needs_of_status(&before);
    let desired = reader.desired(id).await?;
    needs.extend(desired.iter().flat_map(needs_of_description));
    let webhooks = desired.map(|desired| desired.webhooks).unwrap_or_default();
    occopus.add_credential_paths_of(id).await;
    backend::prepare(occopus, needs).await?;
    let engine = occopus.engine().await?;
    let tree = ProgressTree::of_status(PROGRESS_VERB, &before, print::colours_on_stderr());
    let first = "stopping after the current work (again: stop at once)";
    let outcome = backend::run_with_progress(occopus, id, &webhooks, tree, first, async |run| {
        engine.maintain(id, MaintainOptions::default(), run).await
    });
    match outcome.await {
        Ok(status) => Ok(ScaleOutcome::Applied(status)),
        Err(Failure::Engine(error, infrastructure)) => match *error {
            EngineError::Owned { holder, .. } => {
                print::note(format_args!("{id} is owned by {holder}, which applies the target"));
                Ok(ScaleOutcome::LeftToOwner(reader.status(id, false).await?))
            }
            error => Err(Failure::Engine(Box::new(error), infrastructure)),
        },
        Err(failure) => Err(failure),
    }
}

async fn run_on_service(request: ScaleRequest, service: &ServiceClient) -> Result<ScaleOutcome, Failure> {
    let ScaleRequest { id, node, scale, later } = request;
    let before = service.status(&id, false).await?;
    let current = before.nodes.iter().find(|known| known.name == node).map(|known| known.target).unwrap_or_default();
    let (call, number) = match scale {
        Scale::To(number) => (ScaleCall::To(number), number),
        Scale::Remove(instance) => (ScaleCall::RemoveInstance(instance), current.saturating_sub(1)),
        Scale::By(change @ 0..) => (ScaleCall::Up(change.unsigned_abs()), current.saturating_add_signed(change)),
        Scale::By(change) => {
            // A service removes one instance at a time; several in one step are a new target.
            let number = current.saturating_add_signed(change);
            (ScaleCall::To(number), number)
        }
    };
    service.scale(&id, &node, &call).await?;
    print_target(&node, number);
    if later {
        return Ok(ScaleOutcome::Recorded { node, number });
    }
    let events = remote::subscribe(service, &id, StreamStart::Now).await?;
    match service.maintain(&id, false).await {
        Ok(accepted) => {
            let tree = ProgressTree::of_status(PROGRESS_VERB, &before, print::colours_on_stderr());
            remote::follow_operation(service, &accepted, events, tree, None).await?;
        }
        Err(Failure::Service(error)) if error.exit() == ExitStatus::Owned => {
            print::note(format_args!("{id} is owned by another process, which applies the target"));
            return Ok(ScaleOutcome::LeftToOwner(service.status(&id, false).await?));
        }
        Err(failure) => return Err(failure),
    }
    Ok(ScaleOutcome::Applied(service.status(&id, false).await?))
}
