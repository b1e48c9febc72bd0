//! Streams of events of a service.

use std::io::{BufRead as _, BufReader};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;

use super::RequestBuilder;

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamEvent {
    /// `id`, if it has one.
    pub id: Option<u64>,
    /// `event`.
    pub name: String,
    /// `data`.
    pub data: Value,
}

/// A stream of events.
pub struct Stream {
    events: Receiver<StreamEvent>,
}

impl Stream {
    pub(super) fn open(builder: RequestBuilder<'_>) -> Self {
        let request = builder.request.body(()).expect("a request");
        // The response has no end.
        let request = builder.service.agent.configure_request(request).timeout_global(None).build();
        let response = builder.service.agent.run(request).expect("an answer");
        assert_eq!(response.status(), 200, "{}", builder.what);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut lines = BufReader::new(response.into_body().into_reader()).lines();
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || {
            while let Some(event) = next(&mut lines) {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { events }
    }

    /// Waits for the next event; `None` when the stream has ended.
    ///
    /// # Panics
    /// Panics if there is none for half a minute.
    pub fn next(&self) -> Option<StreamEvent> {
        match self.events.recv_timeout(Duration::from_secs(30)) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no event within 30 s"),
        }
    }

    /// Returns all events up to the first one of this name, inclusive.
    ///
    /// # Panics
    /// Panics if the stream ends before.
    #[track_caller]
    pub fn until(&self, name: &str) -> Vec<StreamEvent> {
        let mut all = Vec::new();
        loop {
            let event = self.next().unwrap_or_else(|| panic!("the stream ended before {name}: {all:#?}"));
            let is_last = event.name == name;
            all.push(event);
            if is_last {
                return all;
            }
        }
    }
}

/// Reads the next event, by the rules of the HTML standard as far as they are used.
fn next(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Option<StreamEvent> {
    let (mut id, mut name, mut data) = (None, String::new(), String::new());
    loop {
        let line = lines.next()?.ok()?;
        match line.split_once(": ") {
            Some(("id", value)) => id = value.parse().ok(),
            Some(("event", value)) => value.clone_into(&mut name),
            Some(("data", value)) => value.clone_into(&mut data),
            _ if line.is_empty() && !data.is_empty() => {
                return Some(StreamEvent { id, name, data: serde_json::from_str(&data).expect("JSON") });
            }
            _ => {}
        }
    }
}
