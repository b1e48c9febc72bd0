//! What people see: the tree of nodes, progress while something happens, and times in words.

mod live;
mod plain;
mod screen;
mod tree;
mod words;

use std::io::{self, IsTerminal};
use std::time::Duration;

use occopus_engine::Event;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

pub(crate) use live::Live;
pub(crate) use plain::{one_line, quoted};
pub(crate) use screen::LogWriter;
pub(crate) use tree::{of_status, report_lines};
pub(crate) use words::{ago, duration};

/// Redraw at most so often.
const FRAME: Duration = Duration::from_millis(100);

/// Shows what happens on standard error until the events end: a tree that is redrawn on a terminal, lines otherwise.
pub(crate) fn follow(events: UnboundedReceiver<Event>, live: Live) -> JoinHandle<()> {
    if io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb") {
        tokio::spawn(on_terminal(events, live))
    } else {
        tokio::spawn(in_lines(events))
    }
}

async fn on_terminal(mut events: UnboundedReceiver<Event>, mut live: Live) {
    let mut tick = tokio::time::interval(FRAME);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => live.apply(&event),
                None => break,
            },
            _ = tick.tick() => screen::draw(|width, height| live.lines(width, height)),
        }
    }
    screen::clear();
}

async fn in_lines(mut events: UnboundedReceiver<Event>) {
    let mut lines = plain::Lines::default();
    while let Some(event) = events.recv().await {
        if let Some(line) = lines.line(&event) {
            super::print::note(line);
        }
    }
}
