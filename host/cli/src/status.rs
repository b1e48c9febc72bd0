//! `occopus status`

use jiff::Timestamp;
use occopus_engine::Summary;

use super::args::{GlobalArgs, OutputFormat, StatusArgs};
use super::backend::Backend;
use super::failure::Failure;
use super::report::{format_duration, time_since};
use super::{backend, print};

pub(crate) async fn run(status: StatusArgs, common: &GlobalArgs) -> Result<(), Failure> {
    let place = backend::open_backend(common)?;
    let Some(id) = status.infra_id else {
        let all = backend::list_infrastructures(&place).await?;
        match status.output.format {
            OutputFormat::Json => print::json(&all),
            OutputFormat::Text => list(&all),
        }
        return Ok(());
    };
    let known = match &place {
        Backend::Local(occopus) if status.refresh => {
            occopus.add_credential_paths_of(&id).await;
            backend::print_warnings(&occopus.credentials().await?);
            occopus.engine().await?.status(&id, true).await?
        }
        Backend::Local(occopus) => occopus.reader().await?.status(&id, false).await?,
        Backend::Service(service) => service.status(&id, status.refresh).await?,
    };
    print::status(&known, status.output.format);
    Ok(())
}

fn list(all: &[Summary]) {
    if all.is_empty() {
        print::line("no infrastructures");
    }
    let now = Timestamp::now();
    for one in all {
        let age = format_duration(time_since(now, one.created));
        let owner = one.owner.as_ref().map(|owner| format!(", worked on by {}", owner.holder)).unwrap_or_default();
        let suspended = if one.suspended { ", suspended" } else { "" };
        print::line(format_args!("{}  {}  {}{suspended}, begun {age} ago{owner}", one.id, one.name, one.state));
    }
}
