//! `occopus plan`

use occopus::Occopus;
use uuid::Uuid;

use super::args::{Common, Format, Plan};
use super::failure::Failure;
use super::remote::Service;
use super::session::Place;
use super::{print, session};

pub(crate) async fn run(plan: Plan, common: &Common) -> Result<(), Failure> {
    let format = plan.output.format;
    let planned = match session::place(common)? {
        Place::Here(occopus) => here(plan, &occopus).await?,
        Place::Service(service) => there(plan, &service).await?,
    };
    match format {
        Format::Json => print::json(&planned),
        Format::Text => print::line(planned),
    }
    Ok(())
}

async fn here(plan: Plan, occopus: &Occopus) -> Result<occopus_engine::Plan, Failure> {
    let compiled = session::compile_to_build(occopus, plan.files).await?;
    session::warn(&occopus.look_at_credentials().await?);
    let id = plan.infra_id.as_deref();
    let previews = session::rehearse(occopus, id, &compiled.infrastructure).await?;
    session::credentials_for(occopus, &compiled.infrastructure, &previews).await?;
    Ok(occopus.planner(id).await?.plan(id, &compiled.infrastructure, plan.replace.renew()).await?)
}

async fn there(plan: Plan, service: &Service) -> Result<occopus_engine::Plan, Failure> {
    let posted = service.compile(plan.files).await?;
    // A new one has nothing yet, whatever its id is to be.
    let id = plan.infra_id.unwrap_or_else(|| Uuid::new_v4().to_string());
    service.plan(&id, &posted.text, plan.replace.renew()).await.map_err(|failure| posted.explain(failure))
}
