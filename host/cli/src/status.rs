//! `occopus status`

use jiff::Timestamp;
use occopus_engine::Summary;

use super::args::{Common, Format, Status};
use super::failure::Failure;
use super::report::{ago, duration, of_status};
use super::{print, session};

pub(crate) async fn run(status: Status, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let Some(id) = status.infra_id else {
        let all = occopus.reader().await?.list().await?;
        match status.output.format {
            Format::Json => print::json(&all),
            Format::Text => list(&all),
        }
        return Ok(());
    };
    let engine = if status.refresh {
        session::warn(&occopus.credentials().await?);
        occopus.engine().await?
    } else {
        occopus.reader().await?
    };
    let known = engine.status(&id, status.refresh).await?;
    match status.output.format {
        Format::Json => print::json(&known),
        Format::Text => {
            for line in of_status(&known, Timestamp::now(), print::colours_on_stdout()) {
                print::line(line);
            }
        }
    }
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
        print::line(format_args!("{}  {}  {}, begun {age} ago{owner}", one.id, one.name, one.state));
    }
}
