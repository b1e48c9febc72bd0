//! `occopus scale`

use jiff::Timestamp;
use occopus::{needs_of_description, needs_of_status};
use occopus_engine::{EngineError, MaintainOptions, Scale};
use serde_json::json;

use super::args::{Common, Format, ScaleTo};
use super::failure::Failure;
use super::report::{Live, of_status};
use super::{print, session};

pub(crate) async fn run(arguments: ScaleTo, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let (id, node) = (&arguments.infra_id, &arguments.node);
    let how = match (arguments.change, arguments.set, arguments.filter) {
        (Some(change), ..) => Scale::By(change),
        (_, Some(number), _) => Scale::To(number),
        (.., filter) => Scale::Remove(filter.unwrap_or_default()),
    };
    let reader = occopus.reader().await?;
    let number = reader.scale(id, node, how).await?;
    print::note(format_args!("{node} is to have {number}"));
    if arguments.later {
        match arguments.output.format {
            Format::Json => print::json(&json!({"node": node, "target": number, "applied": false})),
            Format::Text => print::line("recorded; the next pass of `occopus maintain` does it"),
        }
        return Ok(());
    }
    let before = reader.status(id, false).await?;
    let mut needs = needs_of_status(&before);
    let desired = reader.desired(id).await?;
    needs.extend(desired.iter().flat_map(needs_of_description));
    let webhooks = desired.map(|desired| desired.webhooks).unwrap_or_default();
    session::prepare(&occopus, needs).await?;
    let engine = occopus.engine().await?;
    let live = Live::of_status("scaling", &before, print::colours_on_stderr());
    let first = "stopping after what is under way (once more: stop at once)";
    let done = session::watch(&occopus, id, &webhooks, live, first, async |run| {
        engine.maintain(id, MaintainOptions::default(), run).await
    });
    let status = match done.await {
        Ok(status) => status,
        Err(Failure::Engine(error, infrastructure)) => match *error {
            EngineError::Owned { holder, .. } => {
                print::note(format_args!("{holder} works on it, and will do it"));
                reader.status(id, false).await?
            }
            error => return Err(Failure::Engine(Box::new(error), infrastructure)),
        },
        Err(failure) => return Err(failure),
    };
    match arguments.output.format {
        Format::Json => print::json(&status),
        Format::Text => {
            for line in of_status(&status, Timestamp::now(), print::colours_on_stdout()) {
                print::line(line);
            }
        }
    }
    Ok(())
}
