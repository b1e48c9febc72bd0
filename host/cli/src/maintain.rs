//! `occopus maintain`

use std::fs;

use occopus::{Occopus, needs_of_description, needs_of_status};
use occopus_api::ExitStatus;
use occopus_engine::{EngineError, InfrastructureId, MaintainOptions, Status};
use serde_json::json;

use super::args::{GlobalArgs, MaintainArgs, OutputFormat, ReportTarget};
use super::backend::Backend;
use super::failure::{Failure, exit_of_status};
use super::remote::{self, ServiceClient, StreamStart};
use super::report::{ProgressTree, address_lines};
use super::{backend, print, report};

const PROGRESS_VERB: &str = "maintaining";

pub(crate) async fn run(maintain: MaintainArgs, common: &GlobalArgs) -> Result<ExitStatus, Failure> {
    let backend = backend::open_backend(common)?;
    let given: Option<InfrastructureId> = maintain.infra_id.as_deref().map(str::parse).transpose()?;
    let Some(id) = &given else {
        let all = backend::list_infrastructures(&backend).await?;
        let ids: Vec<_> = all.iter().map(|one| one.id.as_str()).collect();
        match maintain.output.format() {
            OutputFormat::Json => print::json(&json!(ids)),
            OutputFormat::Text if ids.is_empty() => print::line("No active infrastructure."),
            OutputFormat::Text => {
                print::line("List of active infrastructures:");
                ids.iter().for_each(print::line);
            }
        }
        return Ok(ExitStatus::Success);
    };

    let (status, is_report) = match &backend {
        Backend::Local(occopus) if maintain.report => {
            occopus.add_credential_paths_of(id).await;
            backend::print_warnings(&occopus.credentials().await?);
            (occopus.engine().await?.status(id, true).await?, true)
        }
        Backend::Service(service) if maintain.report => (service.status(id, true).await?, true),
        Backend::Local(occopus) => match run_local(id, &maintain, occopus).await? {
            MaintainOutcome::Done(status) => (status, false),
            MaintainOutcome::LeftToOwner(status) => {
                report::print_status(&status, maintain.output.format());
                return Ok(ExitStatus::Success);
            }
        },
        Backend::Service(service) => (run_on_service(id, &maintain, service).await?, false),
    };
    if is_report {
        return report(&status, &maintain).map(|()| ExitStatus::Success);
    }
    report::print_status(&status, maintain.output.format());
    // A cyclic run ends by a signal: its exit status does not depend on the state at that moment.
    Ok(if maintain.cyclic { ExitStatus::Success } else { exit_of_status(&status) })
}

/// Outcome of `maintain`.
enum MaintainOutcome {
    /// A pass is done, or passes until a signal.
    Done(Status),
    /// Another process owns the infrastructure, and will apply the request.
    LeftToOwner(Status),
}

async fn run_local(
    id: &InfrastructureId,
    maintain: &MaintainArgs,
    occopus: &Occopus,
) -> Result<MaintainOutcome, Failure> {
    let engine = occopus.engine().await?;
    let before = engine.status(id, false).await?;
    let mut needs = needs_of_status(&before);
    let desired = engine.desired(id).await?;
    needs.extend(desired.iter().flat_map(needs_of_description));
    let webhooks = desired.map(|desired| desired.webhooks).unwrap_or_default();
    occopus.add_credential_paths_of(id).await;
    backend::prepare(occopus, needs).await?;
    let tree = ProgressTree::of_status(PROGRESS_VERB, &before, print::colours_on_stderr());
    let cyclic = maintain.cyclic.then_some(maintain.interval);
    let options = MaintainOptions { cyclic, release: maintain.release };
    let first = "stopping after the current work (again: stop at once)";
    let outcome = backend::run_with_progress(occopus, id, &webhooks, tree, first, async |run| {
        engine.maintain(id, options, run).await
    });
    match outcome.await {
        Err(Failure::Engine(error, infrastructure)) => match *error {
            EngineError::Owned { holder, .. } if maintain.release => {
                engine.release(id).await?;
                print::note(format_args!("{id} is owned by {holder}, which ends the hold at its next pass"));
                Ok(MaintainOutcome::LeftToOwner(engine.status(id, false).await?))
            }
            error => Err(Failure::Engine(Box::new(error), infrastructure)),
        },
        outcome => outcome.map(MaintainOutcome::Done),
    }
}

async fn run_on_service(id: &str, maintain: &MaintainArgs, service: &ServiceClient) -> Result<Status, Failure> {
    if maintain.cyclic {
        let text = "`--cyclic` is not supported with a service, which maintains infrastructures by itself";
        let failure = Failure::new("maintain.cyclic", text);
        return Err(failure.help(format_args!("`occopus attach -i {id}` starts it, `occopus detach -i {id}` stops it")));
    }
    let before = service.status(id, false).await?;
    let events = remote::subscribe(service, id, StreamStart::Now).await?;
    let accepted = service.maintain(id, maintain.release).await?;
    let tree = ProgressTree::of_status(PROGRESS_VERB, &before, print::colours_on_stderr());
    remote::follow_operation(service, &accepted, events, tree, None).await?;
    service.status(id, false).await
}

/// Writes the report: nodes whose name contains the filter, to standard output or to a file.
fn report(status: &Status, maintain: &MaintainArgs) -> Result<(), Failure> {
    let filter = maintain.filter.as_deref().unwrap_or_default();
    match &maintain.output {
        ReportTarget::Stdout(format) => {
            let mut filtered = status.clone();
            filtered.nodes.retain(|node| node.name.contains(filter));
            report::print_status(&filtered, *format);
        }
        ReportTarget::File(path) => {
            let mut text = address_lines(status, filter).join("\n");
            if !text.is_empty() {
                text.push('\n');
            }
            fs::write(path, text).map_err(|error| {
                Failure::new(
                    "report.unwritable",
                    format_args!("cannot write the report to {}: {error}", path.display()),
                )
            })?;
        }
    }
    Ok(())
}
