//! `occopus destroy`

use occopus::{Occopus, needs_of_description, needs_of_status};
use occopus_engine::DestroyReport;

use super::args::{Common, Destroy, Files, Format};
use super::failure::{Exit, Failure};
use super::remote::{self, Destroyed, Follow, Service};
use super::report::Live;
use super::session::Place;
use super::{print, session};

const DOING: &str = "removing";

pub(crate) async fn run(destroy: Destroy, common: &Common) -> Result<(), Failure> {
    let id = destroy.id.infra_id;
    if let Some(instance) = &destroy.forget {
        return forget(&id, instance, destroy.yes, common, destroy.output.format).await;
    }
    let report = match (session::place(common)?, destroy.orphans) {
        (Place::Here(occopus), Some(description)) => {
            let files = Files { description, nodes: destroy.nodes };
            return sweep(&occopus, &id, files, destroy.dry_run, destroy.output.format).await;
        }
        (Place::Here(occopus), None) => here(&id, &occopus).await?,
        (Place::Service(service), _) => there(&id, &service).await?,
    };
    if !report.left.is_empty() {
        return Err(Failure::Left(id, report.left));
    }
    if let Some(why) = &report.unconfirmed {
        print::note(format_args!("warning: its clouds could not be asked whether anything is left: {why}"));
    }
    if !report.strange.is_empty() {
        return Err(Failure::Strange(id, report.strange));
    }
    match destroy.output.format {
        Format::Json => print::json(&report),
        Format::Text => print::line(format_args!("{id} is destroyed: nothing is left of it")),
    }
    Ok(())
}

/// Drops the record of an instance whose machine can't be removed.
async fn forget(id: &str, instance: &str, yes: bool, common: &Common, format: Format) -> Result<(), Failure> {
    let Place::Here(occopus) = session::place(common)? else {
        let text = "an instance can't be forgotten over a service: run it where the store is";
        return Err(Failure::new(Exit::Usage, "forget.remote", text));
    };
    let engine = occopus.engine().await?;
    let status = engine.status(id, false).await?;
    let found = status.nodes.iter().find_map(|node| {
        let instance = node.instances.iter().find(|it| it.id == instance)?;
        Some((node, instance))
    });
    let Some((node, known)) = found else {
        let text = format!("{id} has no instance {instance}");
        return Err(Failure::new(Exit::Usage, "engine.unknown-instance", text).help(format!("occopus status -i {id}")));
    };
    print::note(format_args!(
        "{} of node {} on {} ({}): its record goes, its machine may still exist and cost",
        known.id, node.name, known.driver, known.state
    ));
    if !yes && !print::ask("forget it?") {
        return Err(Failure::new(Exit::Failed, "destroy.declined", "nothing was done").help("`--yes` agrees"));
    }
    let forgotten = engine.forget(id, instance).await?;
    match format {
        Format::Json => print::json(&forgotten),
        Format::Text => print::line(format_args!("forgot {instance} of node {}", forgotten.node)),
    }
    Ok(())
}

async fn here(id: &str, occopus: &Occopus) -> Result<DestroyReport, Failure> {
    let engine = occopus.engine().await?;
    let before = engine.status(id, false).await?;
    // A description that can't be read must not keep it from being removed.
    let webhooks = engine.desired(id).await.ok().flatten().map(|desired| desired.webhooks).unwrap_or_default();
    occopus.find_credentials_of(id).await;
    session::prepare(occopus, needs_of_status(&before)).await?;
    let live = Live::of_status(DOING, &before, print::colours_on_stderr()).keeping_gone();
    let first = "stopping after what is under way (once more: stop at once)";
    session::watch(occopus, id, &webhooks, live, first, async |run| engine.destroy(id, run).await).await
}

async fn there(id: &str, service: &Service) -> Result<DestroyReport, Failure> {
    let before = service.status(id, false).await?;
    let events = remote::follow(service, id, Follow::FromNow).await?;
    let mut removed = before.nodes.iter().map(|node| node.instances.len()).sum();
    if let Destroyed::Accepted(accepted) = service.destroy(id).await? {
        let live = Live::of_status(DOING, &before, print::colours_on_stderr()).keeping_gone();
        removed = remote::watch(service, &accepted, events, live, None).await?.dropped;
    }
    Ok(DestroyReport { id: id.to_owned(), removed, left: Vec::new(), strange: Vec::new(), unconfirmed: None })
}

/// Looks in every cloud of the description.
async fn sweep(occopus: &Occopus, id: &str, files: Files, only_list: bool, format: Format) -> Result<(), Failure> {
    let infrastructure = session::compile(occopus, files).await?.infrastructure;
    session::prepare(occopus, needs_of_description(&infrastructure)).await?;
    let previews = session::rehearse(occopus, None, &infrastructure).await?;
    let mut sections: Vec<_> = previews.into_iter().map(|preview| preview.resource).collect();
    sections.dedup();
    let orphans = occopus.engine().await?.sweep(id, &sections, !only_list).await?;
    match format {
        Format::Json => print::json(&orphans),
        Format::Text if orphans.is_empty() => print::line(format_args!("{id} has no orphans")),
        Format::Text => {
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
        return Err(Failure::new(Exit::Left, "engine.left", format_args!("{left} could not be removed")));
    }
    Ok(())
}
