//! `occopus build`

use std::io::{self, IsTerminal as _};

use http::StatusCode;
use occopus::{Occopus, needs_of_description};
use occopus_engine::{ActionKind, BuildRequest, OnFailure, Plan, Status};
use uuid::Uuid;

use super::args::{self, Build, Common, Format};
use super::failure::{Exit, Failure};
use super::remote::{self, Follow, Service};
use super::report::Live;
use super::session::Place;
use super::{print, session};

pub(crate) async fn run(build: Build, common: &Common) -> Result<Exit, Failure> {
    let format = build.output.format;
    let status = match session::place(common)? {
        Place::Here(occopus) => here(build, &occopus).await?,
        Place::Service(service) => there(build, &service).await?,
    };
    // Programs that drive the existing tool wait for this line (MiCADO's submitter does, on either stream), so it comes only
    // when all is done.
    print::note(format_args!("Submitted infrastructure: '{}'", status.id));
    print::status(&status, format);
    if format == Format::Text {
        print::line(&status.id);
    }
    Ok(Exit::of_status(&status))
}

async fn here(build: Build, occopus: &Occopus) -> Result<Status, Failure> {
    let infrastructure = session::compile_to_build(occopus, build.files).await?.infrastructure;
    let engine = occopus.engine().await?;
    engine.check(&infrastructure)?;
    session::prepare(occopus, needs_of_description(&infrastructure)).await?;
    let previews = session::rehearse(occopus, build.infra_id.as_deref(), &infrastructure).await?;
    session::credentials_for(occopus, &infrastructure, &previews).await?;

    let renew = build.replace.renew();
    if let Some(id) = &build.infra_id
        && engine.exists(id).await?
    {
        confirm(&engine.plan(Some(id), &infrastructure, renew).await?, build.yes)?;
    }
    let is_new_id = build.infra_id.is_none();
    let id = id_of(build.infra_id);
    let live = Live::of_description(&infrastructure, print::colours_on_stderr());
    let on_failure = match build.on_failure {
        args::OnFailure::Rollback => OnFailure::Rollback,
        args::OnFailure::Keep => OnFailure::Keep,
    };
    let webhooks = infrastructure.webhooks.clone();
    let request = BuildRequest { id: Some(id.clone()), infrastructure, on_failure, renew, is_new_id };
    let first = "stopping; what this run made is removed (once more: stop at once)";
    session::watch(occopus, &id, &webhooks, live, first, async |run| engine.build(request, run).await).await
}

async fn there(build: Build, service: &Service) -> Result<Status, Failure> {
    let posted = service.compile(build.files).await?;
    let (text, renew) = (&posted.text, build.replace.renew());
    let exists = match &build.infra_id {
        Some(id) => exists(service, id).await?,
        None => false,
    };
    if let (Some(id), true) = (&build.infra_id, exists) {
        let plan = service.plan(id, text, renew).await.map_err(|failure| posted.explain(failure))?;
        confirm(&plan, build.yes)?;
    }
    let id = id_of(build.infra_id);
    let begin = if exists { Follow::FromNow } else { Follow::FromBirth };
    let events = remote::follow(service, &id, begin).await?;
    let accepted =
        service.build(&id, text, renew, build.on_failure).await.map_err(|failure| posted.explain(failure))?;
    let live = Live::of_description(posted.infrastructure(), print::colours_on_stderr());
    remote::watch(service, &accepted, events, live, Some(&posted)).await?;
    service.status(&id, false).await
}

async fn exists(service: &Service, id: &str) -> Result<bool, Failure> {
    match service.status(id, false).await {
        Ok(_) => Ok(true),
        Err(Failure::Service(refused)) if refused.status == Some(StatusCode::NOT_FOUND) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// A new one where none was given. It is told early, for those who interrupt it.
fn id_of(given: Option<String>) -> String {
    let id = given.unwrap_or_else(|| Uuid::new_v4().to_string());
    print::note(format_args!("infrastructure id: {id}"));
    id
}

/// Before an infrastructure that exists is changed: shows what will be done, and on a terminal asks.
fn confirm(plan: &Plan, yes: bool) -> Result<(), Failure> {
    if plan.is_unchanged() && !plan.actions.iter().any(occopus_engine::Action::differs) {
        return Ok(());
    }
    for action in plan.actions.iter().filter(|action| action.kind != ActionKind::Check || action.differs()) {
        print::note(action);
    }
    print::note(plan.summary());
    let left = || plan.actions.iter().filter(|action| action.kind == ActionKind::Check);
    let changed = left().any(|action| !action.changed.is_empty());
    let stale = left().any(|action| !action.stale.is_empty());
    let hint = |which: &str| print::note(format_args!("`--replace {which}` renews them, one by one"));
    match (changed, stale) {
        (true, true) => hint("changed,dependents"),
        (true, false) => hint("changed"),
        (false, true) => hint("dependents"),
        (false, false) => {}
    }
    let may_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if plan.is_unchanged() || yes || !may_ask || print::ask("go on?") {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "build.declined", "nothing was done"))
}
