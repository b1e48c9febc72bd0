//! `occopus events`

use std::time::Duration;

use occopus::Occopus;
use occopus_engine::Event;

use super::args::{Common, Events, Format};
use super::failure::Failure;
use super::remote::{self, Follow, Service};
use super::report::{one_line, quoted};
use super::session::Place;
use super::{print, session};

/// Read at a time.
const PAGE: usize = 500;
/// Between two looks when following.
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) async fn run(events: Events, common: &Common) -> Result<(), Failure> {
    match session::place(common)? {
        Place::Here(occopus) => here(events, &occopus).await,
        Place::Service(service) => there(events, &service).await,
    }
}

async fn here(events: Events, occopus: &Occopus) -> Result<(), Failure> {
    let engine = occopus.reader().await?;
    let id = &events.id.infra_id;
    let mut after = 0;
    loop {
        let page = engine.events(id, after, PAGE).await?;
        for event in &page {
            after = event.id.unwrap_or(after);
            if !show(event, events.output.format) {
                return Ok(());
            }
        }
        if page.is_empty() {
            if after == 0 {
                // Either nothing has happened yet, or there is no such infrastructure.
                engine.status(id, false).await?;
            }
            if !events.follow {
                return Ok(());
            }
            if !engine.exists(id).await? {
                gone(id);
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn there(events: Events, service: &Service) -> Result<(), Failure> {
    let id = &events.id.infra_id;
    let mut after = 0;
    loop {
        let page = service.events(id, after, PAGE).await?;
        for event in &page {
            after = event.id.unwrap_or(after);
            if !show(event, events.output.format) {
                return Ok(());
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    if events.follow {
        let mut happening = remote::follow(service, id, Follow::After(after)).await?;
        while let Some(event) = happening.recv().await {
            // The others are about what is under way, and are kept nowhere.
            if event.id.is_some() && !show(&event, events.output.format) {
                return Ok(());
            }
        }
        gone(id);
    }
    Ok(())
}

fn gone(id: &str) {
    print::note(format_args!("{id} is gone, and its events with it"));
}

/// False when nobody reads any more.
fn show(event: &Event, format: Format) -> bool {
    match format {
        Format::Json => print::json_line(event),
        Format::Text => {
            let line = format!("{:.3}  {}", event.time, one_line(&event.to_string()));
            match event.what.output() {
                Some(output) => print::try_line(format_args!("{line}\n{}", quoted(output))),
                None => print::try_line(line),
            }
        }
    }
}
