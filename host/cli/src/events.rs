//! `occopus events`

use std::time::Duration;

use occopus_engine::Event;

use super::args::{Common, Events, Format};
use super::failure::Failure;
use super::report::one_line;
use super::{print, session};

/// Read at a time.
const PAGE: usize = 500;
/// Between two looks when following.
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) async fn run(events: Events, common: &Common) -> Result<(), Failure> {
    let engine = session::open(common)?.reader().await?;
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
                print::note(format_args!("{id} is gone, and its events with it"));
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// False when nobody reads any more.
fn show(event: &Event, format: Format) -> bool {
    match format {
        Format::Json => print::json_line(event),
        Format::Text => print::try_line(format_args!("{:.3}  {}", event.time, one_line(&event.to_string()))),
    }
}
