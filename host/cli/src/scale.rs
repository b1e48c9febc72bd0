//! `occopus scale`

use occopus::{Occopus, needs_of_description, needs_of_status};
use occopus_engine::{EngineError, MaintainOptions, Scale, Status};
use serde_json::json;

use super::args::{GlobalArgs, OutputFormat, ScaleArgs};
use super::backend::Backend;
use super::failure::{ExitStatus, Failure};
use super::remote::{self, ScaleCall, ServiceClient, StreamStart};
use super::report::ProgressTree;
use super::{backend, print};

const PROGRESS_VERB: &str = "scaling";

pub(crate) async fn run(arguments: ScaleArgs, common: &GlobalArgs) -> Result<ExitStatus, Failure> {
    let format = arguments.output.format;
    let how = match (arguments.change, arguments.set, arguments.filter) {
        (Some(change), ..) => Scale::By(change),
        (_, Some(number), _) => Scale::To(number),
        (.., filter) => Scale::Remove(filter.unwrap_or_default()),
    };
    let wish = ScaleRequest { id: arguments.infra_id, node: arguments.node, how, later: arguments.later };
    let scaled = match backend::open_backend(common)? {
        Backend::Local(occopus) => run_local(wish, &occopus).await?,
        Backend::Service(service) => run_on_service(wish, &service).await?,
    };
    match (scaled, format) {
        (ScaleOutcome::Recorded { node, number }, OutputFormat::Json) => {
            print::json(&json!({"node": node, "target": number, "applied": false}));
        }
        (ScaleOutcome::Recorded { .. }, OutputFormat::Text) => {
            print::line("recorded; the next pass of `occopus maintain` does it");
        }
        (ScaleOutcome::Applied(status), format) => {
            print::status(&status, format);
            return Ok(ExitStatus::of_status(&status));
        }
        (ScaleOutcome::LeftToOwner(status), format) => print::status(&status, format),
    }
    Ok(ExitStatus::Success)
}

/// What is to become of a node.
struct ScaleRequest {
    id: String,
    node: String,
    how: Scale,
    later: bool,
}

/// Outcome of a request to scale.
enum ScaleOutcome {
    /// It is on record, for whoever maintains it.
    Recorded { node: String, number: u32 },
    /// As far as it was possible.
    Applied(Status),
    /// Somebody else works on it, and will do it.
    LeftToOwner(Status),
}

fn print_target(node: &str, number: u32) {
    print::note(format_args!("{node} is to have {number}"));
}

async fn run_local(wish: ScaleRequest, occopus: &Occopus) -> Result<ScaleOutcome, Failure> {
    let ScaleRequest { id, node, how, later } = wish;
    let (id, node) = (&id, &node);
    let reader = occopus.reader().await?;
    let number = reader.scale(id, node, how).await?;
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
    let live = ProgressTree::of_status(PROGRESS_VERB, &before, print::colours_on_stderr());
    let first = "stopping after what is under way (once more: stop at once)";
    let done = backend::run_with_progress(occopus, id, &webhooks, live, first, async |run| {
        engine.maintain(id, MaintainOptions::default(), run).await
    });
    match done.await {
        Ok(status) => Ok(ScaleOutcome::Applied(status)),
        Err(Failure::Engine(error, infrastructure)) => match *error {
            EngineError::Owned { holder, .. } => {
                print::note(format_args!("{holder} works on it, and will do it"));
                Ok(ScaleOutcome::LeftToOwner(reader.status(id, false).await?))
            }
            error => Err(Failure::Engine(Box::new(error), infrastructure)),
        },
        Err(failure) => Err(failure),
    }
}

async fn run_on_service(wish: ScaleRequest, service: &ServiceClient) -> Result<ScaleOutcome, Failure> {
    let ScaleRequest { id, node, how, later } = wish;
    let before = service.status(&id, false).await?;
    let known = before.nodes.iter().find(|it| it.name == node).map(|it| it.target).unwrap_or_default();
    let (by, number) = match how {
        Scale::To(number) => (ScaleCall::To(number), number),
        Scale::Remove(instance) => (ScaleCall::RemoveInstance(instance), known.saturating_sub(1)),
        Scale::By(change @ 0..) => (ScaleCall::Up(change.unsigned_abs()), known.saturating_add_signed(change)),
        Scale::By(change) => {
            // A service takes one instance away at a time; more of them in one step are a number to come to.
            let number = known.saturating_add_signed(change);
            (ScaleCall::To(number), number)
        }
    };
    service.scale(&id, &node, &by).await?;
    print_target(&node, number);
    if later {
        return Ok(ScaleOutcome::Recorded { node, number });
    }
    let events = remote::subscribe(service, &id, StreamStart::Now).await?;
    match service.maintain(&id, false).await {
        Ok(accepted) => {
            let live = ProgressTree::of_status(PROGRESS_VERB, &before, print::colours_on_stderr());
            remote::follow_operation(service, &accepted, events, live, None).await?;
        }
        Err(Failure::Service(refused)) if refused.exit == ExitStatus::Owned => {
            print::note("somebody works on it, and will do it");
            return Ok(ScaleOutcome::LeftToOwner(service.status(&id, false).await?));
        }
        Err(failure) => return Err(failure),
    }
    Ok(ScaleOutcome::Applied(service.status(&id, false).await?))
}
