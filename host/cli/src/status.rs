//! `occopus status`

use jiff::Timestamp;
use occopus_engine::Summary;

use super::args::{Common, Format, Status};
use super::failure::Failure;
use super::report::{ago, duration};
use super::session::Place;
use super::{print, session};

pub(crate) async fn run(status: Status, common: &Common) -> Result<(), Failure> {
    let place = session::place(common)?;
    let Some(id) = status.infra_id else {
        let all = session::list(&place).await?;
        match status.output.format {
            Format::Json => print::json(&all),
            Format::Text => list(&all),
        }
        return Ok(());
    };
    let known = match &place {
        Place::Here(occopus) if status.refresh => {
            occopus.find_credentials_of(&id).await;
            session::warn(&occopus.credentials().await?);
            occopus.engine().await?.status(&id, true).await?
        }
        Place::Here(occopus) => occopus.reader().await?.status(&id, false).await?,
        Place::Service(service) => service.status(&id, status.refresh).await?,
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
        let age = duration(ago(now, one.created));
        let owner = one.owner.as_ref().map(|owner| format!(", worked on by {}", owner.holder)).unwrap_or_default();
        let suspended = if one.suspended { ", suspended" } else { "" };
        print::line(format_args!("{}  {}  {}{suspended}, begun {age} ago{owner}", one.id, one.name, one.state));
    }
}
