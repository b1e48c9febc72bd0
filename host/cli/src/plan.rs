//! `occopus plan`

use occopus::{Occopus, Purpose, Step};
use occopus_engine::{InfrastructureId, Plan};

use super::args::{GlobalArgs, OutputFormat, PlanArgs};
use super::backend::Backend;
use super::failure::Failure;
use super::remote::ServiceClient;
use super::{backend, build, print};

pub(crate) async fn run(plan: PlanArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let format = plan.output.format;
    let planned = match backend::open_backend(common)? {
        Backend::Local(occopus) => run_local(plan, &occopus).await?,
        Backend::Service(service) => run_on_service(plan, &service).await?,
    };
    match format {
        OutputFormat::Json => print::json(&planned),
        OutputFormat::Text => print::line(planned),
    }
    Ok(())
}

async fn run_local(plan: PlanArgs, occopus: &Occopus) -> Result<Plan, Failure> {
    let given = plan.infra_id.map(InfrastructureId::try_from).transpose()?;
    let id = given.as_ref();
    let refreshed = id.filter(|_| plan.refresh);
    // A refresh calls clouds.
    let purpose = if refreshed.is_some() { Purpose::Deploy } else { Purpose::DryRun };
    let preparation = backend::prepare_description(occopus, plan.files, purpose, id, Step::Authenticate).await?;
    backend::ensure_authenticated(occopus, &preparation)?;
    let planner = occopus.planner(id).await?;
    if let Some(id) = refreshed
        && planner.exists(id).await?
    {
        planner.status(id, true).await?;
    }
    Ok(planner.plan(id, preparation.infrastructure(), plan.replace.to_engine_options()).await?)
}

async fn run_on_service(plan: PlanArgs, service: &ServiceClient) -> Result<Plan, Failure> {
    let id = plan.infra_id.map(InfrastructureId::try_from).transpose()?;
    let posted = service.compile(plan.files).await?;
    if let Some(id) = id.as_ref().filter(|_| plan.refresh)
        && build::exists(service, id).await?
    {
        service.status(id, true).await?;
    }
    // A plan for a new infrastructure does not depend on its id.
    let id = id.unwrap_or_else(InfrastructureId::generate);
    service
        .plan(&id, &posted.text, plan.replace.to_engine_options())
        .await
        .map_err(|failure| posted.relocate_failure(failure))
}
