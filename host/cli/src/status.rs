//! `occopus status`

use jiff::Timestamp;
use occopus_engine::{InfrastructureId, Summary};

use super::args::{GlobalArgs, OutputFormat, StatusArgs};
use super::backend::Backend;
use super::failure::Failure;
use super::report::{format_duration, time_since};
use super::{backend, print, report};

pub(crate) async fn run(status: StatusArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let backend = backend::open_backend(common)?;
    let Some(id) = status.infra_id.map(InfrastructureId::try_from).transpose()? else {
        let all = backend::list_infrastructures(&backend).await?;
        match status.output.format {
            OutputFormat::Json => print::json(&all),
            OutputFormat::Text => list(&all),
        }
        return Ok(());
    };
    let infrastructure = match &backend {
        Backend::Local(occopus) if status.refresh => {
            occopus.add_credential_paths_of(&id).await;
            backend::print_warnings(&occopus.credentials().await?);
            occopus.engine().await?.status(&id, true).await?
        }
        Backend::Local(occopus) => occopus.reader().await?.status(&id, false).await?,
        Backend::Service(service) => service.status(&id, status.refresh).await?,
    };
    report::print_status(&infrastructure, status.output.format);
    Ok(())
}

fn list(all: &[Summary]) {
    if all.is_empty() {
        print::line("no infrastructures");
    }
    let now = Timestamp::now();
    for infrastructure in all {
        let age = format_duration(time_since(now, infrastructure.created));
        let owner =
            infrastructure.owner.as_ref().map(|owner| format!(", owned by {}", owner.holder)).unwrap_or_default();
        let suspended = if infrastructure.suspended { ", suspended" } else { "" };
        print::line(format_args!(
            "{}  {}  {}{suspended}, created {age} ago{owner}",
            infrastructure.id, infrastructure.name, infrastructure.state
        ));
    }
}
