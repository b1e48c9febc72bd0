//! `occopus destroy`

use occopus::{Occopus, Purpose, Step, needs_of_status};
use occopus_engine::{DestroyReport, InfrastructureId};

use super::args::{DescriptionArgs, DestroyArgs, GlobalArgs, OutputFormat};
use super::backend::Backend;
use super::failure::Failure;
use super::remote::{self, DestroyResponse, ServiceClient, StreamStart};
use super::report::ProgressTree;
use super::{backend, print};

const PROGRESS_VERB: &str = "removing";

pub(crate) async fn run(destroy: DestroyArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let id = destroy.id.parse()?;
    if let Some(instance) = &destroy.forget {
        return forget(&id, instance, destroy.yes, common, destroy.output.format).await;
    }
    let report = match (backend::open_backend(common)?, destroy.orphans) {
        (Backend::Local(occopus), Some(description)) => {
            let files = DescriptionArgs { description, nodes: destroy.nodes };
            return sweep(&occopus, &id, files, destroy.dry_run, destroy.output.format).await;
        }
        (Backend::Local(occopus), None) => run_local(&id, &occopus).await?,
        (Backend::Service(service), _) => run_on_service(&id, &service).await?,
    };
    if !report.left.is_empty() {
        return Err(Failure::Leftovers(id.into(), report.left));
    }
    if let Some(cause) = &report.unconfirmed {
        print::note(format_args!("warning: cannot check the clouds for remaining machines: {cause}"));
    }
    if !report.orphans.is_empty() {
        return Err(Failure::Orphans(id.into(), report.orphans));
    }
    match destroy.output.format {
        OutputFormat::Json => print::json(&report),
        OutputFormat::Text => print::line(match report.removed {
            0 => format!("destroyed {id}: it had no machines"),
            1 => format!("destroyed {id}: its machine is gone"),
            number => format!("destroyed {id}: all {number} machines are gone"),
        }),
    }
    Ok(())
}

/// Drops the record of an instance whose machine cannot be removed.
async fn forget(
    id: &InfrastructureId,
    instance: &str,
    yes: bool,
    common: &GlobalArgs,
    format: OutputFormat,
) -> Result<(), Failure> {
    let Backend::Local(occopus) = backend::open_backend(common)? else {
        let text = "`--forget` is not supported with a service; run the command where the store is";
        return Err(Failure::new("forget.remote", text));
    };
    let engine = occopus.engine().await?;
    let status = engine.status(id, false).await?;
    let found = status.nodes.iter().find_map(|node| {
        let instance = node.instances.iter().find(|known| known.id == instance)?;
        Some((node, instance))
    });
    let Some((node, known)) = found else {
        let text = format!("{id} has no instance {instance}");
        return Err(Failure::new("forget.unknown-instance", text).help(format!("occopus status -i {id}")));
    };
    print::note(format_args!(
        "{} of node {} on {} ({}): its record will be dropped; its machine may still exist and cost money",
        known.id, node.name, known.driver, known.state
    ));
    if !yes && !print::ask("forget it?") {
        return Err(Failure::new("destroy.declined", "nothing was done"));
    }
    let forgotten = engine.forget(id, instance).await?;
    match format {
        OutputFormat::Json => print::json(&forgotten),
        OutputFormat::Text => print::line(format_args!("forgot {instance} of node {}", forgotten.node)),
    }
    Ok(())
}

async fn run_local(id: &InfrastructureId, occopus: &Occopus) -> Result<DestroyReport, Failure> {
    let engine = occopus.engine().await?;
    let before = engine.status(id, false).await?;
    // A description that cannot be read must not prevent the removal.
    let webhooks = engine.desired(id).await.ok().flatten().map(|desired| desired.webhooks).unwrap_or_default();
    occopus.add_credential_paths_of(id).await;
    backend::prepare(occopus, needs_of_status(&before)).await?;
    let tree = ProgressTree::of_status(PROGRESS_VERB, &before, print::colours_on_stderr()).keeping_removed();
    let first = "stopping after the current work (again: stop at once)";
    backend::run_with_progress(occopus, id, &webhooks, tree, first, async |run| engine.destroy(id, run).await).await
}

async fn run_on_service(id: &InfrastructureId, service: &ServiceClient) -> Result<DestroyReport, Failure> {
    let before = service.status(id, false).await?;
    let events = remote::subscribe(service, id, StreamStart::Now).await?;
    let mut removed = before.nodes.iter().map(|node| node.instances.len()).sum();
    if let DestroyResponse::Accepted(accepted) = service.destroy(id).await? {
        let tree = ProgressTree::of_status(PROGRESS_VERB, &before, print::colours_on_stderr()).keeping_removed();
        removed = remote::follow_operation(service, &accepted, events, tree, None).await?.dropped;
    }
    Ok(DestroyReport { id: id.clone(), removed, left: Vec::new(), orphans: Vec::new(), unconfirmed: None })
}

/// Lists the orphans in every cloud of the description, and removes them unless `only_list` is set.
async fn sweep(
    occopus: &Occopus,
    id: &InfrastructureId,
    files: DescriptionArgs,
    only_list: bool,
    format: OutputFormat,
) -> Result<(), Failure> {
    let preparation = backend::prepare_description(occopus, files, Purpose::Sweep, None, Step::Rehearse).await?;
    let mut sections: Vec<_> = preparation.previews().iter().map(|preview| preview.resource.clone()).collect();
    sections.dedup();
    let orphans = occopus.engine().await?.sweep(id, &sections, !only_list).await?;
    match format {
        OutputFormat::Json => print::json(&orphans),
        OutputFormat::Text if orphans.is_empty() => print::line(format_args!("{id} has no orphans")),
        OutputFormat::Text => {
            for orphan in &orphans {
                let state = match (&orphan.message, orphan.removed) {
                    (_, true) => "removed".to_owned(),
                    (Some(message), _) => format!("not removed: {message}"),
                    (None, _) => "found".to_owned(),
                };
                print::line(format_args!("{} on {} [{}]: {state}", orphan.instance, orphan.driver, orphan.handle));
            }
        }
    }
    let left = orphans.iter().filter(|orphan| !orphan.removed && !only_list).count();
    if left > 0 {
        return Err(Failure::new("engine.left", format_args!("{left} of the orphans could not be removed")));
    }
    Ok(())
}
