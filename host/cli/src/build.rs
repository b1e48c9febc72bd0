//! `occopus build`

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use jiff::Timestamp;
use occopus::needs_of_description;
use occopus_engine::{ActionKind, BuildRequest, Engine, EngineError, OnFailure, Renew};
use occopus_model::Infrastructure;
use uuid::Uuid;

use super::args::{self, Build, Common, Format};
use super::failure::{Exit, Failure};
use super::report::{Live, of_status};
use super::{print, session};

pub(crate) async fn run(build: Build, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let infrastructure = session::compile(&occopus, build.files).await?.infrastructure;
    let engine = occopus.engine().await?;
    engine.check(&infrastructure)?;
    session::prepare(&occopus, needs_of_description(&infrastructure)).await?;
    let previews = session::rehearse(&occopus, build.infra_id.as_deref(), &infrastructure).await?;
    session::credentials_for(&occopus, &infrastructure, &previews).await?;

    let renew = build.replace.renew();
    if let Some(id) = &build.infra_id {
        confirm(&engine, id, &infrastructure, renew, build.yes).await?;
    }
    let id = build.infra_id.unwrap_or_else(|| Uuid::new_v4().to_string());
    // Early, for those who interrupt it.
    print::note(format_args!("infrastructure id: {id}"));
    let live = Live::of_description(&infrastructure, print::colours_on_stderr());
    let on_failure = match build.on_failure {
        args::OnFailure::Rollback => OnFailure::Rollback,
        args::OnFailure::Keep => OnFailure::Keep,
    };
    let webhooks = infrastructure.webhooks.clone();
    let request = BuildRequest { id: Some(id.clone()), infrastructure, on_failure, renew };
    let first = "stopping; what this run made is removed (once more: stop at once)";
    let status =
        session::watch(&occopus, &id, &webhooks, live, first, async |run| engine.build(request, run).await).await?;

    match build.output.format {
        Format::Json => print::json(&status),
        Format::Text => {
            for line in of_status(&status, Timestamp::now(), print::colours_on_stdout()) {
                print::line(line);
            }
            print::line(&status.id);
        }
    }
    Ok(())
}

/// Before an infrastructure that exists is changed: shows what will be done, and on a terminal asks.
async fn confirm(
    engine: &Engine,
    id: &str,
    infrastructure: &Infrastructure,
    renew: Renew,
    yes: bool,
) -> Result<(), Failure> {
    match engine.status(id, false).await {
        Ok(_) => {}
        Err(EngineError::UnknownInfrastructure { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let plan = engine.plan(Some(id), infrastructure, renew).await?;
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
    if plan.is_unchanged() || yes || !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    let _ = write!(io::stderr(), "go on? [y/N] ");
    let mut answer = String::new();
    // No answer is no.
    let _ = io::stdin().lock().read_line(&mut answer);
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(Exit::Failed, "build.declined", "nothing was done"))
    }
}
