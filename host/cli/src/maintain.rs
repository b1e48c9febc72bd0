//! `occopus maintain`

use std::fs;

use jiff::Timestamp;
use occopus::{needs_of_description, needs_of_status};
use occopus_engine::{MaintainOptions, Status};
use serde_json::json;

use super::args::{Common, Format, Maintain, ReportTarget};
use super::failure::{Exit, Failure};
use super::report::{Live, of_status, report_lines};
use super::{print, session};

pub(crate) async fn run(maintain: Maintain, common: &Common) -> Result<(), Failure> {
    let occopus = session::open(common)?;
    let Some(id) = &maintain.infra_id else {
        let all = occopus.reader().await?.list().await?;
        let ids: Vec<_> = all.iter().map(|one| one.id.as_str()).collect();
        match maintain.output.format() {
            Format::Json => print::json(&json!(ids)),
            Format::Text if ids.is_empty() => print::line("No active infrastructure."),
            Format::Text => {
                print::line("List of active infrastructures:");
                ids.iter().for_each(print::line);
            }
        }
        return Ok(());
    };

    let engine = occopus.engine().await?;
    if maintain.report {
        session::warn(&occopus.credentials().await?);
        let status = engine.status(id, true).await?;
        return report(&status, &maintain);
    }
    let before = engine.status(id, false).await?;
    let mut needs = needs_of_status(&before);
    let desired = engine.desired(id).await?;
    needs.extend(desired.iter().flat_map(needs_of_description));
    let webhooks = desired.map(|desired| desired.webhooks).unwrap_or_default();
    session::prepare(&occopus, needs).await?;
    let live = Live::of_status("maintaining", &before, print::colours_on_stderr());
    let options = MaintainOptions { cyclic: maintain.cyclic.then_some(maintain.interval) };
    let first = "stopping after what is under way (once more: stop at once)";
    let status =
        session::watch(&occopus, id, &webhooks, live, first, async |run| engine.maintain(id, options, run).await)
            .await?;
    show(&status, maintain.output.format());
    Ok(())
}

fn show(status: &Status, format: Format) {
    match format {
        Format::Json => print::json(status),
        Format::Text => {
            for line in of_status(status, Timestamp::now(), print::colours_on_stdout()) {
                print::line(line);
            }
        }
    }
}

/// Only what was asked for: nodes by a part of their names, to the terminal or to a file.
fn report(status: &Status, maintain: &Maintain) -> Result<(), Failure> {
    let filter = maintain.filter.as_deref().unwrap_or_default();
    match &maintain.output {
        ReportTarget::Stdout(format) => {
            let mut shown = status.clone();
            shown.nodes.retain(|node| node.name.contains(filter));
            show(&shown, *format);
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
