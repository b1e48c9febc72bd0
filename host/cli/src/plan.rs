//! `occopus plan`

use super::args::{Common, Format, Plan};
use super::failure::Failure;
use super::{print, session};

pub(crate) async fn run(plan: Plan, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let compiled = session::compile(&occopus, plan.files).await?;
    session::rehearse(&occopus, plan.infra_id.as_deref(), &compiled.infrastructure).await?;
    let id = plan.infra_id.as_deref();
    let planned = occopus.planner(id).await?.plan(id, &compiled.infrastructure, plan.replace.renew()).await?;
    match plan.output.format {
        Format::Json => print::json(&planned),
        Format::Text => print::line(planned),
    }
    Ok(())
}
