//! `occopus maintain`

use std::fs;

use occopus::{Occopus, needs_of_description, needs_of_status};
use occopus_engine::{EngineError, MaintainOptions, Status};
use serde_json::json;

use super::args::{Common, Format, Maintain, ReportTarget};
use super::failure::{Exit, Failure};
use super::remote::{self, Follow, Service};
use super::report::{Live, report_lines};
use super::session::Place;
use super::{print, session};

const DOING: &str = "maintaining";

pub(crate) async fn run(maintain: Maintain, common: &Common) -> Result<Exit, Failure> {
    let place = session::place(common)?;
    let Some(id) = &maintain.infra_id else {
        let all = session::list(&place).await?;
        let ids: Vec<_> = all.iter().map(|one| one.id.as_str()).collect();
        match maintain.output.format() {
            Format::Json => print::json(&json!(ids)),
            Format::Text if ids.is_empty() => print::line("No active infrastructure."),
            Format::Text => {
                print::line("List of active infrastructures:");
                ids.iter().for_each(print::line);
            }
        }
        return Ok(Exit::Done);
    };

    let (status, is_report) = match &place {
        Place::Here(occopus) if maintain.report => {
            occopus.find_credentials_of(id).await;
            session::warn(&occopus.credentials().await?);
            (occopus.engine().await?.status(id, true).await?, true)
        }
        Place::Service(service) if maintain.report => (service.status(id, true).await?, true),
        Place::Here(occopus) => match here(id, &maintain, occopus).await? {
            Maintained::Done(status) => (status, false),
            Maintained::LeftTo(status) => {
                print::status(&status, maintain.output.format());
                return Ok(Exit::Done);
            }
        },
        Place::Service(service) => (there(id, &maintain, service).await?, false),
    };
    if is_report {
        return report(&status, &maintain).map(|()| Exit::Done);
    }
    print::status(&status, maintain.output.format());
    // Who looks again and again was stopped by somebody, who is not told by a number how things were at that moment.
    Ok(if maintain.cyclic { Exit::Done } else { Exit::of_status(&status) })
}

/// Outcome of maintaining.
enum Maintained {
    /// A pass, or passes until it was stopped.
    Done(Status),
    /// Somebody else works on it, and will do what was asked for.
    LeftTo(Status),
}

async fn here(id: &str, maintain: &Maintain, occopus: &Occopus) -> Result<Maintained, Failure> {
    let engine = occopus.engine().await?;
    let before = engine.status(id, false).await?;
    let mut needs = needs_of_status(&before);
    let desired = engine.desired(id).await?;
    needs.extend(desired.iter().flat_map(needs_of_description));
    let webhooks = desired.map(|desired| desired.webhooks).unwrap_or_default();
    occopus.find_credentials_of(id).await;
    session::prepare(occopus, needs).await?;
    let live = Live::of_status(DOING, &before, print::colours_on_stderr());
    let cyclic = maintain.cyclic.then_some(maintain.interval);
    let options = MaintainOptions { cyclic, release: maintain.release };
    let first = "stopping after what is under way (once more: stop at once)";
    let done = session::watch(occopus, id, &webhooks, live, first, async |run| engine.maintain(id, options, run).await);
    match done.await {
        Err(Failure::Engine(error, infrastructure)) => match *error {
            EngineError::Owned { holder, .. } if maintain.release => {
                engine.release(id).await?;
                print::note(format_args!("{holder} maintains it, and replaces them at its next pass"));
                Ok(Maintained::LeftTo(engine.status(id, false).await?))
            }
            error => Err(Failure::Engine(Box::new(error), infrastructure)),
        },
        done => done.map(Maintained::Done),
    }
}

async fn there(id: &str, maintain: &Maintain, service: &Service) -> Result<Status, Failure> {
    if maintain.cyclic {
        let text = "a service looks again and again by itself, not while a command waits for it";
        let failure = Failure::new(Exit::Usage, "maintain.cyclic", text);
        return Err(failure.help(format_args!("`occopus attach -i {id}` lets it, until `occopus detach -i {id}`")));
    }
    let before = service.status(id, false).await?;
    let events = remote::follow(service, id, Follow::FromNow).await?;
    let accepted = service.maintain(id, maintain.release).await?;
    let live = Live::of_status(DOING, &before, print::colours_on_stderr());
    remote::watch(service, &accepted, events, live, None).await?;
    service.status(id, false).await
}

/// Only what was asked for: nodes by a part of their names, to the terminal or to a file.
fn report(status: &Status, maintain: &Maintain) -> Result<(), Failure> {
    let filter = maintain.filter.as_deref().unwrap_or_default();
    match &maintain.output {
        ReportTarget::Stdout(format) => {
            let mut shown = status.clone();
            shown.nodes.retain(|node| node.name.contains(filter));
            print::status(&shown, *format);
        }
        ReportTarget::File(path) => {
            let mut text = report_lines(status, filter).join("\n");
            if !text.is_empty() {
                text.push('\n');
            }
            fs::write(path, text).map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    "report.unwritable",
                    format_args!("the report can't be written to {}: {error}", path.display()),
                )
            })?;
        }
    }
    Ok(())
}
