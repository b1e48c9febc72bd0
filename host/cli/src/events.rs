//! `occopus events`

use std::time::Duration;

use occopus::Occopus;
use occopus_engine::Event;

use super::args::{EventsArgs, GlobalArgs, OutputFormat};
use super::backend::Backend;
use super::failure::Failure;
use super::remote::{self, ServiceClient, StreamStart};
use super::report::{one_line, quote_output};
use super::{backend, print};

/// Number of events that are read at a time.
const PAGE_SIZE: usize = 500;
/// Pause between two reads of the store when following.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

pub(crate) async fn run(events: EventsArgs, common: &GlobalArgs) -> Result<(), Failure> {
    match backend::open_backend(common)? {
        Backend::Local(occopus) => run_local(events, &occopus).await,
        Backend::Service(service) => run_on_service(events, &service).await,
    }
}

async fn run_local(events: EventsArgs, occopus: &Occopus) -> Result<(), Failure> {
    let engine = occopus.reader().await?;
    let id = &events.id.parse()?;
    let mut after = 0;
    loop {
        let page = engine.events(id, after, PAGE_SIZE).await?;
        for event in &page {
            after = event.id.unwrap_or(after);
            if !print_event(event, events.output.format) {
                return Ok(());
            }
        }
        if page.is_empty() {
            if after == 0 {
                // Fails if there is no such infrastructure.
                engine.status(id, false).await?;
            }
            if !events.follow {
                return Ok(());
            }
            if !engine.exists(id).await? {
                print_gone(id);
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

async fn run_on_service(events: EventsArgs, service: &ServiceClient) -> Result<(), Failure> {
    let id = &events.id.parse()?;
    let mut after = 0;
    loop {
        let page = service.events(id, after, PAGE_SIZE).await?;
        for event in &page {
            after = event.id.unwrap_or(after);
            if !print_event(event, events.output.format) {
                return Ok(());
            }
        }
        if page.len() < PAGE_SIZE {
            break;
        }
    }
    if events.follow {
        let mut stream = remote::subscribe(service, id, StreamStart::After(after)).await?;
        while let Some(event) = stream.recv().await {
            // Transient events have no id, and are not stored.
            if event.id.is_some() && !print_event(&event, events.output.format) {
                return Ok(());
            }
        }
        print_gone(id);
    }
    Ok(())
}

fn print_gone(id: &str) {
    print::note(format_args!("{id} is gone, and its events with it"));
}

/// Prints an event. Returns false if the reader has gone.
fn print_event(event: &Event, format: OutputFormat) -> bool {
    match format {
        OutputFormat::Json => print::json_line(event),
        OutputFormat::Text => {
            let line = format!("{:.3}  {}", event.time, one_line(&event.to_string()));
            match event.kind.output() {
                Some(output) => print::try_line(format_args!("{line}\n{}", quote_output(output))),
                None => print::try_line(line),
            }
        }
    }
}
