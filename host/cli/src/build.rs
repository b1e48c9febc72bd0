//! `occopus build`

use std::io::{self, IsTerminal as _};

use http::StatusCode;
use occopus::{Occopus, Purpose, Step};
use occopus_api::ExitStatus;
use occopus_engine::{ActionKind, BuildRequest, InfrastructureId, OnFailure, Plan, Status};

use super::args::{self, BuildArgs, GlobalArgs, OutputFormat};
use super::backend::Backend;
use super::failure::{Failure, exit_of_status};
use super::remote::{self, ServiceClient, StreamStart};
use super::report::ProgressTree;
use super::{backend, print, report};

pub(crate) async fn run(build: BuildArgs, common: &GlobalArgs) -> Result<ExitStatus, Failure> {
    let format = build.output.format;
    let status = match backend::open_backend(common)? {
        Backend::Local(occopus) => run_local(build, &occopus).await?,
        Backend::Service(service) => run_on_service(build, &service).await?,
    };
    // Programs that drive the Python Occopus wait for this line (MiCADO's submitter does, on either stream), so it comes only
    // when the build is done.
    print::note(format_args!("Submitted infrastructure: '{}'", status.id));
    report::print_status(&status, format);
    if format == OutputFormat::Text {
        print::line(&status.id);
    }
    Ok(exit_of_status(&status))
}

async fn run_local(build: BuildArgs, occopus: &Occopus) -> Result<Status, Failure> {
    let given = build.infra_id.map(InfrastructureId::try_from).transpose()?;
    let (id, until) = (given.as_ref(), Step::Authenticate);
    let preparation = backend::prepare_description(occopus, build.files, Purpose::Deploy, id, until).await?;
    backend::ensure_authenticated(occopus, &preparation)?;
    let (infrastructure, _) = preparation.into_parts();
    let engine = occopus.engine().await?;

    let rollout = build.replace.to_engine_options();
    if let Some(id) = &given
        && engine.exists(id).await?
    {
        confirm(&engine.plan(Some(id), &infrastructure, rollout).await?, build.yes)?;
    }
    let is_new_id = given.is_none();
    let id = choose_id(given);
    let tree = ProgressTree::of_description(&infrastructure, print::colours_on_stderr());
    let on_failure = match build.on_failure {
        args::OnFailureArg::Rollback => OnFailure::Rollback,
        args::OnFailureArg::Keep => OnFailure::Keep,
    };
    let webhooks = infrastructure.webhooks.clone();
    let request = BuildRequest { id: Some(id.clone()), infrastructure, on_failure, rollout, is_new_id };
    let first = "stopping, and removing what this run made (again: stop at once)";
    backend::run_with_progress(occopus, &id, &webhooks, tree, first, async |run| engine.build(request, run).await).await
}

async fn run_on_service(build: BuildArgs, service: &ServiceClient) -> Result<Status, Failure> {
    let given = build.infra_id.map(InfrastructureId::try_from).transpose()?;
    let posted = service.compile(build.files).await?;
    let (text, rollout) = (&posted.text, build.replace.to_engine_options());
    let exists = match &given {
        Some(id) => exists(service, id).await?,
        None => false,
    };
    if let (Some(id), true) = (&given, exists) {
        let plan = service.plan(id, text, rollout).await.map_err(|failure| posted.relocate_failure(failure))?;
        confirm(&plan, build.yes)?;
    }
    let id = choose_id(given);
    let start = if exists { StreamStart::Now } else { StreamStart::Beginning };
    let events = remote::subscribe(service, &id, start).await?;
    let accepted = service
        .build(&id, text, rollout, build.on_failure)
        .await
        .map_err(|failure| posted.relocate_failure(failure))?;
    let tree = ProgressTree::of_description(posted.infrastructure(), print::colours_on_stderr());
    remote::follow_operation(service, &accepted, events, tree, Some(&posted)).await?;
    service.status(&id, false).await
}

/// Returns whether a service has an infrastructure of this id.
pub(crate) async fn exists(service: &ServiceClient, id: &str) -> Result<bool, Failure> {
    match service.status(id, false).await {
        Ok(_) => Ok(true),
        Err(Failure::Service(error)) if error.status == Some(StatusCode::NOT_FOUND) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Returns the given id, or a new one. Prints it early, for builds that are interrupted.
fn choose_id(given: Option<InfrastructureId>) -> InfrastructureId {
    let id = given.unwrap_or_else(InfrastructureId::generate);
    print::note(format_args!("infrastructure id: {id}"));
    id
}

/// Prints the plan of a change of an existing infrastructure, and on a terminal asks for consent.
fn confirm(plan: &Plan, yes: bool) -> Result<(), Failure> {
    if plan.is_unchanged() && !plan.actions.iter().any(occopus_engine::Action::has_drifted) {
        return Ok(());
    }
    for action in plan.actions.iter().filter(|action| action.kind != ActionKind::Check || action.has_drifted()) {
        print::note(action);
    }
    print::note(plan.summary());
    let kept = || plan.actions.iter().filter(|action| action.kind == ActionKind::Check);
    let changed = kept().any(|action| !action.changed.is_empty());
    let stale = kept().any(|action| !action.stale.is_empty());
    let hint = |selector: &str| print::note(format_args!("`--replace {selector}` replaces them, one by one"));
    match (changed, stale) {
        (true, true) => hint("changed,dependents"),
        (true, false) => hint("changed"),
        (false, true) => hint("dependents"),
        (false, false) => {}
    }
    let may_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if plan.is_unchanged() || yes || !may_ask || print::ask("continue?") {
        return Ok(());
    }
    Err(Failure::new("build.declined", "nothing was done"))
}
