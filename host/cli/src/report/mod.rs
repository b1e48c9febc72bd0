//! Reports for people: the tree of nodes, progress of a run, and formatted durations.

mod durations;
mod plain;
mod progress;
mod screen;
mod tree;

use std::io::{self, IsTerminal};
use std::time::Duration;

use jiff::Timestamp;
use occopus_engine::{Event, Status};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::args::OutputFormat;
use super::print;

pub(crate) use durations::{format_duration, time_since};
pub(crate) use plain::{one_line, quote_output};
pub(crate) use progress::ProgressTree;
pub(crate) use screen::LogWriter;
pub(crate) use tree::address_lines;
use tree::status_lines;

/// Prints the status of an infrastructure on standard output.
pub(crate) fn print_status(status: &Status, format: OutputFormat) {
    match format {
        OutputFormat::Json => print::json(status),
        OutputFormat::Text => {
            status_lines(status, Timestamp::now(), print::colours_on_stdout()).iter().for_each(print::line)
        }
    }
}

/// Pause between two redraws.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Shows progress on standard error until the events end: a tree that is redrawn on a terminal, lines otherwise.
pub(crate) fn spawn_reporter(events: UnboundedReceiver<Event>, tree: ProgressTree) -> JoinHandle<()> {
    if io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb") {
        tokio::spawn(draw_on_terminal(events, tree))
    } else {
        tokio::spawn(print_lines(events))
    }
}

async fn draw_on_terminal(mut events: UnboundedReceiver<Event>, mut tree: ProgressTree) {
    let mut tick = tokio::time::interval(REDRAW_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => tree.apply(&event),
                None => break,
            },
            _ = tick.tick() => screen::draw(|width, height| tree.lines(width, height)),
        }
    }
    screen::clear();
}

async fn print_lines(mut events: UnboundedReceiver<Event>) {
    let mut lines = plain::EventLines::default();
    while let Some(event) = events.recv().await {
        if let Some(line) = lines.line(&event) {
            print::note(line);
        }
    }
}
